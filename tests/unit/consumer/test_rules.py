"""What is done before and after a POST, by table (contract 3)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders.decisions import DeadLetter, Deliver, Done, Drop, Forward, Hold, Park, Retry, Wait, Waits
from signalq.consumer.orders.delays import KnownSkew, Segment
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read, renewed
from signalq.consumer.orders.rules import HOLD_MS, after, before, concluded, given_up, is_superseded_by, too_late
from signalq.consumer.orders.state import ENDINGS, Attempt, IntentState
from signalq.consumer.orders.switch import State, SwitchedOff
from signalq.settings.sections import Settings
from tests.support.orders import altered

NOW_MS = 1_700_000_000_000
OPEN_AGE_S = 60
EXIT_AGE_S = 3600
WINDOW_S = 60
ATTEMPTS_MAX = 8
WHY_502 = "HTTP 502"

OPENS: list[dict[str, Any]] = [
    {"action": "openLong"},
    {"action": "openShort", "percent": "100"},
    {"action": "buy", "percent": "100"},
    {"action": "sell", "percent": "100"},
]
EXITS: list[dict[str, Any]] = [
    {"action": "closeLong", "percent": "50"},
    {"action": "closeShort", "percent": "100"},
    {"action": "cancel", "clientOrderId": "x"},
    {"action": "cancelAll"},
]


def order(
    fields: dict[str, Any] | None = None,
    *,
    age_s: float | None = 0,
    message_id: str | None = "id",
    redelivered: bool = False,
    is_own_copy: bool = False,
    nobody_for_s: float | None = None,
    connector: dict[str, Any] | None = None,
) -> Order:
    """An intent that was created `age_s` ago (None: nobody says when) and has just come in.

    `nobody_for_s`: it had waited when we came, and nobody had consumed for so long.
    """
    settings = Settings(connectors={"main": connector or {}})
    body = json.dumps({"connectorName": "main", "connectorToken": "t", "action": "openLong"} | (fields or {})).encode()
    headers: dict[str, Any] = {} if age_s is None else {"signalq-created-ms": NOW_MS - round(age_s * 1000)}
    if is_own_copy:
        headers["signalq-intent-id"] = "id"
    properties = Basic.Properties(message_id=message_id, headers=headers)
    unattended_since_ms = None if nobody_for_s is None else NOW_MS - round(nobody_for_s * 1000)
    message = Message(body, properties, "main", redelivered, unattended_since_ms=unattended_since_ms)
    found = read(message, settings, NOW_MS)
    assert isinstance(found, Order), found
    return found


def state(of: Order, **known: Any) -> IntentState:
    return IntentState(of.intent_id, of.identity.digest, **known)


def ask_before(
    of: Order,
    known: IntentState | None = None,
    *,
    lane_opens_ms: int = 0,
    now_ms: int = NOW_MS,
    switched: State | None = None,
    superseded_by: str | None = None,
) -> object:
    known = known or state(of)
    backoff_ms = max(lane_opens_ms, known.next_attempt_ms) - now_ms
    waits = Waits(backoff_ms=max(backoff_ms, 0), superseded_by=superseded_by)
    return before(of, known, now_ms, waits, SwitchedOff(switched) if switched is not None else None)


def ending(found: object) -> str:
    """The reason of a dead letter, else the name of what is done."""
    return found.reason if isinstance(found, DeadLetter) else type(found).__name__


# --- before: what is fresh -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", OPENS + EXITS, ids=str)
def test_a_fresh_order_is_posted_at_once(fields: dict[str, Any]) -> None:
    assert ask_before(order(fields)) == Deliver()


@pytest.mark.parametrize(("fields", "max_age_s"), [(f, OPEN_AGE_S) for f in OPENS] + [(f, EXIT_AGE_S) for f in EXITS])
def test_an_order_older_than_its_deadline_is_expired_and_one_just_as_old_is_not(
    fields: dict[str, Any], max_age_s: float
) -> None:
    assert ask_before(order(fields, age_s=max_age_s)) == Deliver()
    assert ending(ask_before(order(fields, age_s=max_age_s + 0.001))) == "expired"


def test_a_spot_sell_is_an_exit_where_its_connector_says_so() -> None:
    sell = {"action": "sell", "percent": "50"}
    assert ending(ask_before(order(sell, age_s=61))) == "expired"
    assert ask_before(order(sell, age_s=61, connector={"spot_sell_is_exit": True})) == Deliver()


def test_a_connectors_own_ages_hold() -> None:
    own = {"open_max_age_s": 5, "exit_max_age_s": 7}
    assert ending(ask_before(order(age_s=6, connector=own))) == "expired"
    assert ask_before(order({"action": "cancelAll"}, age_s=6, connector=own)) == Deliver()
    assert ending(ask_before(order({"action": "cancelAll"}, age_s=8, connector=own))) == "expired"


def test_an_age_that_lies_in_the_producers_clock_is_said_to() -> None:
    old_when_it_came = ask_before(order(age_s=100))
    assert isinstance(old_when_it_came, DeadLetter)
    assert "clock" in old_when_it_came.detail
    old_since_then = ask_before(order(age_s=10), now_ms=NOW_MS + 60_000)
    assert isinstance(old_since_then, DeadLetter)
    assert old_since_then.reason == "expired"
    assert "clock" not in old_since_then.detail


# --- before: delays --------------------------------------------------------------------------------------------------


def test_an_order_that_is_not_due_is_parked_until_it_is() -> None:
    assert ask_before(order({"delaySeconds": 90.5})) == Park(NOW_MS + 90_500)
    assert ask_before(order({"delaySeconds": 90.5}, age_s=90)) == Park(NOW_MS + 500)


def test_the_delay_is_served_once_and_the_age_counts_from_the_due_time() -> None:
    delayed = {"delaySeconds": 300}
    assert ask_before(order(delayed, age_s=300)) == Deliver()
    assert ask_before(order(delayed, age_s=360)) == Deliver()
    assert ending(ask_before(order(delayed, age_s=360.001))) == "expired"


def test_a_closed_lane_does_not_keep_what_is_not_due_from_being_parked() -> None:
    assert ask_before(order({"delaySeconds": 5}), lane_opens_ms=NOW_MS + 60_000) == Park(NOW_MS + 5_000)


def test_an_order_that_was_not_due_when_it_came_in_is_parked_although_it_is_due_now() -> None:
    """It has taken no turn, so it may not be POSTed now although its time has come meanwhile."""
    assert ask_before(order({"delaySeconds": 1}), now_ms=NOW_MS + 2_000) == Park(NOW_MS + 1_000)


# --- before: what waits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lane_s", "next_s", "wait_s"), [(5, 0, 5), (0, 5, 5), (3, 5, 5), (5, 3, 5), (-5, -3, 0), (0, 0, 0)]
)
def test_an_order_waits_for_its_lane_and_for_its_own_next_attempt(lane_s: int, next_s: int, wait_s: int) -> None:
    of = order()
    found = ask_before(of, state(of, next_attempt_ms=NOW_MS + 1000 * next_s), lane_opens_ms=NOW_MS + 1000 * lane_s)
    assert found == (Wait(NOW_MS + 1000 * wait_s) if wait_s else Deliver())


def test_a_wait_that_ends_past_the_deadline_is_not_begun() -> None:
    assert ask_before(order(age_s=55), lane_opens_ms=NOW_MS + 5_000) == Wait(NOW_MS + 5_000)
    assert ending(ask_before(order(age_s=55), lane_opens_ms=NOW_MS + 5_001)) == "expired"


# --- before: what is known -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(ENDINGS))
@pytest.mark.parametrize(
    ("redelivered", "is_own_copy", "duplicate"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_an_ended_order_is_dropped_and_a_producers_second_publish_is_a_duplicate(
    status: Any, redelivered: bool, is_own_copy: bool, duplicate: bool
) -> None:
    of = order(redelivered=redelivered, is_own_copy=is_own_copy)
    assert ask_before(of, state(of, status=status)) == Drop(duplicate=duplicate)


def test_an_ending_holds_whatever_else_would_be_done() -> None:
    late = order(age_s=10_000)
    assert ask_before(late, state(late, status="delivered")) == Drop(duplicate=True)
    delayed = order({"delaySeconds": 50})
    assert ask_before(delayed, state(delayed, status="canceled")) == Drop(duplicate=True)


def test_other_bytes_under_a_known_identity_are_invalid_under_an_identity_of_their_own() -> None:
    first, second = order({"log": "1"}), order({"log": "2"})
    found = ask_before(second, state(first, status="delivered"))
    assert isinstance(found, DeadLetter)
    assert (found.reason, found.under_own_id) == ("invalid", True)
    assert "message_id" in found.detail


def test_a_letter_that_may_not_have_been_written_is_written_with_the_same_words() -> None:
    of = order()
    dying = state(of).dead_lettering("rejected", "the webhook refused it: HTTP 400")
    assert ask_before(of, dying) == DeadLetter("rejected", "the webhook refused it: HTTP 400")


def test_a_second_copy_of_what_is_parked_is_dropped_unless_the_ladder_handed_it_back() -> None:
    delayed = {"delaySeconds": 50}
    second = order(delayed)
    assert ask_before(second, state(second, status="scheduled")) == Drop(duplicate=True)
    again = order(delayed, redelivered=True)
    assert ask_before(again, state(again, status="scheduled")) == Drop(duplicate=False)
    back = order(delayed, age_s=50, is_own_copy=True)
    assert ask_before(back, state(back, status="scheduled")) == Deliver()


SECOND_DELIVERIES: list[tuple[dict[str, Any], str, bool]] = [
    # fields, the connector's setting, POSTed although it may be a second delivery
    *[(fields | {"clientOrderId": "x"}, "never", False) for fields in OPENS],
    *[(fields | {"clientOrderId": "x"}, "with-client-order-id", False) for fields in OPENS],
    *[(fields, "always", False) for fields in OPENS],
    ({"action": "cancel", "clientOrderId": "x"}, "never", True),
    ({"action": "cancelAll"}, "never", True),
    ({"action": "cancel_all"}, "never", True),
    ({"action": "closeLong", "percent": "100"}, "never", True),
    ({"action": "closeShort", "percent": "100.0"}, "never", True),
    ({"action": "closeLong", "percent": "50"}, "never", False),
    ({"action": "closeShort"}, "never", False),
    ({"action": "closeLong", "percent": "100", "fixed": "1"}, "never", False),
    ({"action": "closeLong", "percent": "100", "limit": "1"}, "never", False),
    ({"action": "closeLong", "percent": "50"}, "with-client-order-id", False),
    ({"action": "closeLong", "percent": "50", "clientOrderId": "x"}, "with-client-order-id", True),
    ({"action": "closeLong", "percent": "50"}, "always", True),
]


@pytest.mark.parametrize(("fields", "resend", "posted"), SECOND_DELIVERIES, ids=str)
def test_a_possible_second_delivery_is_posted_only_if_an_exit_that_may_be_repeated(
    fields: dict[str, Any], resend: str, posted: bool
) -> None:
    of = order(fields, message_id=None, redelivered=True, connector={"resend_when_unknown": resend})
    found = ask_before(of, state(of, maybe_second_delivery=True))
    assert ending(found) == ("Deliver" if posted else "outcome-unknown")
    if isinstance(found, DeadLetter):
        assert "no message_id" in found.detail
    assert ask_before(of, state(of)) == Deliver(), "without an equal before it, it is the first"


def test_a_delayed_open_that_may_be_a_second_delivery_is_not_parked_either() -> None:
    of = order({"delaySeconds": 5}, message_id=None, redelivered=True)
    assert ending(ask_before(of, state(of, maybe_second_delivery=True))) == "outcome-unknown"
    cancel = order({"action": "cancelAll", "delaySeconds": 5}, message_id=None, redelivered=True)
    assert ask_before(cancel, state(cancel, maybe_second_delivery=True)) == Park(NOW_MS + 5_000)


# --- before: what another consumer is POSTing ------------------------------------------------------------------------


@pytest.mark.parametrize("fields", [*OPENS, *EXITS, {"delaySeconds": 50}], ids=str)
@pytest.mark.parametrize("age_s", [0, 10_000])
def test_an_order_that_another_consumer_is_posting_waits_as_long_as_that_one_lives(
    fields: dict[str, Any], age_s: float
) -> None:
    """Whatever else would be done: only that consumer knows what becomes of it."""
    of = order(fields, age_s=age_s, redelivered=True)
    claim = state(of, attempts_counted=ATTEMPTS_MAX).claimed(NOW_MS)
    assert ask_before(of, replace(claim, leased_for_ms=1_500)) == Wait(NOW_MS + 1_500)
    assert ask_before(of, replace(claim, leased_for_ms=1)) == Wait(NOW_MS + 1)


def test_other_bytes_under_an_identity_that_is_being_posted_wait_too() -> None:
    first, second = order({"log": "1"}), order({"log": "2"})
    claim = state(first).claimed(NOW_MS)
    assert ask_before(second, replace(claim, leased_for_ms=1_500)) == Wait(NOW_MS + 1_500)
    assert ending(ask_before(second, claim)) == "invalid"


@pytest.mark.parametrize(
    ("fields", "after_the_lease"),
    [
        ({"action": "openLong"}, "outcome-unknown"),
        ({"action": "closeLong", "percent": "50"}, "outcome-unknown"),
        ({"action": "closeLong", "percent": "100"}, "Deliver"),
        ({"action": "cancelAll"}, "Deliver"),
    ],
)
def test_when_the_lease_is_over_the_claim_is_one_that_was_never_concluded(
    fields: dict[str, Any], after_the_lease: str
) -> None:
    of = order(fields, redelivered=True)
    assert ending(ask_before(of, replace(state(of).claimed(NOW_MS), leased_for_ms=0))) == after_the_lease


# --- before: claims that were never concluded ------------------------------------------------------------------------


def test_a_claim_that_was_never_concluded_leaves_an_open_in_doubt() -> None:
    of = order(redelivered=True)
    found = ask_before(of, state(of).claimed(NOW_MS))
    assert isinstance(found, DeadLetter)
    assert found.reason == "outcome-unknown"
    assert "ended while it was sending" in found.detail


def test_a_claim_that_was_never_concluded_is_repeated_where_that_is_safe() -> None:
    of = order({"action": "cancelAll"}, redelivered=True)
    assert ask_before(of, state(of).claimed(NOW_MS - 1_000)) == Deliver()
    assert ending(ask_before(of, state(of).claimed(NOW_MS - 60_001))) == "outcome-unknown"


def test_claims_that_were_never_concluded_exhaust_an_open_that_may_be_repeated() -> None:
    """A consumer that dies of an open each time it POSTs it must not go on for ever."""
    of = order(redelivered=True, connector={"resend_when_unknown": "always"})
    known = state(of)
    for _ in range(ATTEMPTS_MAX):
        assert ask_before(of, known) == Deliver()
        known = known.claimed(NOW_MS)
    found = ask_before(of, known)
    assert isinstance(found, DeadLetter)
    assert found.reason == "exhausted"
    assert "ended while it was sending" in found.detail
    cancel = order({"action": "cancelAll"}, redelivered=True)
    assert ask_before(cancel, state(cancel, attempts_counted=500).claimed(NOW_MS)) == Deliver()


def test_a_doubt_whose_next_attempt_would_come_too_late_is_not_waited_out() -> None:
    of = order({"action": "cancelAll"}, redelivered=True)
    claim = state(of).claimed(NOW_MS - 50_000)
    assert ask_before(of, claim, lane_opens_ms=NOW_MS + 10_000) == Wait(NOW_MS + 10_000)
    assert ending(ask_before(of, claim, lane_opens_ms=NOW_MS + 10_001)) == "outcome-unknown"


# --- before: what nobody dated, after nobody was there ---------------------------------------------------------------

UNDATED_OPEN: dict[str, Any] = {"age_s": None, "nobody_for_s": OPEN_AGE_S + 0.001}


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        ({}, {}, "expired"),
        ({"redelivered": True}, {}, "expired"),
        ({"message_id": None}, {}, "expired"),
        ({"redelivered": True}, {"version": 1}, "expired"),
        ({"fields": {"action": "sell"}}, {}, "expired"),
        ({"nobody_for_s": OPEN_AGE_S}, {}, "Deliver"),
        ({"nobody_for_s": None}, {}, "Deliver"),
        ({"age_s": 0}, {}, "Deliver"),
        ({"redelivered": True}, {"version": 2, "status": "retrying"}, "Deliver"),
        (
            {"redelivered": True},
            {"version": 1, "status": "sending", "attempts": 1, "attempts_counted": 1, "in_doubt": True},
            "outcome-unknown",
        ),
        ({"is_own_copy": True}, {"version": 1}, "Deliver"),
        ({"fields": {"action": "sell"}, "connector": {"spot_sell_is_exit": True}}, {}, "Deliver"),
        ({"connector": {"open_max_age_s": 600}}, {}, "Deliver"),
        ({"nobody_for_s": 6, "connector": {"open_max_age_s": 5}}, {}, "expired"),
        ({"redelivered": True}, {"version": 1, "status": "delivered"}, "Drop"),
        *[({"fields": fields}, {}, "Deliver") for fields in EXITS],
    ],
    ids=str,
)
def test_an_undated_open_that_waited_while_nobody_was_there_is_expired(
    given: dict[str, Any], known: dict[str, Any], expected: str
) -> None:
    of = order(**(UNDATED_OPEN | given))
    found = ask_before(of, state(of, **known))
    assert ending(found) == expected
    if expected == "expired":
        assert "nobody dated it" in found.detail


def test_an_undated_open_is_expired_before_its_delay_is_served() -> None:
    """Its delay would count from now, and what was meant minutes or days ago be POSTed as if it were new."""
    of = order({"delaySeconds": 5}, **UNDATED_OPEN)
    assert ending(ask_before(of)) == "expired"
    exit_ = order({"action": "cancelAll", "delaySeconds": 5}, **UNDATED_OPEN)
    assert ask_before(exit_) == Park(NOW_MS + 5_000)


# --- after a claim that took long ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "age_s", "first_post_s_ago", "expected"),
    [
        # fields, its age when the claim is saved, when it was first POSTed if that is in doubt
        ({"action": "openLong"}, OPEN_AGE_S, None, False),
        ({"action": "openLong"}, OPEN_AGE_S + 0.001, None, True),
        ({"action": "cancelAll"}, EXIT_AGE_S, None, False),
        ({"action": "cancelAll"}, EXIT_AGE_S + 0.001, None, True),
        ({"action": "openLong", "delaySeconds": 100}, OPEN_AGE_S + 100, None, False),
        ({"action": "openLong", "delaySeconds": 100}, OPEN_AGE_S + 100.001, None, True),
        ({"action": "cancelAll"}, 100, WINDOW_S, False),
        ({"action": "cancelAll"}, 100, WINDOW_S + 0.001, True),
        ({"action": "closeShort", "percent": "100"}, 100, WINDOW_S + 0.001, True),
        ({"action": "cancel", "clientOrderId": "x"}, 100, WINDOW_S + 0.001, False),
    ],
)
def test_a_claim_that_took_too_long_is_not_posted(
    fields: dict[str, Any], age_s: float, first_post_s_ago: float | None, expected: bool
) -> None:
    of = order(fields, age_s=age_s)
    known = state(of)
    if first_post_s_ago is not None:
        known = known.claimed(NOW_MS - round(1000 * first_post_s_ago)).tried(UNKNOWN, was_in_doubt=False).retrying(0)
    assert too_late(of, known, NOW_MS) is expected


@pytest.mark.parametrize(("fields", "age_s"), [(f, OPEN_AGE_S) for f in OPENS] + [(f, EXIT_AGE_S) for f in EXITS])
def test_an_order_not_posted_because_its_claim_took_too_long_is_expired(fields: dict[str, Any], age_s: float) -> None:
    """Its claim is taken back: no doubt, no attempt that counts."""
    of = order(fields, age_s=age_s + 1)
    unsent = Attempt("not taken", sent=False, why="the ledger could not be written in time")
    known = state(of).claimed(NOW_MS - 5_000).tried(unsent, was_in_doubt=False)
    assert (known.in_doubt, known.attempts_counted) == (False, 0)
    assert ending(after(of, known, unsent, 1, NOW_MS)) == "expired"


# --- what is given up ------------------------------------------------------------------------------------------------

HANDLING_FAILED = "handling it failed unexpectedly 3 times, see the log"
DEFINITELY = {"status": "dying", "reason": "rejected", "detail": "the webhook refused it: HTTP 400"}


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        ({}, {}, "undeliverable"),
        ({"redelivered": True}, {}, "undeliverable"),
        ({"fields": {"delaySeconds": 50}}, {}, "undeliverable"),
        ({"age_s": 10_000}, {}, "undeliverable"),
        ({}, {"status": "retrying", "attempts_counted": 3}, "undeliverable"),
        ({}, {"status": "sending", "in_doubt": True}, "outcome-unknown"),
        ({}, {"status": "sending", "in_doubt": True, "leased_for_ms": 2_000}, "outcome-unknown"),
        ({}, {"status": "retrying", "in_doubt": True}, "outcome-unknown"),
        ({"fields": {"action": "closeLong"}}, {"status": "retrying", "in_doubt": True}, "outcome-unknown"),
        ({"fields": {"action": "cancelAll"}}, {"status": "retrying", "in_doubt": True}, "undeliverable"),
        (
            {"fields": {"action": "cancelAll"}},
            {"status": "retrying", "in_doubt": True, "first_post_ms": NOW_MS - 60_001},
            "outcome-unknown",
        ),
        ({"message_id": None, "redelivered": True}, {"maybe_second_delivery": True}, "outcome-unknown"),
        ({}, DEFINITELY, "rejected"),
        *[({}, {"status": status}, "Drop") for status in sorted(ENDINGS)],
        *[({"redelivered": True}, {"status": status}, "Drop") for status in sorted(ENDINGS)],
        ({"fields": {"delaySeconds": 50}}, {"status": "scheduled"}, "Drop"),
        ({"age_s": 50, "fields": {"delaySeconds": 50}, "is_own_copy": True}, {"status": "scheduled"}, "undeliverable"),
    ],
    ids=str,
)
def test_a_message_that_is_given_up_ends_as_its_state_says(
    given: dict[str, Any], known: dict[str, Any], expected: str
) -> None:
    of = order(**given)
    found = given_up(of, state(of, **known), HANDLING_FAILED, NOW_MS)
    assert ending(found) == expected
    if isinstance(found, Drop):
        assert not found.duplicate
    elif found.reason == "undeliverable":
        assert found.detail == HANDLING_FAILED
    elif known is DEFINITELY:
        assert found.detail == DEFINITELY["detail"]


def test_other_bytes_under_a_known_identity_that_are_given_up_leave_the_first_ones_ending_alone() -> None:
    first, second = order({"log": "1"}), order({"log": "2"})
    for known in (state(first, status="delivered"), state(first).claimed(NOW_MS)):
        found = given_up(second, known, HANDLING_FAILED, NOW_MS)
        assert isinstance(found, DeadLetter)
        assert (found.reason, found.under_own_id) == ("invalid", True)


# --- after -----------------------------------------------------------------------------------------------------------

ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)
REFUSED = Attempt("refused", sent=True, why="HTTP 400", status=400)
UNSENT = Attempt("not taken", sent=False, why="refused before anything was sent")
TURNED_AWAY = Attempt("not taken", sent=True, why="HTTP 429", status=429)
UNKNOWN = Attempt("unknown", sent=True, why=WHY_502, status=502)


def ask_after(
    of: Order,
    attempt: Attempt,
    *,
    first_post_s_ago: float = 0,
    attempts_before: int = 0,
    was_in_doubt: bool = False,
    backoff_s: float = 1,
) -> object:
    known = state(of, attempts=attempts_before, attempts_counted=attempts_before, in_doubt=was_in_doubt)
    claim = known.claimed(NOW_MS - round(first_post_s_ago * 1000))
    return after(of, claim.tried(attempt, was_in_doubt=was_in_doubt), attempt, backoff_s, NOW_MS)


@pytest.mark.parametrize("fields", OPENS + EXITS, ids=str)
@pytest.mark.parametrize(
    ("attempt", "expected"),
    [(ACCEPTED, "Done"), (REFUSED, "rejected"), (UNSENT, "Retry"), (TURNED_AWAY, "Retry")],
    ids=["accepted", "refused", "unsent", "turned away"],
)
def test_a_certain_answer_ends_or_repeats_opens_and_exits_alike(
    fields: dict[str, Any], attempt: Attempt, expected: str
) -> None:
    assert ending(ask_after(order(fields), attempt)) == expected


REPEATS: list[tuple[dict[str, Any], str, bool, bool]] = [
    # fields, the connector's setting, repeated within the window, repeated after it
    ({"action": "cancel", "clientOrderId": "x"}, "never", True, True),
    ({"action": "cancelAll"}, "never", True, False),
    ({"action": "cancellAll"}, "never", True, False),
    ({"action": "cancel_all"}, "never", True, False),
    ({"action": "closeLong", "percent": "100"}, "never", True, False),
    ({"action": "closeShort", "percent": "100"}, "never", True, False),
    ({"action": "closeShort", "percent": "100.00"}, "never", True, False),
    ({"action": "closeShort", "percent": "0100"}, "never", True, False),
    ({"action": "closeLong", "percent": 1e2}, "never", True, False),
    ({"action": "closeLong", "percent": "100", "profit": "5"}, "never", True, False),
    ({"action": "closeLong", "percent": "99.999"}, "never", False, False),
    ({"action": "closeLong"}, "never", False, False),
    ({"action": "closeLong", "percent": "100", "fixed": "1"}, "never", False, False),
    ({"action": "closeLong", "percent": "100", "limit": "1"}, "never", False, False),
    ({"action": "closeLong", "percent": "50", "clientOrderId": "x"}, "never", False, False),
    ({"action": "closeLong", "percent": "50", "clientOrderId": "x"}, "with-client-order-id", True, True),
    ({"action": "closeLong", "percent": "50"}, "with-client-order-id", False, False),
    ({"action": "closeLong", "percent": "50"}, "always", True, True),
    ({"action": "cancelAll"}, "always", True, True),
    ({"action": "cancelAll"}, "with-client-order-id", True, False),
    *[(fields, "never", False, False) for fields in OPENS],
    *[(fields, "with-client-order-id", False, False) for fields in OPENS],
    *[(fields | {"clientOrderId": "x"}, "never", False, False) for fields in OPENS],
    *[(fields | {"clientOrderId": "x"}, "with-client-order-id", True, True) for fields in OPENS],
    *[(fields, "always", True, True) for fields in OPENS],
]


@pytest.mark.parametrize(("fields", "resend", "within", "beyond"), REPEATS)
def test_an_order_that_may_have_been_taken_is_repeated_only_where_that_can_do_no_harm(
    fields: dict[str, Any], resend: str, within: bool, beyond: bool
) -> None:
    of = order(fields, connector={"resend_when_unknown": resend})
    for first_post_s_ago, repeated in ((0, within), (WINDOW_S - 1, within), (WINDOW_S - 0.999, beyond)):
        found = ask_after(of, UNKNOWN, first_post_s_ago=first_post_s_ago, backoff_s=1)
        assert ending(found) == ("Retry" if repeated else "outcome-unknown"), first_post_s_ago


@pytest.mark.parametrize(("fields", "resend", "within", "beyond"), REPEATS)
def test_before_and_after_agree_on_what_may_be_repeated(
    fields: dict[str, Any], resend: str, within: bool, beyond: bool
) -> None:
    """A restart between the two does not change the answer."""
    of = order(fields, connector={"resend_when_unknown": resend})
    for ago_s, repeated in ((10, within), (WINDOW_S + 1, beyond)):
        doubtful = state(of).claimed(NOW_MS - 1000 * ago_s).tried(UNKNOWN, was_in_doubt=False).retrying(0)
        assert ending(ask_before(of, doubtful)) == ("Deliver" if repeated else "outcome-unknown"), ago_s


def test_a_doubt_stays_although_the_next_attempt_was_turned_away() -> None:
    assert ending(ask_after(order(), TURNED_AWAY, was_in_doubt=True)) == "outcome-unknown"
    assert ending(ask_after(order({"action": "cancelAll"}), TURNED_AWAY, was_in_doubt=True)) == "Retry"


def test_the_last_of_attempts_max_exhausts_an_open_and_never_an_exit() -> None:
    assert ending(ask_after(order(), TURNED_AWAY, attempts_before=ATTEMPTS_MAX - 2)) == "Retry"
    found = ask_after(order(), TURNED_AWAY, attempts_before=ATTEMPTS_MAX - 1)
    assert isinstance(found, DeadLetter)
    assert found.reason == "exhausted"
    assert "HTTP 429" in found.detail
    for fields in EXITS:
        assert ending(ask_after(order(fields), TURNED_AWAY, attempts_before=500)) == "Retry"


@pytest.mark.parametrize(
    ("said", "status", "next_attempt_ms", "wait_ms", "reason"),
    [
        (Done(), "delivered", 0, None, None),
        (Retry(NOW_MS + 500), "retrying", NOW_MS + 500, 500, None),
        (DeadLetter("rejected", "the webhook refused it"), "dying", 0, None, "rejected"),
    ],
)
def test_an_attempt_concludes_as_the_rules_said(
    said: Any, status: str, next_attempt_ms: int, wait_ms: int | None, reason: str | None
) -> None:
    tried = state(order()).claimed(NOW_MS).tried(UNSENT, was_in_doubt=False)
    found = concluded(tried, said, NOW_MS)
    assert (found.status, found.next_attempt_ms, found.wait_ms, found.reason) == (
        status,
        next_attempt_ms,
        wait_ms,
        reason,
    )
    assert (found.attempts, found.why) == (tried.attempts, tried.why)


def test_attempts_in_which_nothing_was_sent_do_not_count() -> None:
    of = order()
    known = state(of)
    for _ in range(100):
        tried = known.claimed(NOW_MS).tried(UNSENT, was_in_doubt=False)
        known = tried.retrying(NOW_MS)
    assert (known.attempts, known.attempts_counted) == (100, 0)
    assert ending(after(of, tried, UNSENT, 1, NOW_MS)) == "Retry"


@pytest.mark.parametrize(
    ("retry_after_s", "backoff_s", "wait_s"),
    [(None, 2.5, 2.5), (0.0, 2.5, 2.5), (7.0, 2.5, 7.0), (1.0, 2.5, 2.5), (301.0, 2.5, 300.0), (1e9, 400.0, 400.0)],
)
def test_a_retry_waits_for_the_longer_of_backoff_and_retry_after_which_is_bounded(
    retry_after_s: float | None, backoff_s: float, wait_s: float
) -> None:
    answer = Attempt("not taken", sent=True, why="HTTP 429", status=429, retry_after_s=retry_after_s)
    found = ask_after(order({"action": "cancelAll"}), answer, backoff_s=backoff_s)
    assert found == Retry(NOW_MS + round(1000 * wait_s))


HOUR_MS = 3_600_000


def told(of: Order, now_ms: int = NOW_MS) -> str:
    """What an expired one's letter says."""
    found = ask_before(of, now_ms=now_ms)
    assert isinstance(found, DeadLetter)
    assert found.reason == "expired"
    return found.detail


