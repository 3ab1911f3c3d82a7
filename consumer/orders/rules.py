"""What to do with an intent: pure, told the time, no effects. Read pipeline.py first; this is what it asks.

before a POST   -> Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
after a POST    -> Done | Retry | DeadLetter
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

from signalq.consumer.orders.lanes import FORWARDS_MAX
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import NEVER_CONCLUDED, Attempt, IntentState, Reason
from signalq.consumer.orders.switch import State
from signalq.message.creation import CLOCKS_AGREE_MS
from signalq.times import iso_ms

# What is held by the switch looks at it again so often.
HOLD_MS = 250


@dataclass(frozen=True, slots=True)
class Deliver:
    """POST it now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Keep the lane's turn and ask again at `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Paused: keep the lane's turn, and look at the switch again at `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Park:
    """Not due yet: onto the ladder until `due_ms`."""

    due_ms: int


@dataclass(frozen=True, slots=True)
class Forward:
    """It lies in another lane than its connector's: into that one's queue."""

    queue: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """It ends in the dead-letter queue; `detail` is one sentence that quotes nothing of the body.

    `under_own_id`: the message claims an identity that belongs to another intent, so it gets one of its own.
    """

    reason: Reason
    detail: str
    under_own_id: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """Known already: acknowledged, not POSTed. `duplicate`: a producer's second publish, not our own copy."""

    duplicate: bool


@dataclass(frozen=True, slots=True)
class Done:
    """The webhook took it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Tried again in its lane, not before `at_ms`."""

    at_ms: int


_NEVER_ENDED = NEVER_CONCLUDED.why
# What a close of all is about; a close of the other side says nothing of it, and spot knows no such close.
_OPENS_OF = {"closeLong": "openLong", "closeShort": "openShort"}

Before = Deliver | Wait | Hold | Park | Forward | DeadLetter | Drop
After = Done | Retry | DeadLetter
Disposition = Done | Park | Forward | DeadLetter | Drop


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
    """What to do with an intent whose turn it is (or which is not due yet).

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
        over = DeadLetter("superseded", _superseded(state, superseded_by))
    if over is None and over_rate is not None and not state.attempts:
        over = DeadLetter("forbidden", over_rate)
    if over is not None:
        return over
    return Wait(start_ms) if start_ms > now_ms else _switched(order, state, switched, now_ms)


def _switched(order: Order, state: IntentState, switched: State, now_ms: int) -> Deliver | Hold | DeadLetter:
    """What the switch makes of an intent that would be POSTed now. Its age runs on while it is held."""
    if switched == "paused":
        return Hold(min(now_ms + HOLD_MS, order.expires_ms + 1))
    if switched == "close-only" and not order.is_exit:
        return DeadLetter("forbidden", _closed_to_opens(state))
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
        return DeadLetter("outcome-unknown", _doubt(state))
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
        return DeadLetter("outcome-unknown", f"{_doubt(state)}; it is not repeated: {why}")
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
    return order.forwards >= FORWARDS_MAX and state.version > 0 and not order.recorded


def _over(order: Order, state: IntentState, start_ms: int, now_ms: int) -> DeadLetter | None:
    """Why it can't be POSTed at `start_ms`, if it can't."""
    if state.in_doubt and not _repeating_is_safe(order, state, start_ms):
        return DeadLetter("outcome-unknown", _doubt(state))
    if _is_exhausted(order, state):
        return DeadLetter("exhausted", _exhausted(state))
    if start_ms > order.expires_ms:
        return DeadLetter("expired", _expired(order, now_ms, start_ms))
    return None


def too_late(order: Order, state: IntentState, now_ms: int) -> bool:
    """Whether its claim took so long (the ledger could not be written) that it must not be POSTed any more.

    `history` is as it was before the claim.
    """
    return now_ms > order.expires_ms or (state.in_doubt and not _repeating_is_safe(order, state, now_ms))


def given_up(order: Order, state: IntentState, detail: str, now_ms: int) -> DeadLetter | Drop:
    """What to do with an intent whose handling keeps failing: what is known of it already stands."""
    known = _known_already(order, replace(state, leased_for_ms=0), now_ms)
    if isinstance(known, DeadLetter):
        return known
    if isinstance(known, Drop):
        return Drop(duplicate=False)
    if state.in_doubt and not _repeating_is_safe(order, state, now_ms):
        return DeadLetter("outcome-unknown", _doubt(state))
    return DeadLetter("undeliverable", detail)


def _known_already(order: Order, state: IntentState, now_ms: int) -> Wait | Drop | DeadLetter | None:
    """A message whose identity the ledger has met before: the same intent again, or another one under its name."""
    if state.leased_for_ms > 0:
        return Wait(now_ms + state.leased_for_ms)
    if state.digest != order.digest:
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
    if order.came_beside and not order.is_due:
        return state.version > 0 and not order.recorded
    return state.status == "scheduled" and not order.is_own_copy


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
        order.unattended_since_ms is not None
        and not order.is_exit
        and order.creation.source == "first receipt"
        and state.version <= 1
        and state.attempts == 0
        and not order.is_own_copy
        and order.received_ms - order.unattended_since_ms > order.policy.max_age_s * 1000
    )


def after(order: Order, state: IntentState, attempt: Attempt, backoff_s: float, now_ms: int) -> After:
    """What to do after an attempt; `history` has it counted already, `backoff_s` is what the lane waits at least."""
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
    if state.in_doubt and not _repeating_is_safe(order, state, at_ms):
        return DeadLetter("outcome-unknown", _doubt(state))
    if _is_exhausted(order, state):
        return DeadLetter("exhausted", _exhausted(state))
    if at_ms > order.expires_ms:
        return DeadLetter("expired", _expired(order, now_ms, at_ms) + f"; the last attempt: {attempt.why}")
    return Retry(at_ms)


def _is_exhausted(order: Order, state: IntentState) -> bool:
    return not order.is_exit and state.attempts_counted >= order.policy.attempts_max


def _exhausted(state: IntentState) -> str:
    return f"{state.attempts_counted} attempts failed, the last: {state.why or _NEVER_ENDED}"


def _repeating_is_safe(order: Order, state: IntentState, at_ms: int) -> bool:
    """Whether a second POST at `at_ms` can do no harm although the first may have been taken."""
    if order.policy.resend_when_unknown == "always":
        return True
    if order.policy.resend_when_unknown == "with-client-order-id" and order.intent.client_order_id is not None:
        return True
    if order.intent.kind == "cancel":
        return True
    first_ms = state.first_post_ms if state.first_post_ms is not None else at_ms
    # One that lies ahead was written down by a clock that was set back unseen: nobody knows how long ago that is.
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


def _doubt(state: IntentState) -> str:
    sent = ""
    if state.first_post_ms is not None:
        sent = f"first sent at {iso_ms(state.first_post_ms)}; "
    return f"{sent}whether the webhook took it can't be known: {state.why or _NEVER_ENDED}"


def _superseded(state: IntentState, by: str) -> str:
    tried = "not tried yet"
    if state.attempts:
        tried = f"the last of {state.attempts} attempts: {state.why or _NEVER_ENDED}"
    return f"its waiting for the next attempt was ended by a {by} that came after it; {tried}"


def _closed_to_opens(state: IntentState) -> str:
    detail = "its connector is switched to close-only: exits go, opens don't"
    return f"{detail}; an earlier POST of it may have been taken" if state.in_doubt else detail


def _expired(order: Order, now_ms: int, start_ms: int) -> str:
    base = "its due time" if order.due_ms is not None else f"its creation ({order.creation.source})"
    base = "its replay" if order.replayed_ms is not None else base
    limit_s = order.policy.max_age_s
    if now_ms <= order.expires_ms:
        wait_s = (start_ms - now_ms) / 1000
        return f"the next attempt is {wait_s:.1f} s away, past the {limit_s:g} s allowed from {base}"
    text = f"{(now_ms - order.age_from_ms) / 1000:.1f} s old, {limit_s:g} s are allowed from {base}"
    why = _why_old_when_it_came(order)
    return f"{text}; {why}" if why else text


def _why_old_when_it_came(order: Order) -> str | None:
    """Where it came too old already: whose clock says so, or where it waited; None for any other."""
    limit_ms, age_ms = round(order.policy.max_age_s * 1000), order.received_ms - order.age_from_ms
    if order.due_ms is not None or order.replayed_ms is not None or age_ms <= limit_ms:
        return None
    if order.clock_ahead_ms >= CLOCKS_AGREE_MS:
        return f"this machine's clock is {order.clock_ahead_ms / 1000:.1f} s ahead"
    stamped_ms = order.stamped_ms
    if stamped_ms is None:
        came = f"it was {age_ms / 1000:.1f} s old when it came"
        waited = "it waited on the broker, or the clock of its producer is behind"
        return None if order.redelivered else f"{came}: {waited}"
    dated_ago_ms = stamped_ms - order.creation.age_ms
    if dated_ago_ms > limit_ms:
        return f"its producer's clock is behind: by that it was {dated_ago_ms / 1000:.1f} s old when the broker took it"
    return f"it waited on the broker for {(order.received_ms - stamped_ms) / 1000:.1f} s"
