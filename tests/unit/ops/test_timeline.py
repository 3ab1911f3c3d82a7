"""An order's row and its steps as a timeline, and how people are shown it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

import signalq.ops.orders.timeline_view
from signalq.consumer.ledger.queries.orders import Happened, Recorded
from signalq.ops.orders.records import row_of, timeline
from signalq.ops.orders.timeline_view import lasted, print_order, says

CREATED_MS = 1_767_225_600_000
RECEIVED = Recorded(
    number=1,
    intent_id="i1",
    generation=1,
    connector="main",
    strategy="momentum",
    action="openLong",
    client_order_id=None,
    status="received",
    reason=None,
    detail=None,
    attempts=0,
    http_status=None,
    origin_user=None,
    age_from_ms=CREATED_MS,
    created_from="signalq-created-ms",
    due_ms=None,
    received_ms=CREATED_MS + 5,
    updated_ms=CREATED_MS + 5,
    ended_ms=None,
    next_attempt_ms=0,
    lease_until_ms=None,
    replayed_ms=None,
    order_fields=None,
)


def at(after_ms: int) -> str:
    return f"2026-01-01T00:00:{after_ms // 1000:02}.{after_ms % 1000:03}Z"


def step(after_ms: int, what: str = "attempt", *, generation: int = 1, **facts: Any) -> Happened:
    usual = {"certainty": None, "http_status": None, "duration_ms": None, "detail": None}
    return Happened(generation=generation, at_ms=CREATED_MS + after_ms, what=what, **(usual | facts))


def attempt(after_ms: int, certainty: str = "accepted", *, generation: int = 1) -> Happened:
    facts = {"certainty": certainty, "http_status": 200, "duration_ms": 3, "detail": "HTTP 200"}
    return step(after_ms, generation=generation, **facts)


def whats(one: Recorded, *happened: Happened, now_ms: int = CREATED_MS + 50_000) -> list[tuple[object, object]]:
    """When and what, without the beginning that all have."""
    told = timeline(one, happened, now_ms)
    assert [entry["what"] for entry in told[:2]] == ["created", "received"]
    return [(entry["at"], entry["what"]) for entry in told[2:]]


def test_a_timeline_begins_with_the_source_of_the_creation_time_and_the_publisher() -> None:
    created, received = timeline(replace(RECEIVED, origin_user="bot", created_from="timestamp"), [], CREATED_MS)
    assert created == {"at": at(0), "what": "created", "generation": 1, "said_by": "timestamp"}
    assert received == {"at": at(5), "what": "received", "generation": 1, "user": "bot"}


def test_a_delivered_intent_ends_with_its_delivery_although_that_has_the_time_of_the_attempt() -> None:
    done = replace(RECEIVED, status="delivered", attempts=2, ended_ms=CREATED_MS + 900, due_ms=CREATED_MS + 500)
    happened = [step(10, "scheduled", detail="until …"), attempt(600, "not taken"), attempt(900)]
    assert whats(done, *happened) == [
        (at(10), "scheduled"),
        (at(600), "attempt"),
        (at(900), "attempt"),
        (at(900), "delivered"),
    ]
    told = timeline(done, happened, CREATED_MS)
    assert [entry.get("attempt") for entry in told] == [None, None, None, 1, 2, None]
    assert told[4] == {
        "at": at(900),
        "what": "attempt",
        "generation": 1,
        "attempt": 2,
        "certainty": "accepted",
        "http_status": 200,
        "duration_ms": 3,
        "detail": "HTTP 200",
    }


def test_the_present_ending_is_shown_once_with_its_reason_and_later_events_after_it() -> None:
    dead = replace(RECEIVED, status="dead", reason="rejected", detail="refused", ended_ms=CREATED_MS + 100)
    happened = [attempt(90, "refused"), step(100, "dead", detail="rejected: refused"), step(700, "discarded")]
    assert whats(dead, *happened) == [(at(90), "attempt"), (at(100), "dead"), (at(700), "discarded")]
    assert timeline(dead, happened, CREATED_MS)[3] == {
        "at": at(100),
        "what": "dead",
        "generation": 1,
        "reason": "rejected",
        "detail": "refused",
    }


def test_a_replayed_intent_shows_the_end_of_each_generation_and_counts_its_attempts_anew() -> None:
    happened = [
        attempt(90, "refused"),
        step(100, "dead", detail="rejected: the webhook refused it: HTTP 400"),
        step(5_000, "replayed", generation=2, detail="by ann"),
        attempt(5_100, generation=2),
    ]
    again = replace(RECEIVED, status="delivered", generation=2, ended_ms=CREATED_MS + 5_100, replayed_ms=5)
    told = timeline(again, happened, CREATED_MS)
    assert [(entry["what"], entry["generation"]) for entry in told[2:]] == [
        ("attempt", 1),
        ("dead", 1),
        ("replayed", 2),
        ("attempt", 2),
        ("delivered", 2),
    ]
    assert (told[3]["reason"], told[3]["detail"]) == ("rejected", "the webhook refused it: HTTP 400")
    assert [entry["attempt"] for entry in told if entry["what"] == "attempt"] == [1, 1]


def test_a_cancelation_is_shown_by_its_event_alone() -> None:
    canceled = replace(RECEIVED, status="canceled", ended_ms=CREATED_MS + 100)
    assert whats(canceled, step(100, "canceled", detail="by ann")) == [(at(100), "canceled")]


def test_the_lease_distinguishes_an_attempt_on_its_way_from_one_that_was_never_concluded() -> None:
    sending = replace(RECEIVED, status="sending", attempts=1, updated_ms=CREATED_MS + 20)
    now_ms = CREATED_MS + 1_000
    alive = timeline(replace(sending, lease_until_ms=now_ms + 1), [], now_ms)[-1]
    assert (alive["at"], alive["what"], alive["attempt"]) == (at(20), "sending", 1)
    assert alive["detail"] == "on its way: a consumer is sending it"
    for lease_until_ms in (now_ms, None):
        lost = timeline(replace(sending, lease_until_ms=lease_until_ms), [], now_ms)[-1]
        assert str(lost["detail"]).startswith("in doubt: the consumer ended while it was sending")


def test_an_intent_that_waits_for_its_next_attempt_says_when_that_may_be() -> None:
    retrying = replace(RECEIVED, status="retrying", attempts=1, next_attempt_ms=CREATED_MS + 9_000)
    last = timeline(retrying, [attempt(10, "not taken")], CREATED_MS)[-1]
    assert (last["at"], last["what"], last["detail"]) == (at(9_000), "next attempt", "attempt 2, not before then")


def test_an_intent_whose_letter_is_not_confirmed_is_retrying_with_its_reason() -> None:
    dying = replace(RECEIVED, status="dying", reason="expired", detail="too old")
    assert (row_of(dying)["status"], row_of(dying)["reason"]) == ("retrying", "expired")
    last = timeline(dying, [], CREATED_MS)[-1]
    assert (last["what"], last["reason"]) == ("dead-lettering", "expired")
    assert last["detail"] == "too old (the broker has not confirmed its dead letter yet)"


def test_a_row_has_the_fields_of_the_contract_in_their_order() -> None:
    delayed = replace(RECEIVED, due_ms=CREATED_MS + 1_500, client_order_id="c1", attempts=3, http_status=503)
    assert row_of(delayed) == {
        "intent_id": "i1",
        "generation": 1,
        "connector": "main",
        "strategy": "momentum",
        "action": "openLong",
        "client_order_id": "c1",
        "status": "received",
        "reason": None,
        "attempts": 3,
        "http_status": 503,
        "created_at": at(0),
        "due_at": at(1_500),
        "updated_at": at(5),
        "order": None,
    }
    fields = "intent_id, generation, connector, strategy, action, client_order_id, status, reason, attempts, "
    assert ", ".join(row_of(delayed)) == fields + "http_status, created_at, due_at, updated_at, order"


def test_after_a_replay_there_is_no_due_time_but_one_that_is_yet_to_come() -> None:
    delayed = replace(RECEIVED, due_ms=CREATED_MS + 1_500)
    assert row_of(replace(delayed, replayed_ms=CREATED_MS + 2_000))["due_at"] is None
    assert row_of(replace(delayed, replayed_ms=CREATED_MS + 1_000))["due_at"] == at(1_500)
    assert row_of(replace(RECEIVED, replayed_ms=CREATED_MS))["due_at"] is None


# --- for people ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.000 s"),
        (59_999, "59.999 s"),
        (61_000, "1 min 1 s"),
        (3_600_000, "1 h 0 min"),
        (90_000_000, "1 d 1 h"),
        (-12, "-12 ms"),
    ],
)
def test_durations_are_shown_in_the_unit_that_fits(duration_ms: int, text: str) -> None:
    assert lasted(duration_ms) == text


def test_an_attempt_is_shown_with_its_answer_once() -> None:
    answered = {"what": "attempt", "certainty": "unknown", "http_status": 200, "duration_ms": 12}
    assert says(answered | {"detail": "HTTP 200"}) == "unknown, HTTP 200, 12 ms"
    other = says(answered | {"detail": "HTTP 200 with another body than expected"})
    assert other == "unknown, HTTP 200, 12 ms, with another body than expected"
    nothing = {"what": "attempt", "certainty": "not taken", "http_status": None, "duration_ms": None}
    assert says(nothing | {"detail": "timed out before anything was sent"}) == (
        "not taken, timed out before anything was sent"
    )


EVIL = "x\x1b[31m\n\u202e"
EVIL_SHOWN = r"x\x1b[31m\n\u202e"


def evil_order() -> dict[str, object]:
    one = replace(
        RECEIVED,
        intent_id=EVIL,
        connector=EVIL,
        strategy=EVIL,
        client_order_id=EVIL,
        origin_user=EVIL,
        status="canceled",
        ended_ms=CREATED_MS + 40,
    )
    canceled = step(40, "canceled", detail=f"by the cancelAll {EVIL}" + " and so on" * 20)
    return row_of(one) | {"timeline": timeline(one, [canceled], CREATED_MS)}


def test_nothing_foreign_reaches_the_screen_unescaped_and_a_line_is_an_entry(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_order(evil_order(), is_first=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert sum(EVIL_SHOWN in line for line in lines) == 6
    assert lines[-4:-1] == [
        "Timeline",
        f"  {at(0)}          created   says its producer (signalq-created-ms)",
        f"  {at(5)}   +5 ms  received  published by the user {EVIL_SHOWN}",
    ]
    assert lines[-1].startswith(f"  {at(40)}  +35 ms  canceled  by the cancelAll {EVIL_SHOWN} and so on")


def test_on_a_terminal_of_100_columns_long_facts_continue_on_the_next_line(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100, no_color=True, highlight=False, soft_wrap=True)
    monkeypatch.setattr(signalq.ops.orders.timeline_view, "console", lambda: terminal)
    print_order(evil_order(), is_first=True)
    lines = [Text.from_ansi(line).plain.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(cell_len, lines)) <= 100
    (received,) = (line for line in lines if "published by" in line)
    last = lines[-1]
    assert last.endswith("and so on")
    assert len(last) - len(last.lstrip()) == received.index("published by")