@pytest.mark.parametrize("fields", EXITS, ids=str)
def test_no_exit_dies_of_what_the_clock_is_known_to_be_ahead(fields: dict[str, Any]) -> None:
    ahead = KnownSkew((), HOUR_MS)
    known = altered(order(fields, age_s=EXIT_AGE_S + 3_600), skew=ahead)
    assert ask_before(known) == Deliver()
    older = altered(order(fields, age_s=EXIT_AGE_S + 3_600.001), skew=ahead)
    assert told(older).endswith("; this machine's clock is 3600.0 s ahead")


def test_an_open_is_judged_by_the_clock_and_its_letter_says_how_sure_that_is() -> None:
    known = altered(order(age_s=3_610), skew=KnownSkew((), HOUR_MS))
    assert told(known) == (
        "3610.0 s old, 60 s are allowed from its creation (signalq-created-ms); this machine's clock is 3600.0 s ahead"
    )


def test_an_expired_whose_age_lies_in_its_producers_clock_says_so_where_the_broker_has_stamped_it() -> None:
    behind = altered(order(age_s=3_610), stamped_ms=NOW_MS - 5_000)
    assert told(behind).endswith(
        "; its producer's clock is behind: by that it was 3605.0 s old when the broker took it"
    )
    waited = altered(order(age_s=3_610), stamped_ms=NOW_MS - 3_600_000)
    assert told(waited).endswith("; it waited on the broker for 3600.0 s")
    unknown = order(age_s=3_610)
    assert told(unknown).endswith(
        "; it was 3610.0 s old when it came: it waited on the broker, or the clock of its producer is behind"
    )
    assert told(order(age_s=0), NOW_MS + 61_000).endswith("(signalq-created-ms)"), "it grew old here"


