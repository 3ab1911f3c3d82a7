"""The steps of what is known of an intent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.orders.pending import PENDING_STATUSES
from signalq.consumer.orders.state import ENDINGS, STEPS, Attempt, IntentState, Status

FRESH = IntentState("id", b"digest")
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
REFUSED = Attempt("refused", sent=True, why="HTTP 400", status=400)
UNSENT = Attempt("not taken", sent=False, why="refused before anything was sent")
TURNED_AWAY = Attempt("not taken", sent=True, why="HTTP 429", status=429)
UNKNOWN = Attempt("unknown", sent=True, why="timed out after the request began to go out")
ATTEMPTS = [ACCEPTED, REFUSED, UNSENT, TURNED_AWAY, UNKNOWN]


def test_an_order_that_was_never_saved_is_received_and_in_no_doubt() -> None:
    assert (FRESH.status, FRESH.ended, FRESH.in_doubt, FRESH.attempts, FRESH.generation) == (
        "received",
        False,
        False,
        0,
        1,
    )


def test_a_claim_counts_and_leaves_a_doubt_until_it_is_concluded() -> None:
    claim = FRESH.claimed(1_000)
    assert (claim.status, claim.attempts, claim.first_post_ms, claim.in_doubt) == ("sending", 1, 1_000, True)
    assert claim.attempts_counted == 1, "it may go out, and nobody may be there to tell"


def test_claims_that_are_never_concluded_count_like_attempts() -> None:
    known = FRESH
    for number in range(1, 4):
        known = known.claimed(1_000 * number)
        assert (known.attempts, known.attempts_counted, known.in_doubt) == (number, number, True)
    assert known.first_post_ms == 1_000


def test_a_claim_knows_nothing_yet_of_why_it_will_fail() -> None:
    again = FRESH.claimed(1_000).tried(TURNED_AWAY, was_in_doubt=False).retrying(0).claimed(2_000)
    assert again.why is None


def test_no_step_touches_the_version_which_is_the_ledgers() -> None:
    known = replace(FRESH, version=3)
    claim = known.claimed(1)
    steps = [claim, claim.tried(ACCEPTED, was_in_doubt=False).delivered(), known.scheduled(), claim.retrying(5)]
    dying = known.dead_lettering("expired", "too old")
    assert {step.version for step in [*steps, dying, dying.dead()]} == {3}


STEP_TO: dict[Status, Callable[[IntentState], IntentState]] = {
    "received": lambda known: known.replayed(1),
    "scheduled": lambda known: known.scheduled(),
    "sending": lambda known: known.claimed(1),
    "retrying": lambda known: known.retrying(1),
    "dying": lambda known: known.dead_lettering("expired", "too old"),
    "delivered": lambda known: known.delivered(),
    "dead": lambda known: known.dead(),
}


@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize("to", STEP_TO)
def test_an_intent_steps_only_as_the_table_says(status: Status, to: Status) -> None:
    known = replace(FRESH, status=status)
    if to in STEPS[status]:
        assert STEP_TO[to](known).status == to
        return
    with pytest.raises(ValueError, match=f"that is {status} can't become {to}"):
        STEP_TO[to](known)


def test_only_a_replay_leads_on_from_an_ending_and_only_a_pending_order_is_canceled() -> None:
    assert {status: STEPS[status] for status in ENDINGS} == {
        "delivered": set(),
        "dead": {"received"},
        "canceled": set(),
    }
    assert {status for status, to in STEPS.items() if "canceled" in to} == set(PENDING_STATUSES)


def test_the_moment_of_the_first_post_stays() -> None:
    second = FRESH.claimed(1_000).tried(UNKNOWN, was_in_doubt=False).retrying(0).claimed(5_000)
    assert (second.first_post_ms, second.attempts) == (1_000, 2)


@pytest.mark.parametrize(
    ("attempt", "counted", "in_doubt", "http_status"),
    [
        (ACCEPTED, 1, False, 200),
        (REFUSED, 1, False, 400),
        (UNSENT, 0, False, None),
        (TURNED_AWAY, 1, False, 429),
        (UNKNOWN, 1, True, None),
    ],
)
def test_a_claim_that_was_tried_says_what_the_attempt_was_and_not_yet_what_follows(
    attempt: Attempt, counted: int, in_doubt: bool, http_status: int | None
) -> None:
    known = FRESH.claimed(1_000).tried(attempt, was_in_doubt=False)
    assert (known.status, known.attempts_counted, known.in_doubt, known.http_status, known.why) == (
        "sending",
        counted,
        in_doubt,
        http_status,
        attempt.why,
    )


@given(st.lists(st.sampled_from(ATTEMPTS[1:]), max_size=20))
def test_a_doubt_once_there_never_goes_and_counts_only_grow(attempts: list[Attempt]) -> None:
    known, doubted = FRESH, False
    for number, attempt in enumerate(attempts, start=1):
        before = known
        known = known.claimed(1_000 * number).tried(attempt, was_in_doubt=before.in_doubt).retrying(number)
        doubted = doubted or attempt is UNKNOWN
        assert known.in_doubt is doubted
        assert known.attempts == number
        assert before.attempts_counted <= known.attempts_counted <= known.attempts
        assert (known.next_attempt_ms, known.intent_id, known.digest) == (number, "id", b"digest")


def test_dying_is_no_ending_and_dead_keeps_its_reason() -> None:
    dying = FRESH.dead_lettering("rejected", "the webhook refused it")
    assert not dying.ended
    dead = dying.dead()
    assert dead.ended
    assert (dead.reason, dead.detail) == ("rejected", "the webhook refused it")


def test_the_endings_are_those_of_the_contract() -> None:
    assert {"delivered", "dead", "canceled"} == ENDINGS, "a duplicate is the first one's, not an ending of its own"
    assert FRESH.claimed(1).tried(ACCEPTED, was_in_doubt=False).delivered().ended
    assert not FRESH.scheduled().ended
