"""The rules decide on an intent: pure, told the time, no effects. Read pipeline.py first; this is what it asks.

before a POST   -> Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
after a POST    -> Done | Retry | DeadLetter
"""

from dataclasses import replace
from decimal import Decimal

from signalq.consumer.orders import details
from signalq.consumer.orders.decisions import (
    NO_WAITS,
    After,
    Before,
    DeadLetter,
    Deliver,
    Done,
    Drop,
    Forward,
    Hold,
    Park,
    Refusal,
    Retry,
    Wait,
    Waits,
)
from signalq.consumer.orders.lanes import FORWARDS_MAX
from signalq.consumer.orders.limits import RateExceeded
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import SwitchedOff

# An order that the switch holds looks at it again so often.
HOLD_MS = 250
# The opens that a close of all is about; a close of the other side is not, and spot knows no such close.
_OPENS_OF = {"closeLong": "openLong", "closeShort": "openShort"}


def before(
    order: Order,
    state: IntentState,
    now_ms: int,
    waits: Waits = NO_WAITS,
    refusal: Refusal | None = None,
) -> Before:
    """Decide on an intent whose turn it is (or which is not due yet).

    `refusal` is good for one decision: only a claim says what the switch forbids, or a rate.
    """
    known = _known_already(order, state, now_ms) or _barred(order, state) or _unfit(order, state)
    if known is not None:
        return known
    if order.timing.due_ms is not None and not order.timing.is_due and not state.attempts:
        return Park(order.timing.due_ms)
    if order.route.is_misrouted and not _stays(order, state):
        return Drop(duplicate=True) if _is_said_twice(order, state) else Forward(order.route.lane)
    # The claim that was refused has taken the connector's pace, and POSTs nothing.
    start_ms = now_ms + max(waits.backoff_ms, waits.pace_ms if refusal is None else 0)
    over = _over(order, state, start_ms, now_ms)
    if over is None and waits.superseded_by is not None and waits.backoff_ms > 0:
        over = DeadLetter("superseded", details.superseded(state, waits.superseded_by))
    if over is None and isinstance(refusal, RateExceeded) and not state.attempts:
        over = DeadLetter("forbidden", refusal.rate.exceeded.detail)
    if over is not None:
        return over
    return Wait(start_ms) if start_ms > now_ms else _switched(order, state, refusal, now_ms)


def _switched(order: Order, state: IntentState, refusal: Refusal | None, now_ms: int) -> Deliver | Hold | DeadLetter:
    """Apply the switch to an intent that would be POSTed now. Its age runs on while it is held."""
    switched = refusal.state if isinstance(refusal, SwitchedOff) else "open"
    if switched == "paused":
        return Hold(min(now_ms + HOLD_MS, order.expires_ms + 1))
    if switched == "close-only" and not order.is_exit:
        return DeadLetter("forbidden", details.closed_to_opens(state))
    return Deliver()


def supersedes(order: Order) -> bool:
    """Whether it is an exit that ends the waiting of opens: everything that they would open is to be closed."""
    return order.intent.kind == "cancelAll" or _closes_all(order)


def is_superseded_by(order: Order, later: Order) -> bool:
    """Whether a later order of its connector ends the waiting of this one: an open, of the side that is closed."""
    if order.is_exit or order.connector != later.connector or not supersedes(later):
        return False
    return later.intent.kind == "cancelAll" or order.intent.action == _OPENS_OF[later.intent.action]


def _unfit(order: Order, state: IntentState) -> DeadLetter | None:
    """Why it must not be POSTed at any time, although it is a valid intent and nothing is known against it."""
    if _waited_undated(order, state):
        return DeadLetter("expired", "nobody dated it, and it waited while no consumer was active for too long")
    if order.why_invalid is None:
        return None
    if state.in_doubt:  # whether it was taken before counts for more
        return DeadLetter("outcome-unknown", details.doubt(state))
    return DeadLetter("invalid", f"the settings have changed while it waited: {order.why_invalid}")