@pytest.mark.parametrize(("first_ms", "expected"), [(NOW_MS + 60_000, "Deliver"), (NOW_MS + 60_001, "outcome-unknown")])
def test_a_post_by_a_clock_that_was_set_back_since_counts_as_long_ago(first_ms: int, expected: str) -> None:
    of = order({"action": "cancelAll"})
    known = state(of, version=2, status="retrying", in_doubt=True, first_post_ms=first_ms, attempts=1)
    assert ending(ask_before(of, known)) == expected


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS], ids=["forth", "back"])
def test_an_order_that_is_safe_to_repeat_is_repeated_however_the_clock_was_set_since_its_first_post(
    step_ms: int,
) -> None:
    skew = KnownSkew((Segment(0, NOW_MS - 2 * HOUR_MS), Segment(step_ms, NOW_MS - 1_000)))
    of = altered(order({"action": "cancelAll"}), skew=skew)
    for passed_ms, expected in ((60_000, "Deliver"), (60_001, "outcome-unknown")):
        first_ms = NOW_MS - step_ms - passed_ms
        known = state(of, version=2, status="sending", in_doubt=True, first_post_ms=first_ms, attempts=1)
        assert ending(ask_before(of, known)) == expected


def test_an_attempted_order_is_not_parked_again_by_a_clock_that_was_set_back() -> None:
    of = altered(order({"action": "cancelAll", "delaySeconds": 5}), due_ms=NOW_MS + HOUR_MS)
    assert ask_before(of) == Park(NOW_MS + HOUR_MS)
    assert ask_before(of, state(of, version=4, status="retrying", attempts=1)) == Deliver()


