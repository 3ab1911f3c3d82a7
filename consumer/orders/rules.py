"""The rules for an intent: pure, without effects; the time is passed in. Read pipeline.py first: it asks here.

before a POST   -> Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
after a POST    -> Done | Retry | DeadLetter
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from signalq.consumer.orders import details
from signalq.consumer.orders.decisions import (
    After,
    Before,
    DeadLetter,
    Deliver,
    Done,
    Drop,
    Forward,
    Hold,
    Park,
    Retry,
    Wait,
)
from signalq.consumer.orders.lanes import FORWARDS_MAX
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import State

# How often an order that the switch holds looks at it again.
HOLD_MS = 250
# The side that a close of all ends. A close of the other side says nothing of it, and spot knows no such close.
_OPENS_OF = {"closeLong": "openLong", "closeShort": "openShort"}


def before(
    order: Order,
    state: IntentState,
    lane_opens_ms: int,
    now_ms: int,
    *,
    paced_until_ms: int = 0,
    superseded_by: str | None = None,
    over_rate: str | None = None,
    switched: State = "open",
) -> Before:
    """Decide on an intent whose turn it is (or which is not due yet).

    `lane_opens_ms` is when the lane's backoff ends: the next intent doesn't start from zero against a webhook that
    is down; `paced_until_ms` is when its pace lets it go on. `superseded_by` is the kind of an exit behind it that ends
    its waiting for a backoff, and no other waiting. `over_rate` says which rate its claim found no place in, `switched`
    what the switch said when its claim was refused; open where nobody has asked.
    """
    known = _known_already(order, state, now_ms) or _barred(order, state) or _unfit(order, state)
    if known is not None:
        return known
    if order.due_ms is not None and not order.is_due and not state.attempts:
        return Park(order.due_ms)
    if order.is_misrouted and not _stays(order, state):
        return Drop(duplicate=True) if _is_said_twice(order, state) else Forward(order.lane)
    start_ms = max(now_ms, lane_opens_ms, paced_until_ms, state.next_attempt_ms)
    over = _over(order, state, start_ms, now_ms)
    if over is None and superseded_by is not None and max(lane_opens_ms, state.next_attempt_ms) > now_ms:
        over = DeadLetter("superseded", details.superseded(state, superseded_by))
    if over is None and over_rate is not None and not state.attempts:
        over = DeadLetter("forbidden", over_rate)
    if over is not None:
        return over
    return Wait(start_ms) if start_ms > now_ms else _switched(order, state, switched, now_ms)


def _switched(order: Order, state: IntentState, switched: State, now_ms: int) -> Deliver | Hold | DeadLetter:
    """Let the switch decide on an intent that would be POSTed now. The intent grows older while it is held."""
    if switched == "paused":
        return Hold(min(now_ms + HOLD_MS, order.expires_ms + 1))
    if switched == "close-only" and not order.is_exit:
        return DeadLetter("forbidden", details.closed_to_opens(state))
    return Deliver()


def supersedes(order: Order) -> bool:
    """Whether an order ends the waiting of opens: it closes everything that they would open."""
    return order.intent.kind == "cancelAll" or _closes_all(order)


def is_superseded_by(order: Order, later: Order) -> bool:
    """Whether a later order of the connector ends the waiting of this one: it closes the side that this one opens."""
    if order.is_exit or order.connector != later.connector or not supersedes(later):
        return False
    return later.intent.kind == "cancelAll" or order.intent.action == _OPENS_OF[later.intent.action]


def _unfit(order: Order, state: IntentState) -> DeadLetter | None:
    """The reason why an intent that is not known yet must not be POSTed at any time, or None."""
    if _waited_undated(order, state):
        return DeadLetter("expired", details.WAITED_UNDATED)
    if order.why_invalid is None:
        return None
    if state.in_doubt:  # an earlier POST that may have been taken counts for more
        return DeadLetter("outcome-unknown", details.doubt(state))
    return DeadLetter("invalid", f"the settings have changed while it waited: {order.why_invalid}")


def _barred(order: Order, state: IntentState) -> DeadLetter | None:
    """The reason why the settings that hold now forbid an intent, or None: its rights, or a limit but for the rate.

    Doubt comes first: a person has to decide before an order that may have been taken is sent again.
    """
    unauthorized = order.why_unauthorized()
    why = unauthorized or "; ".join(one.detail for one in order.exceeded(enforced=True))
    if not why:
        return None
    if state.in_doubt:
        return DeadLetter("outcome-unknown", f"{details.doubt(state)}; it is not repeated: {why}")
    return DeadLetter("unauthorized" if unauthorized else "forbidden", why)


def _is_said_twice(order: Order, state: IntentState) -> bool:
    """Whether the sender repeats an intent that is known and on its way.

    Such a message is not forwarded: it would neither be a copy of ours nor carry its user any more, so that no
    strategy could be found for it.
    """
    return order.policy.rights.are_given and state.version > 0 and not order.is_copy


def _stays(order: Order, state: IntentState) -> bool:
    """Whether an order was forwarded so often that it is handled where it is.

    The message says how often, and may lie: an order that was ever forwarded was in the ledger before.
    """
    return order.forwards >= FORWARDS_MAX and state.version > 0 and not order.recorded


def _over(order: Order, state: IntentState, start_ms: int, now_ms: int) -> DeadLetter | None:
    """The reason why no POST may begin at `start_ms`, or None."""
    if state.in_doubt and not _repeating_is_safe(order, state, start_ms):
        return DeadLetter("outcome-unknown", details.doubt(state))
    if not order.is_exit and state.attempts_counted >= order.policy.attempts_max:
        return DeadLetter("exhausted", details.exhausted(state))
    if start_ms > order.expires_ms:
        return DeadLetter("expired", details.expired(order, now_ms, start_ms))
    return None


def too_late(order: Order, state: IntentState, now_ms: int) -> bool:
    """Whether a claim took so long (the ledger could not be written) that no POST may follow.

    `state` is as it was before the claim.
    """
    return now_ms > order.expires_ms or (state.in_doubt and not _repeating_is_safe(order, state, now_ms))


def given_up(order: Order, state: IntentState, detail: str, now_ms: int) -> DeadLetter | Drop:
    """Decide on an intent whose handling keeps failing. An ending that the ledger knows already stands."""
    known = _known_already(order, replace(state, leased_for_ms=0), now_ms)
    if isinstance(known, DeadLetter):
        return known
    if isinstance(known, Drop):
        return Drop(duplicate=False)
    if state.in_doubt and not _repeating_is_safe(order, state, now_ms):
        return DeadLetter("outcome-unknown", details.doubt(state))
    return DeadLetter("undeliverable", detail)


def _known_already(order: Order, state: IntentState, now_ms: int) -> Wait | Drop | DeadLetter | None:
    """Decide on a message whose identity the ledger knows: the same intent again, or another under its name."""
    if state.leased_for_ms > 0:
        return Wait(now_ms + state.leased_for_ms)
    if state.digest != order.digest:
        return DeadLetter("invalid", details.ANOTHER_BODY, under_own_id=True)
    if state.ended:
        return Drop(duplicate=not order.is_copy)
    if state.status == "dying" and state.reason is not None:
        return DeadLetter(state.reason, state.detail or "")
    if _comes_by_the_ladder(order, state):
        return Drop(duplicate=not order.is_copy)
    return _second_delivery(order, state, now_ms)


def _comes_by_the_ladder(order: Order, state: IntentState) -> bool:
    """Whether the ladder holds another copy, which will come in its turn among the due ones.

    `scheduled` is saved once the ladder has confirmed. A copy that came beside the ladder would come beside it again,
    were it parked.
    """
    if order.came_beside and not order.is_due:
        return state.version > 0 and not order.recorded
    return state.status == "scheduled" and not order.is_own_copy


def _second_delivery(order: Order, state: IntentState, now_ms: int) -> DeadLetter | None:
    """Decide on a message without a message_id: a second delivery, or a second order? Nobody can tell.

    So an open is never risked, and an exit only where it can be repeated.
    """
    if not state.maybe_second_delivery or (order.is_exit and _repeating_is_safe(order, state, now_ms)):
        return None
    return DeadLetter("outcome-unknown", details.SECOND_DELIVERY)


def _waited_undated(order: Order, state: IntentState) -> bool:
    """Whether an open without a creation time waited, while no consumer was active, for as long as it may live.

    After a claim that no longer counts: what matters then is whether the open was taken.
    """
    return (
        order.unattended_since_ms is not None
        and not order.is_exit
        and order.creation.source == "first receipt"
        and state.version <= 1
        and state.attempts == 0
        and not order.is_own_copy
        and order.received_ms - order.unattended_since_ms > order.policy.max_age_s * 1000
    )


def after(order: Order, state: IntentState, attempt: Attempt, backoff_s: float, now_ms: int) -> After:
    """Decide on an intent after an attempt, which `state` counts already. The lane waits for `backoff_s` at least."""
    match attempt.certainty:
        case "accepted":
            return Done()
        case "refused":
            return DeadLetter("rejected", f"the webhook refused it: {attempt.why}")
        case "not taken" | "unknown":
            return _again(order, state, attempt, backoff_s, now_ms)


def _again(order: Order, state: IntentState, attempt: Attempt, backoff_s: float, now_ms: int) -> Retry | DeadLetter:
    wait_s = max(backoff_s, min(attempt.retry_after_s or 0.0, order.policy.retry_after_max_s))
    at_ms = now_ms + round(wait_s * 1000)
    over = _over(order, state, at_ms, now_ms)
    if over is not None and over.reason == "expired":
        return replace(over, detail=f"{over.detail}; the last attempt: {attempt.why}")
    return over or Retry(at_ms)


def _repeating_is_safe(order: Order, state: IntentState, at_ms: int) -> bool:
    """Whether a second POST at `at_ms` can do no harm although the first may have been taken."""
    if order.policy.resend_when_unknown == "always":
        return True
    if order.policy.resend_when_unknown == "with-client-order-id" and order.intent.client_order_id is not None:
        return True
    if order.intent.kind == "cancel":
        return True
    first_ms = state.first_post_ms if state.first_post_ms is not None else at_ms
    # A first POST that lies ahead was dated by a clock that was set back unseen: how long ago it was, nobody knows.
    in_window = abs(order.skew.passed_ms(first_ms, at_ms)) <= order.policy.repeat_window_s * 1000
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