def _barred(order: Order, state: IntentState) -> DeadLetter | None:
    """Why it may not be POSTed by the settings that hold now: by rights, or by limits other than the rate.

    Whatever may have been taken is in doubt first of all: a person has to say so before it is sent again.
    """
    unauthorized = order.why_unauthorized()
    why = unauthorized or "; ".join(one.detail for one in order.exceeded(enforced=True))
    if not why:
        return None
    if state.in_doubt:
        return DeadLetter("outcome-unknown", f"{details.doubt(state)}; it is not repeated: {why}")
    return DeadLetter("unauthorized" if unauthorized else "forbidden", why)


def _is_said_twice(order: Order, state: IntentState) -> bool:
    """Whether its sender said again what is known and on its way. Forwarded, the second message would neither be a
    copy of ours nor carry its user any more: it would be from nobody.
    """
    return order.policy.rights.are_given and state.version > 0 and not order.is_copy


def _stays(order: Order, state: IntentState) -> bool:
    """Whether it was forwarded so often that it is handled where it is. Its message says how often, and may lie: what
    was ever forwarded was in the ledger before.
    """
    return order.route.forwards >= FORWARDS_MAX and state.version > 0 and not order.provenance.recorded


def _over(order: Order, state: IntentState, start_ms: int, now_ms: int) -> DeadLetter | None:
    """Why it can't be POSTed at `start_ms`, if it can't."""
    if state.in_doubt and not _repeating_is_safe(order, state, start_ms):
        return DeadLetter("outcome-unknown", details.doubt(state))
    if _is_exhausted(order, state):
        return DeadLetter("exhausted", details.exhausted(state))
    if start_ms > order.expires_ms:
        return DeadLetter("expired", details.expired(order, now_ms, start_ms))
    return None


def too_late(order: Order, state: IntentState, now_ms: int) -> bool:
    """Whether its claim took so long (the ledger could not be written) that it must not be POSTed any more.

    `state` is as it was before the claim.
    """
    return now_ms > order.expires_ms or (state.in_doubt and not _repeating_is_safe(order, state, now_ms))


def given_up(order: Order, state: IntentState, detail: str, now_ms: int) -> DeadLetter | Drop:
    """Decide on an intent whose handling keeps failing: what is known of it already stands."""
    known = _known_already(order, replace(state, leased_for_ms=0), now_ms)
    if isinstance(known, DeadLetter):
        return known
    if isinstance(known, Drop):
        return Drop(duplicate=False)
    if state.in_doubt and not _repeating_is_safe(order, state, now_ms):
        return DeadLetter("outcome-unknown", details.doubt(state))
    return DeadLetter("undeliverable", detail)


def _known_already(order: Order, state: IntentState, now_ms: int) -> Wait | Drop | DeadLetter | None:
    """A message whose identity the ledger has met before: the same intent again, or another one under its name."""
    if state.leased_for_ms > 0:
        return Wait(now_ms + state.leased_for_ms)
    if state.digest != order.identity.digest:
        return DeadLetter("invalid", "message_id: belongs to an earlier intent with another body", under_own_id=True)
    if state.ended:
        return Drop(duplicate=not order.is_copy)
    if state.status == "dying" and state.reason is not None:
        return DeadLetter(state.reason, state.detail or "")
    if _comes_by_the_ladder(order, state):
        return Drop(duplicate=not order.is_copy)
    return _second_delivery(order, state, now_ms)


def _comes_by_the_ladder(order: Order, state: IntentState) -> bool:
    """Whether the ladder holds another copy, which will come at its place among those that are due. `scheduled` is
    saved once the ladder has confirmed. What came beside the ladder would, parked again, come beside it again.
    """
    if order.provenance.came_beside and not order.timing.is_due:
        return state.version > 0 and not order.provenance.recorded
    return state.status == "scheduled" and not order.provenance.is_own_copy