def test_a_retry_past_the_deadline_is_expired_at_once() -> None:
    assert ending(ask_after(order(age_s=50), TURNED_AWAY, backoff_s=10)) == "Retry"
    found = ask_after(order(age_s=50), TURNED_AWAY, backoff_s=10.001)
    assert isinstance(found, DeadLetter)
    assert found.reason == "expired"
    assert "HTTP 429" in found.detail


@given(
    fields=st.sampled_from(OPENS + EXITS),
    attempt=st.sampled_from([ACCEPTED, REFUSED, UNSENT, TURNED_AWAY, UNKNOWN]),
    age_s=st.floats(0, 5_000),
    first_post_s_ago=st.floats(0, 5_000),
    attempts_before=st.integers(0, 20),
    was_in_doubt=st.booleans(),
    backoff_s=st.floats(0, 400),
)
def test_a_retry_is_always_within_the_deadline_and_after_its_backoff_and_agreed_to_when_asked_again(
    fields: dict[str, Any],
    attempt: Attempt,
    age_s: float,
    first_post_s_ago: float,
    attempts_before: int,
    was_in_doubt: bool,
    backoff_s: float,
) -> None:
    of = order(fields, age_s=age_s)
    found = ask_after(
        of,
        attempt,
        first_post_s_ago=first_post_s_ago,
        attempts_before=attempts_before,
        was_in_doubt=was_in_doubt,
        backoff_s=backoff_s,
    )
    assert isinstance(found, Done | Retry | DeadLetter)
    if isinstance(found, Retry):
        assert NOW_MS + round(1000 * backoff_s) <= found.at_ms <= of.expires_ms
        claim = state(of).claimed(NOW_MS - round(first_post_s_ago * 1000))
        kept = claim.tried(attempt, was_in_doubt=was_in_doubt).retrying(found.at_ms)
        assert ending(ask_before(of, kept)) in {"Wait", "Deliver"}
        assert ask_before(of, kept, now_ms=found.at_ms) == Deliver()
    if isinstance(found, DeadLetter):
        assert found.detail
        assert found.detail.isprintable()


