"""What `publish --wait` makes of an outcome: what counts, what is well, and how it is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from signalq import OrderIntent, Receipt
from signalq.message.outcome import Outcome, at
from signalq.ops.publish.report import ending_sentence
from signalq.ops.publish.tally import OutcomeTally, RunTally
from signalq.ops.publish.waiting import Ending, ending_of
from signalq.producers.files.reader import IntentLine
from signalq.publishing.outcomes import ExpectedOutcome, ExpectedOutcomes

NOW_MS = 1_800_000_000_000
LINE = IntentLine(3, "id-3", OrderIntent(connector_name="main", action="buy"))
DELAYED = IntentLine(3, "id-3", OrderIntent(connector_name="main", action="buy", delay_seconds=60))
DELIVERED = Outcome("id-3", 1, "main", "-", "buy", None, "delivered", None, 1, 200, at(NOW_MS), None, at(NOW_MS + 5))
DEAD = replace(DELIVERED, status="dead", reason="rejected", http_status=400, attempts=2)
SECOND = replace(DELIVERED, status="duplicate", attempts=0, http_status=None)


def ended(line: IntentLine, *events: Outcome, later_ms: int = 1000) -> Ending:
    """The ending of a line that was published at NOW_MS, after these events."""
    expected: ExpectedOutcome = ExpectedOutcomes().expect("id-3", b"{}")
    for event in events:
        expected.take(event)
    receipt = Receipt("id-3", NOW_MS, expected)
    return ending_of(line, receipt, expected.outcome, seconds=1, now_ms=NOW_MS + later_ms)


def test_an_outcome_is_that_of_the_line_unless_the_first_publish_was_another_one() -> None:
    assert ended(LINE, DELIVERED).status == "delivered"
    earlier = at(NOW_MS - 60_000)
    repeated = ended(LINE, replace(SECOND, created_at=earlier), replace(DELIVERED, created_at=earlier))
    assert (repeated.status, repeated.is_duplicate, repeated.is_well) == ("delivered", True, True)
    assert not ended(LINE, replace(SECOND, created_at=earlier), replace(DEAD, created_at=earlier)).is_well
    sent_twice_over_a_broken_connection = ended(LINE, SECOND, DELIVERED)
    assert not sent_twice_over_a_broken_connection.is_duplicate


def test_a_delayed_line_is_scheduled_until_it_is_due_and_then_not_known() -> None:
    waiting = ended(DELAYED)
    assert (waiting.status, waiting.is_well, waiting.due_at) == ("scheduled", True, at(NOW_MS + 60_000))
    assert ended(DELAYED, later_ms=60_001).status == "unknown"
    assert ended(LINE).status == "unknown"
    # The first one of a duplicate is due earlier.
    soon = at(NOW_MS + 10_000)
    again = ended(DELAYED, replace(SECOND, created_at=at(NOW_MS - 50_000), due_at=soon))
    assert (again.status, again.is_duplicate, again.due_at) == ("scheduled", True, soon)


def test_the_first_that_is_too_late_says_that_those_behind_it_will_be_and_an_old_one_says_nothing() -> None:
    late = replace(DEAD, reason="expired")
    assert ended(LINE, late).is_too_late
    assert not ended(LINE, DEAD).is_too_late
    before = at(NOW_MS - 1)
    assert not ended(LINE, replace(SECOND, created_at=before), replace(late, created_at=before)).is_too_late


@pytest.mark.parametrize(
    ("ending", "says"),
    [
        (ended(LINE, DELIVERED), "delivered in 1.00 s"),
        (
            ended(LINE, replace(SECOND, created_at=at(0)), replace(DELIVERED, created_at=at(0))),
            "duplicate of one that is delivered",
        ),
        (ended(LINE, DEAD), "dead, rejected (HTTP 400) after 2 attempts"),
        (ended(LINE, replace(DEAD, reason="invalid", attempts=0, http_status=None)), "dead, invalid"),
        (ended(LINE, replace(DEAD, status="canceled", reason=None, attempts=0, http_status=None)), "canceled"),
        (ended(LINE), "not known"),
        (ended(DELAYED), "scheduled, due at 2027-01-15T08:01:00.000Z"),
        (
            ended(LINE, replace(SECOND, created_at=at(0)), replace(DEAD, created_at=at(0))),
            "duplicate of one that is dead, rejected (HTTP 400) after 2 attempts",
        ),
    ],
)
def test_an_ending_is_said_in_a_few_words(ending: Ending, says: str) -> None:
    assert ending_sentence(ending) == says


def test_outcomes_are_counted_apart_and_in_one_sentence() -> None:
    tally = OutcomeTally()
    for _ in range(545):
        tally.add("delivered", None, is_duplicate=False, is_well=True)
    for reason in ["expired"] * 3 + ["rejected"]:
        tally.add("dead", reason, is_duplicate=False, is_well=False)
    tally.add("dead", "rejected", is_duplicate=True, is_well=False)
    tally.add("scheduled", None, is_duplicate=True, is_well=True)
    tally.add("unknown", None, is_duplicate=False, is_well=False)
    assert tally.sentence() == "545 delivered, 4 dead (3 expired, 1 rejected), 2 duplicates, 1 not known"
    assert (tally.failed, tally.counts.total()) == (6, 552)
    assert OutcomeTally().sentence() == "no outcome"
    assert tally.row() == {
        "delivered": 545,
        "dead": 4,
        "canceled": 0,
        "scheduled": 0,
        "duplicate": 2,
        "unknown": 1,
        "failed": 6,
        "reasons": {"expired": 3, "rejected": 1},
    }


def test_a_summary_without_outcomes_says_how_many_are_delayed_and_until_when() -> None:
    tally = RunTally(published=3, delayed=2)
    assert tally.summary(1.0, last_due="2026-01-31T12:00:00.000Z") == (
        "published 3 intents, 2 of them delayed, the last one is due at 2026-01-31T12:00:00.000Z, in 1.0 s, 3 per s"
    )