def _second_delivery(order: Order, state: IntentState, now_ms: int) -> DeadLetter | None:
    """Without a message_id nobody can tell a second delivery from a second order: what can't be repeated is not
    risked, and an open never.
    """
    if not state.maybe_second_delivery or (order.is_exit and _repeating_is_safe(order, state, now_ms)):
        return None
    return DeadLetter(
        "outcome-unknown",
        "it has no message_id, came redelivered, and an equal intent came before: it may be that one",
    )


def _waited_undated(order: Order, state: IntentState) -> bool:
    """An open without a creation time that had waited when we came, after nobody was there for its whole life.

    One that was claimed before is no such: whether it was taken is what counts then.
    """
    return (
        order.timing.unattended_since_ms is not None
        and not order.is_exit
        and order.timing.creation.source == "first receipt"
        and state.version <= 1
        and state.attempts == 0
        and not order.provenance.is_own_copy
        and order.timing.received_ms - order.timing.unattended_since_ms > order.policy.max_age_s * 1000
    )


def after(order: Order, state: IntentState, attempt: Attempt, backoff_s: float, now_ms: int) -> After:
    """Decide what follows an attempt; `state` has it counted already, the lane waits for `backoff_s` at least."""
    match attempt.certainty:
        case "accepted":
            return Done()
        case "refused":
            return DeadLetter("rejected", f"the webhook refused it: {attempt.why}")
        case "not taken" | "unknown":
            return _again(order, state, attempt, backoff_s, now_ms)


def concluded(state: IntentState, after: After, now_ms: int) -> IntentState:
    """Return the state once the attempt has ended: `state` as the rules saw it, stepped on as they said."""
    match after:
        case Done():
            return state.delivered()
        case Retry(at_ms):
            return state.retrying(at_ms, at_ms - now_ms)
        case DeadLetter(reason, detail):
            return state.dead_lettering(reason, detail)


def _again(order: Order, state: IntentState, attempt: Attempt, backoff_s: float, now_ms: int) -> Retry | DeadLetter:
    wait_s = max(backoff_s, min(attempt.retry_after_s or 0.0, order.policy.retry_after_max_s))
    at_ms = now_ms + round(wait_s * 1000)
    if state.in_doubt and not _repeating_is_safe(order, state, at_ms):
        return DeadLetter("outcome-unknown", details.doubt(state))
    if _is_exhausted(order, state):
        return DeadLetter("exhausted", details.exhausted(state))
    if at_ms > order.expires_ms:
        return DeadLetter("expired", details.expired(order, now_ms, at_ms) + f"; the last attempt: {attempt.why}")
    return Retry(at_ms)


def _is_exhausted(order: Order, state: IntentState) -> bool:
    return not order.is_exit and state.attempts_counted >= order.policy.attempts_max


def _repeating_is_safe(order: Order, state: IntentState, at_ms: int) -> bool:
    """Whether a second POST at `at_ms` can do no harm although the first may have been taken."""
    if order.policy.resend_when_unknown == "always":
        return True
    if order.policy.resend_when_unknown == "with-client-order-id" and order.intent.client_order_id is not None:
        return True
    if order.intent.kind == "cancel":
        return True
    first_ms = state.first_post_ms if state.first_post_ms is not None else at_ms
    # A time ahead was written down by a clock that was set back unseen: nobody knows how long ago that is.
    in_window = abs(order.timing.skew.passed_ms(first_ms, at_ms)) <= order.policy.repeat_window_s * 1000
    return in_window and (order.intent.kind == "cancelAll" or _closes_all(order))


def _closes_all(order: Order) -> bool:
    intent = order.intent
    return (
        intent.action in {"closeLong", "closeShort"}
        and intent.percent is not None
        and Decimal(intent.percent) == 100
        and intent.fixed is None
        and intent.limit is None
    )