# --- superseding -----------------------------------------------------------------------------------------------------

ALL = {"percent": "100"}
CLOSES_LONG = {"action": "closeLong", "percent": "100"}
CLOSES_SHORT = {"action": "closeShort", "percent": "100"}


@pytest.mark.parametrize("spelling", ["cancelAll", "cancellAll", "cancel_all"])
@pytest.mark.parametrize("fields", OPENS, ids=str)
def test_a_cancel_all_supersedes_every_open(fields: dict[str, Any], spelling: str) -> None:
    assert is_superseded_by(order(fields), order({"action": spelling}))


@pytest.mark.parametrize("percent", ["100", "100.0", "100.000", 100, 1e2])
def test_a_close_of_all_supersedes_the_opens_of_its_side_and_no_others(percent: object) -> None:
    for close, side in (("closeLong", "openLong"), ("closeShort", "openShort")):
        exit_ = order({"action": close, "percent": percent})
        assert [f["action"] for f in OPENS if is_superseded_by(order(f), exit_)] == [side]


@pytest.mark.parametrize(
    "fields",
    [
        {**CLOSES_LONG, "percent": "99.99"},
        {**CLOSES_LONG, "limit": "1"},
        {**CLOSES_LONG, "fixed": "1"},
        {"action": "closeLong", "fixed": "100"},
        {"action": "cancel", "clientOrderId": "x"},
        {"action": "openShort", **ALL},
        {"action": "sell", **ALL},
    ],
    ids=str,
)
def test_nothing_else_supersedes_anything(fields: dict[str, Any]) -> None:
    assert not any(is_superseded_by(order(open_), order(fields)) for open_ in OPENS)


