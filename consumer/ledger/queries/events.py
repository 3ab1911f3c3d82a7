"""The events of each intent, written in the transaction that makes them so: an attempt with its outcome, and the like.

First receipt and the present ending are in the intent's own row; what else happened to it is here, for its timeline.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from signalq.consumer.ledger.driver import HotStatement, change_each
from signalq.consumer.ledger.queries.intents import HAS_IDENTITY, identity_of
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.times import iso_ms

ATTEMPT, SCHEDULED, FORWARDED, DEAD = "attempt", "scheduled", "forwarded", "dead"
CANCELED, REPLAYED, DISCARDED = "canceled", "replayed", "discarded"
EXPIRATION = "expiration"

TimelineEvent = dict[str, Any]

_COLUMNS = ("at_ms", "generation", "what", "certainty", "http_status", "duration_ms", "detail", "answer")
_values = (bindparam(name, type_=events.c[name].type).label(name) for name in _COLUMNS)
# The number of each intent is looked up by its identity.
_write = HotStatement(
    events.insert().from_select(["intent", *_COLUMNS], select(intents.c.number, *_values).where(HAS_IDENTITY))
)


def of_save(order: Order, state: IntentState, attempt: Attempt | None) -> Iterator[TimelineEvent]:
    """The events that saving this history makes."""
    if state.version == 0 and order.provenance.may_vanish:
        detail = "its producer set an AMQP expiration: had that passed before, the broker would have dropped it unseen"
        yield _event(order, state, EXPIRATION, detail)
    if attempt is not None:
        yield _event(order, state, ATTEMPT, attempt.why, attempt)
    elif state.status == "scheduled" and order.timing.due_ms is not None:
        yield _event(order, state, SCHEDULED, f"until {iso_ms(order.timing.due_ms)}")
    elif state.status == "dead":
        # The row says so, too, but only until the next replay.
        yield _event(order, state, DEAD, f"{state.reason}: {state.detail}")


def forwarded(order: Order, state: IntentState) -> TimelineEvent:
    """The event of a message without a message_id: a copy that carries its id is in the lane of its connector."""
    return _event(order, state, FORWARDED, "it has no message_id, and came by another lane than its connector's")


def write(connection: Connection, now_ms: int, noted: Sequence[TimelineEvent]) -> None:
    """Write events of intents that are there."""
    change_each(connection, _write, [event | {"at_ms": now_ms} for event in noted])


def _event(order: Order, state: IntentState, what: str, detail: str, attempt: Attempt | None = None) -> TimelineEvent:
    return {
        **identity_of(order.strategy, order.intent_id),
        "generation": state.generation,
        "what": what,
        "certainty": attempt.certainty if attempt else None,
        "http_status": attempt.status if attempt else None,
        # 0 where nothing was sent at all, or nobody was there to measure.
        "duration_ms": round(attempt.duration_s * 1000) if attempt and attempt.duration_s else None,
        "detail": detail,
        "answer": attempt.answer if attempt else None,
    }
