"""Tables on a terminal: one line a row, as many columns as there is room for, ids that can be pasted (contract 5)."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import signalq.ops.terminal.render
from signalq.ops.commands import lanes, scheduled, topology
from signalq.ops.dead_letters import report
from signalq.ops.terminal.layout import GAP, ID_CHARACTERS_MIN, Measure, characters_apart, fitted
from signalq.ops.terminal.moments import ago, clock_time, time_or_day
from signalq.ops.terminal.order_columns import ORDER_COLUMNS, order_text
from signalq.ops.terminal.plain import Row
from signalq.ops.terminal.render import Column, print_rows

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
ORDER = {"connectorName": "futures-main", "action": "openLong", "percent": "50", "limit": "65000.5", "loss": "60000"}
FULL = {
    "intent_id": "3b61a24e3b6743658da38126d25cb526",
    "generation": 1,
    "connector": "futures-main-account-1",
    "strategy": "momentum-15m",
    "action": "openLong",
    "client_order_id": "long-2026-11-30-0001",
    "status": "dead",
    "reason": "outcome-unknown",
    "attempts": 8,
    "http_status": 503,
    "order": ORDER,
    "created_at": "2026-11-30T11:59:00.000Z",
    "due_at": "2026-11-30T12:30:00.000Z",
    "updated_at": "2026-11-30T11:59:30.000Z",
    "dead_at": "2026-11-30T11:59:30.000Z",
    "remaining_s": 1800.5,
    "detail": "an attempt went out and its outcome is not known: look on the platform",
    "result": "refused",
    "why": "it is not known whether the webhook took it",
    "queue": "signalq.orders.futures-main-account-1",
    "state": "close-only",
    "ready": 12_000,
    "unacked": 1_000,
    "active_consumer": "trading-host-7.example 12345",
}
LISTINGS: dict[str, Sequence[Column]] = {
    "orders list": ORDER_COLUMNS,
    "scheduled list": scheduled.COLUMNS,
    "dead list": report.COLUMNS,
    "lanes list": lanes.COLUMNS,
}
ALL_TABLES = LISTINGS | {
    "dead replay": report.RESULT_COLUMNS,
    "scheduled cancel": [scheduled.RESULT, *scheduled.COLUMNS],
    "topology show": topology.COLUMNS,
}


def on_terminal(
    monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], rows: Sequence[Row], width: int
) -> list[str]:
    """The lines of a table on a terminal of this width."""
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=width, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(signalq.ops.terminal.render, "console", lambda: terminal)
    print_rows(columns, rows, as_json=False)
    text = out.getvalue().replace("\x1b[1;2m", "").replace("\x1b[1m", "").replace("\x1b[2m", "").replace("\x1b[0m", "")
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("columns", ALL_TABLES.values(), ids=ALL_TABLES)
def test_a_row_is_one_line_that_fits(monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], width: int) -> None:
    rows = [FULL, dict.fromkeys(FULL), FULL | {"connector": "我的機器人" * 9, "intent_id": "x" * 255}]
    lines = on_terminal(monkeypatch, columns, rows, width)
    assert len(lines) == 1 + len(rows)
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("columns", LISTINGS.values(), ids=LISTINGS)
def test_at_140_columns_a_terminal_shows_every_column_that_a_pipe_shows(
    monkeypatch: pytest.MonkeyPatch, columns: Sequence[Column], capsys: pytest.CaptureFixture[str]
) -> None:
    print_rows(columns, [FULL], as_json=False)
    piped = capsys.readouterr().out.splitlines()[0]
    assert piped.split() == [word for column in columns for word in column.title.split()]
    wide = on_terminal(monkeypatch, columns, [FULL], 140)[0].split()
    assert wide == [word for word in piped.split() if word != "AT"]


def test_at_80_columns_two_orders_differ_by_their_size_and_price_and_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [FULL | {"order": {"action": "openLong", "percent": size, "limit": "65000"}} for size in ("25", "50")]
    alt = FULL | {"connector": "futures-alternative-2"}
    delivered = FULL | {"status": "delivered", "reason": None}
    head, first, second, other, good = on_terminal(monkeypatch, ORDER_COLUMNS, [*rows, alt, delivered], 80)
    assert head.split() == ["CREATED", "INTENT", "STATUS", "CONNECTOR", "ORDER"]
    assert "openLong 25 % limit 65000" in first
    assert "openLong 50 % limit 65000" in second
    assert first.split()[2] == "outcome-unknown", "the reason stands for the status that it explains"
    assert good.split()[2] == "delivered"
    assert first.split()[3] != other.split()[3], "names are cut in their middles"


def test_in_a_pipe_everything_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ORDER_COLUMNS, [FULL], as_json=False)
    line = capsys.readouterr().out.splitlines()[1]
    for part in (FULL["intent_id"], FULL["connector"], FULL["client_order_id"], FULL["created_at"], FULL["due_at"]):
        assert str(part) in line
    assert "openLong 50 % limit 65000.5 loss 60000" in line


def test_no_color_leaves_the_colours_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=80, highlight=False, soft_wrap=True)
    monkeypatch.setattr(signalq.ops.terminal.render, "console", lambda: terminal)
    print_rows(ORDER_COLUMNS, [FULL], as_json=False)
    assert "\x1b[3" not in out.getvalue()


def test_thousands_of_rows_have_one_head_and_the_same_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [FULL | {"intent_id": f"{number:032x}"} for number in range(1_001)]
    lines = on_terminal(monkeypatch, ORDER_COLUMNS, rows, 80)
    assert len(lines) == 1 + len(rows)
    assert len({line.index("openLong") for line in lines[1:]}) == 1


def test_foreign_text_in_the_place_of_a_time_is_shown_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    (_, line) = on_terminal(monkeypatch, report.COLUMNS, [FULL | {"dead_at": "\x1b[31mnever"}], 140)
    assert r"\x1b[31mnever" in line


sizes = st.integers(1, 60)


@given(st.lists(st.tuples(sizes, sizes, sizes, st.integers(0, 9)), min_size=1), st.integers(1, 200))
def test_columns_fit_where_they_can_and_none_is_cut_below_its_least(columns: Any, room: int) -> None:
    measures = [Measure(width, least, max(least, ample), rank) for width, least, ample, rank in columns]
    widths = fitted(measures, room)
    there = [(one, width) for one, width in zip(measures, widths, strict=True) if width]
    assert all(min(one.width, one.least) <= width <= one.width for one, width in there)
    assert all(width for one, width in zip(measures, widths, strict=True) if not one.rank)
    total = sum(width for _, width in there) + len(GAP) * (len(there) - 1)
    if total > room:
        assert all(not one.rank and width == min(one.width, one.least) for one, width in there)
    left_out = [one.rank for one, width in zip(measures, widths, strict=True) if not width]
    assert not left_out or min(left_out) >= max((one.rank for one, _ in there), default=0)


@given(st.lists(st.text("ab0", min_size=1, max_size=12), min_size=1, unique=True))
def test_ids_are_cut_to_what_tells_them_apart(ids: list[str]) -> None:
    length = characters_apart(ids)
    assert length >= ID_CHARACTERS_MIN
    assert len({one[:length] for one in ids}) == len(ids)
    if length > ID_CHARACTERS_MIN:
        assert len({one[: length - 1] for one in ids}) < len(ids)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"action": "openLong", "percent": "50", "limit": "65000"}, "openLong 50 % limit 65000"),
        ({"action": "buy", "fixed": "0.10", "percent": "50"}, "buy 0.10"),
        ({"action": "openShort", "fixed": "1", "profit": "2", "loss": "3"}, "openShort 1 profit 2 loss 3"),
        ({"action": "cancel", "clientOrderId": "Long Entry"}, "cancel Long Entry"),
        ({"action": "cancelAll"}, "cancelAll"),
        ({"connectorName": "main"}, "?"),
        (None, "sell"),
    ],
)
def test_an_order_is_told_in_words(order: Any, words: str) -> None:
    assert order_text({"action": "sell", "order": order}) == words


def test_times_are_short_and_local(monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.environ.get("TZ") is None
    today, earlier, last_year = (NOW - timedelta(seconds=5), NOW - timedelta(days=3), NOW - timedelta(days=300))
    assert time_or_day(today.isoformat(), NOW) == f"{today.astimezone():%H:%M:%S}"
    assert (time_or_day(earlier.isoformat(), NOW), time_or_day(last_year.isoformat(), NOW)) == ("Nov 27", "Feb 3")
    assert time_or_day("2025-11-30T12:00:00Z", NOW) == "Nov 2025"
    assert clock_time(earlier.isoformat(), NOW) == f"Nov 27 {earlier.astimezone():%H:%M}"
    lengths = {0: "now", 5: "5s ago", -5: "in 5s", 600: "10m ago", -36_000: "in 10h", 864_000: "10d ago"}
    for seconds, told in lengths.items():
        assert ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == told