@pytest.mark.parametrize("fields", EXITS, ids=str)
def test_no_exit_is_superseded_and_nothing_of_another_connector(fields: dict[str, Any]) -> None:
    assert not is_superseded_by(order(fields), order({"action": "cancelAll"}))
    assert not is_superseded_by(order(), order({"action": "cancelAll", "connectorName": "other"}))
    spot_exit = order({"action": "sell"}, connector={"spot_sell_is_exit": True})
    assert not is_superseded_by(spot_exit, order({"action": "cancelAll"}))


@pytest.mark.parametrize(
    ("known", "lane_opens_ms"),
    [({"next_attempt_ms": NOW_MS + 1, "status": "retrying", "attempts": 1}, 0), ({}, NOW_MS + 1)],
    ids=["its own backoff", "its lane's"],
)
def test_an_open_that_has_to_back_off_is_superseded(known: dict[str, Any], lane_opens_ms: int) -> None:
    of = order()
    found = ask_before(of, state(of, **known), lane_opens_ms=lane_opens_ms, superseded_by="closeLong")
    assert isinstance(found, DeadLetter)
    assert found.reason == "superseded"
    assert "by a closeLong that came after it" in found.detail


def superseded(of: Order, known: IntentState | None = None, *, lane_opens_ms: int = NOW_MS + 1_000) -> object:
    return ask_before(of, known, lane_opens_ms=lane_opens_ms, superseded_by="cancelAll")


