"""The events of each intent, written in the transaction that makes them so: an attempt with its outcome, and the like.

First receipt and the present ending are in the intent's own row; what else happened to it is here, for its timeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from signalq.consumer.ledger.row import storable
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.times import iso_ms

ATTEMPT, SCHEDULED, DEAD = "attempt", "scheduled", "dead"
CANCELED, REPLAYED, DISCARDED = "canceled", "replayed", "discarded"
EXPIRATION = "expiration"

TimelineEvent = dict[str, Any]

_COLUMNS = ("generation", "what", "certainty", "http_status", "duration_ms", "detail", "answer")

# One statement for all events of a transaction; which row an intent has is looked up by its identity.
_write = events.insert().from_select(
    ["intent", "at_ms", *_COLUMNS],
    select(
        intents.c.number,
        *(bindparam(name, type_=events.c[name].type).label(name) for name in ("at_ms", *_COLUMNS)),
    ).where(intents.c.strategy == bindparam("by_strategy"), intents.c.intent_id == bindparam("by_intent_id")),
)


def of_save(order: Order, state: IntentState, attempt: Attempt | None) -> TimelineEvent | None:
    """The event that saving this history makes, if it makes one."""
    if attempt is not None:
        return _event(order, state, ATTEMPT, attempt.why, attempt)
    if state.status == "scheduled" and order.timing.due_ms is not None:
        return _event(order, state, SCHEDULED, f"until {iso_ms(order.timing.due_ms)}")
    if state.status == "dead":
        # The row says so, too, but only until the next replay.
        return _event(order, state, DEAD, f"{state.reason}: {state.detail}")
    return None


def of_receipt(order: Order) -> TimelineEvent | None:
    """The event that the first record of an intent makes, if it makes one."""
    if not order.provenance.may_vanish:
        return None
    detail = "its producer set an AMQP expiration: had that passed before, the broker would have dropped it unseen"
    return _event(order, IntentState(order.intent_id, order.identity.digest), EXPIRATION, detail)


def write(connection: Connection, now_ms: int, noted: Sequence[TimelineEvent]) -> None:
    """Write events of intents that are there."""
    connection.execute(_write, [event | {"at_ms": now_ms} for event in noted])


def _event(order: Order, state: IntentState, what: str, detail: str, attempt: Attempt | None = None) -> TimelineEvent:
    return {
        "by_strategy": storable(order.strategy),
        "by_intent_id": storable(order.intent_id),
        "generation": state.generation,
        "what": what,
        "certainty": attempt.certainty if attempt else None,
        "http_status": attempt.status if attempt else None,
        # 0 where nothing was sent at all, or nobody was there to measure.
        "duration_ms": round(attempt.duration_s * 1000) if attempt and attempt.duration_s else None,
        "detail": detail,
        "answer": attempt.answer if attempt else None,
    }
