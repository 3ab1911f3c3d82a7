"""The log for people: a line an order at 100 columns, and no colour where none is wanted."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pytest
from rich.cells import cell_len
from structlog import DropEvent

from signalq.log_lines import ConsoleLine

AT = "2026-11-30T09:07:04.123456Z"
LATER = "2026-11-30T09:07:34.000Z"
FACTS = {
    "intent_id": "3b61a24e3b6743658da38126d25cb526",
    "connector": "futures-main",
    "strategy": "momentum",
    "action": "closeShort",
}
ATTEMPT = {"attempt": 1, "certainty": "accepted", "why": "HTTP 200", "answer": None, "duration_ms": 12.3}
RETRIED = ATTEMPT | {"certainty": "not taken", "why": "HTTP 503", "next_attempt_at": LATER}
REFUSED = ATTEMPT | {"certainty": "refused", "why": "HTTP 400", "next_attempt_at": None}
DEAD = {"reason": "rejected", "detail": "the webhook refused it: HTTP 400", "answer": "no such connector " * 9}


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def line(event: str, *, terminal: bool = False, level: str = "info", **fields: Any) -> str | None:
    """The line of an event; None for one that another line tells."""
    render = ConsoleLine(Terminal() if terminal else io.StringIO())
    try:
        return render(None, "", {"event": event, "level": level, "timestamp": AT, **fields})
    except DropEvent:
        return None


@pytest.fixture(autouse=True)
def hundred_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_an_order_has_one_line_with_what_became_of_it() -> None:
    clock, later = (f"{datetime.fromisoformat(one).astimezone():%H:%M:%S}" for one in (AT, LATER))
    told = [
        line("delivery.attempted", **FACTS, **ATTEMPT),
        line("intent.settled", **FACTS, status="delivered", reason=None),
        line("delivery.attempted", **FACTS, **RETRIED),
        line("delivery.attempted", **FACTS, **REFUSED),
        line("intent.dead_lettered", **FACTS, **DEAD | {"answer": None}),
        line("intent.settled", **FACTS, status="dead", reason="rejected"),
    ]
    begins = "futures-main  closeShort  3b61a24e"
    assert told == [
        f"{clock}  delivered   {begins}  12 ms  (momentum)",
        None,
        f"{clock}  retrying    {begins}  HTTP 503, again at {later}  (momentum)",
        None,
        f"{clock}  rejected    {begins}  the webhook refused it: HTTP 400  (momentum)",
        None,
    ]


@pytest.mark.parametrize("columns", [80, 100, 140])
@pytest.mark.parametrize("connector", ["main", "futures-main-account-1", "我的機器人交易所很長"])
def test_on_a_terminal_the_line_of_an_order_is_cut_to_its_width(
    monkeypatch: pytest.MonkeyPatch, columns: int, connector: str
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("NO_COLOR", "1")
    facts = FACTS | {"connector": connector}
    for event, fields in (
        ("delivery.attempted", ATTEMPT | {"attempt": 8}),
        ("delivery.attempted", RETRIED),
        ("intent.dead_lettered", DEAD | {"reason": "outcome-unknown"}),
        ("intent.scheduled", {"due_at": LATER}),
        ("intent.settled", {"status": "canceled", "canceled_by": "x" * 200}),
        ("intent.settled", {"status": "duplicate", "reason": None}),
    ):
        told = line(event, terminal=True, **facts, **fields)
        assert told is not None
        assert cell_len(told) <= columns
        assert "\n" not in told
    assert line("delivery.attempted", **facts, **RETRIED) is not None, "whole, where it is no terminal"
    whole = line("intent.dead_lettered", **facts, **DEAD)
    assert whole is not None
    assert str(DEAD["answer"]).strip() in whole


def test_ids_and_names_that_begin_alike_are_cut_in_their_middles() -> None:
    lines = [line("delivery.attempted", **FACTS | {"intent_id": f"momentum-2026-{n:04}"}, **ATTEMPT) for n in (1, 2)]
    assert [str(one).split()[4] for one in lines] == ["mom…0001", "mom…0002"]
    lines = [line("delivery.attempted", **FACTS | {"connector": f"futures-main-{n}"}, **ATTEMPT) for n in (1, 2)]
    assert [str(one).split()[2] for one in lines] == ["future…ain-1", "future…ain-2"]


def test_another_event_has_its_name_its_level_and_its_fields() -> None:
    told = line(
        "broker.unreachable", level="warning", queue="signalq.orders", why="it is away", retry_in_s=0.5, no=None
    )
    assert told is not None
    assert told.split("  ")[1:] == [
        "warning",
        "broker.unreachable",
        "queue=signalq.orders",
        'why="it is away"',
        "retry_in_s=0.5",
    ]
    failed = line("service.task_failed", level="error", task="x", exception="Traceback\n  of it")
    assert failed is not None
    assert failed.endswith("task=x\nTraceback\n  of it")


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    event: Any = ("delivery.attempted",)
    assert "\x1b[32m" in str(line(*event, terminal=True, **FACTS, **ATTEMPT))
    assert "\x1b" not in str(line(*event, **FACTS, **ATTEMPT))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in str(line(*event, terminal=True, **FACTS, **ATTEMPT))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in str(line("broker.unreachable", terminal=True, level="warning", why="x"))