def test_an_open_that_can_be_posted_now_is_posted_and_not_superseded() -> None:
    assert superseded(order(), lane_opens_ms=NOW_MS) == Deliver()


def test_an_open_that_another_consumer_is_posting_is_waited_for_and_not_superseded() -> None:
    of = order()
    assert superseded(of, state(of, status="sending", leased_for_ms=500)) == Wait(NOW_MS + 500)


@pytest.mark.parametrize(
    ("known", "ends_as"),
    [
        ({"in_doubt": True, "status": "retrying", "attempts": 1}, "outcome-unknown"),
        ({"status": "retrying", "attempts": ATTEMPTS_MAX, "attempts_counted": ATTEMPTS_MAX}, "exhausted"),
        ({"next_attempt_ms": NOW_MS + OPEN_AGE_S * 1000 + 1, "status": "retrying"}, "expired"),
        ({"status": "delivered"}, "Drop"),
    ],
    ids=str,
)
def test_an_order_that_ends_otherwise_ends_so_whatever_is_behind_it(known: dict[str, Any], ends_as: str) -> None:
    of = order()
    assert ending(superseded(of, state(of, **known))) == ends_as


def test_an_order_that_is_not_due_yet_is_parked_whatever_is_behind_it() -> None:
    assert isinstance(superseded(order({"delaySeconds": 5})), Park)


# --- settings that have changed --------------------------------------------------------------------------------------


def renewed_by(fields: dict[str, Any], connector: dict[str, Any]) -> Order:
    """Read with a token and an extra field in the settings, which then became these."""
    body = json.dumps({"connectorName": "main", "action": "openLong", "percent": "50"} | fields).encode()
    message = Message(body, Basic.Properties(message_id="id", headers={"signalq-created-ms": NOW_MS}), "main", False)
    found = read(message, Settings(connectors={"main": {"token": "old", "extra_fields": ["more"]}}), NOW_MS)
    assert isinstance(found, Order), found
    return renewed(found, message, Settings(connectors={"main": connector}))


def test_an_order_that_waited_goes_by_the_settings_that_hold_now() -> None:
    of = renewed_by({}, {"token": "new", "url": "https://elsewhere.example/", "open_max_age_s": 5})
    assert (of.policy.token, of.policy.url, of.policy.max_age_s) == ("new", "https://elsewhere.example/", 5)
    assert json.loads(of.body_to_post())["connectorToken"] == "new"
    assert ask_before(of) == Deliver()


