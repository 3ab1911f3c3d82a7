"""The detail of a dead letter: a sentence for people, which quotes nothing of the body. Pure."""

from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import NEVER_CONCLUDED, IntentState
from signalq.message.creation import CLOCKS_AGREE_MS
from signalq.times import iso_ms

_NEVER_ENDED = NEVER_CONCLUDED.why


def exhausted(state: IntentState) -> str:
    """Its last attempt that counts has failed."""
    return f"{state.attempts_counted} attempts failed, the last: {state.why or _NEVER_ENDED}"


def doubt(state: IntentState) -> str:
    """The order may have been taken."""
    sent = ""
    if state.first_post_ms is not None:
        sent = f"first sent at {iso_ms(state.first_post_ms)}; "
    return f"{sent}whether the webhook took it can't be known: {state.why or _NEVER_ENDED}"


def superseded(state: IntentState, by: str) -> str:
    """A `by` behind it has ended its waiting."""
    tried = "not tried yet"
    if state.attempts:
        tried = f"the last of {state.attempts} attempts: {state.why or _NEVER_ENDED}"
    return f"its waiting for the next attempt was ended by a {by} that came after it; {tried}"


def closed_to_opens(state: IntentState) -> str:
    """Its connector takes exits alone."""
    detail = "its connector is switched to close-only: exits go, opens don't"
    return f"{detail}; an earlier POST of it may have been taken" if state.in_doubt else detail


def expired(order: Order, now_ms: int, start_ms: int) -> str:
    """The order is too old by now, or would be when its next attempt may begin."""
    base = "its due time" if order.timing.due_ms is not None else f"its creation ({order.timing.creation.source})"
    base = "its replay" if order.timing.replayed_ms is not None else base
    limit_s = order.policy.max_age_s
    if now_ms <= order.expires_ms:
        wait_s = (start_ms - now_ms) / 1000
        return f"the next attempt is {wait_s:.1f} s away, past the {limit_s:g} s allowed from {base}"
    text = f"{(now_ms - order.timing.age_from_ms) / 1000:.1f} s old, {limit_s:g} s are allowed from {base}"
    why = _why_old_when_it_came(order)
    return f"{text}; {why}" if why else text


def _why_old_when_it_came(order: Order) -> str | None:
    """Where it came too old already: whose clock says so, or where it waited; None for any other."""
    limit_ms, age_ms = round(order.policy.max_age_s * 1000), order.timing.received_ms - order.timing.age_from_ms
    if order.timing.due_ms is not None or order.timing.replayed_ms is not None or age_ms <= limit_ms:
        return None
    if order.timing.clock_ahead_ms >= CLOCKS_AGREE_MS:
        return f"this machine's clock is {order.timing.clock_ahead_ms / 1000:.1f} s ahead"
    stamped_ms = order.timing.stamped_ms
    if stamped_ms is None:
        came = f"it was {age_ms / 1000:.1f} s old when it came"
        waited = "it waited on the broker, or the clock of its producer is behind"
        return None if order.provenance.redelivered else f"{came}: {waited}"
    dated_ago_ms = stamped_ms - order.timing.creation.age_ms
    if dated_ago_ms > limit_ms:
        return f"its producer's clock is behind: by that it was {dated_ago_ms / 1000:.1f} s old when the broker took it"
    return f"it waited on the broker for {(order.timing.received_ms - stamped_ms) / 1000:.1f} s"