@pytest.mark.parametrize(
    ("fields", "connector", "named"),
    [({}, {}, "connectorToken"), ({"more": 1}, {"token": "new"}, "more")],
    ids=["its token is gone", "its field is not let through any more"],
)
def test_an_order_that_the_settings_do_not_allow_any_more_is_invalid(
    fields: dict[str, Any], connector: dict[str, Any], named: str
) -> None:
    of = renewed_by(fields, connector)
    found = ask_before(of)
    assert isinstance(found, DeadLetter)
    assert (found.reason, named in found.detail) == ("invalid", True)
    assert ending(ask_before(of, state(of, in_doubt=True, status="retrying", attempts=1))) == "outcome-unknown"
    assert isinstance(ask_before(of, state(of, status="delivered")), Drop)


# --- before: the switch ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fields", OPENS + EXITS)
def test_a_paused_order_is_held_and_an_exit_too(fields: dict[str, Any]) -> None:
    assert ask_before(order(fields), switched="paused") == Hold(NOW_MS + HOLD_MS)


@pytest.mark.parametrize("fields", OPENS + EXITS)
def test_close_only_lets_exits_go_and_opens_are_forbidden(fields: dict[str, Any]) -> None:
    found = ask_before(order(fields), switched="close-only")
    assert ending(found) == ("Deliver" if fields in EXITS else "forbidden")


def test_a_sell_is_an_exit_where_its_connector_says_so() -> None:
    sell = order({"action": "sell", "percent": "100"}, connector={"spot_sell_is_exit": True})
    assert ask_before(sell, switched="close-only") == Deliver()


def test_a_held_order_is_looked_at_again_right_after_its_deadline_and_is_expired_then() -> None:
    old = order(age_s=OPEN_AGE_S - 0.1)
    assert ask_before(old, switched="paused") == Hold(old.expires_ms + 1)
    assert ending(ask_before(old, switched="paused", now_ms=old.expires_ms + 1)) == "expired"


@pytest.mark.parametrize("switched", ["paused", "close-only"])
def test_an_order_that_is_not_due_is_parked_whatever_the_switch_says(switched: State) -> None:
    assert isinstance(ask_before(order({"delaySeconds": 60}), switched=switched), Park)


@pytest.mark.parametrize("switched", ["paused", "close-only"])
def test_an_order_in_doubt_that_is_not_safe_to_repeat_is_outcome_unknown_first(switched: State) -> None:
    of = order()
    assert ending(ask_before(of, state(of, status="sending", in_doubt=True), switched=switched)) == "outcome-unknown"


def test_a_forbidden_open_that_may_have_been_taken_says_so() -> None:
    of = order(connector={"resend_when_unknown": "always"})
    found = ask_before(of, state(of, status="retrying", in_doubt=True), switched="close-only")
    assert isinstance(found, DeadLetter)
    assert found.reason == "forbidden"
    assert found.detail.endswith("an earlier POST of it may have been taken")


def test_between_two_attempts_close_only_waits_for_the_moment_of_the_next() -> None:
    of = order()
    retrying = state(of, status="retrying", next_attempt_ms=NOW_MS + 500)
    assert ask_before(of, retrying, switched="close-only") == Wait(NOW_MS + 500)


def test_a_refused_claim_has_its_say_although_it_took_the_pace_of_its_connector() -> None:
    opened, pace = order(), Waits(pace_ms=10 * OPEN_AGE_S * 1000)
    rate = RateExceeded(Rate("connector:main", "connector", 1, enforced=True))
    assert before(opened, state(opened), NOW_MS, pace, SwitchedOff("paused")) == Hold(NOW_MS + HOLD_MS)
    for refusal in (SwitchedOff("close-only"), rate):
        assert ending(before(opened, state(opened), NOW_MS, pace, refusal)) == "forbidden"
    sent_away = order({"action": "cancelAll"})
    assert before(sent_away, state(sent_away), NOW_MS, Waits(pace_ms=500)) == Wait(NOW_MS + 500)


# --- before: what lies in the wrong lane -----------------------------------------------------------------------------

LANE = "signalq.orders.main"


def astray(fields: dict[str, Any] | None = None, *, forwards: int = 0, **facts: Any) -> Order:
    """An intent that came by the shared lane, though its connector has its own."""
    return altered(order(fields, **facts), source_queue="signalq.orders", forwards=forwards)


def test_an_order_lies_right_in_its_connectors_lane_alone() -> None:
    assert order().route.lane == LANE
    assert order(connector={"lane": "shared"}).route.lane == "signalq.orders"
    assert not order().route.is_misrouted
    assert astray().route.is_misrouted


def test_a_misrouted_order_is_forwarded_whatever_its_age_or_its_state() -> None:
    assert ask_before(astray()) == Forward(LANE)
    assert ask_before(astray(age_s=OPEN_AGE_S + 1)) == Forward(LANE), "expired where it belongs"
    tried = astray(redelivered=True)
    for status in ("received", "sending", "retrying"):
        assert ask_before(tried, state(tried, status=status, version=3, in_doubt=True)) == Forward(LANE)


@pytest.mark.parametrize("status", sorted(ENDINGS))
def test_a_misrouted_order_that_has_ended_is_dropped_where_it_is(status: Any) -> None:
    ended = astray()
    assert ask_before(ended, state(ended, status=status, version=3)) == Drop(duplicate=True)


def test_a_misrouted_order_that_is_not_due_is_parked_from_where_it_is() -> None:
    assert isinstance(ask_before(astray({"delaySeconds": 60})), Park)


def test_an_order_that_was_forwarded_too_often_stays_if_the_ledger_knows_it() -> None:
    tossed = astray(forwards=3, is_own_copy=True)
    assert ask_before(tossed, state(tossed, version=1)) == Deliver()
    assert ask_before(tossed) == Forward(LANE), "a forged count: nobody ever forwarded it"
    assert ask_before(altered(tossed, recorded=True), state(tossed, version=1)) == Forward(LANE)
