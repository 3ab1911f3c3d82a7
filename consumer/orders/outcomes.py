"""The outcome event of an ending: pure, from the order and its state, or from the ledger's row."""

from dataclasses import dataclass
from typing import Any

from pamqp.commands import Basic

from signalq import names
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.state import IntentState
from signalq.message.outcome import Outcome, Status, at, routing_key


@dataclass(frozen=True, slots=True)
class Event:
    """An outcome as it is published."""

    routing_key: str
    body: bytes
    properties: Basic.Properties


def event_of(outcome: Outcome) -> Event:
    """The message for the outcomes exchange.

    It has no message_id of its own: the publisher tells returned messages apart by that alone, and the intent's dead
    letter may be on its way under the intent's id.
    """
    properties = Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        headers={names.INTENT_ID: outcome.intent_id, names.GENERATION: outcome.generation},
    )
    key = routing_key(outcome.connector, outcome.strategy, outcome.status)
    return Event(key, outcome.to_event(), properties)


def ending(order: Order, state: IntentState, at_ms: int) -> Outcome:
    """The ending of an intent, at `at_ms`. Raises ValueError for one that has not ended."""
    if state.status not in ("delivered", "dead", "canceled"):
        raise ValueError(f"an intent that is {state.status} has not ended")
    return _outcome(order, state.generation, state.status, at_ms, state)


def duplicate(order: Order, state: IntentState, at_ms: int) -> Outcome:
    """The ending of a producer's second publish, which is dropped; `state` is that of the first."""
    return _outcome(order, state.generation, "duplicate", at_ms, None)


def unreadable(message: Unreadable, at_ms: int) -> Outcome:
    """The ending of a message that holds no intent, or whose sender is unknown."""
    return Outcome(
        intent_id=message.intent_id,
        generation=1,
        connector=message.connector,
        strategy=message.strategy,
        action=None,
        client_order_id=None,
        status="dead",
        reason=message.reason,
        attempts=0,
        http_status=None,
        created_at=None,
        due_at=None,
        updated_at=at(at_ms),
    )


def canceled(pending: Pending) -> Outcome:
    """The ending of a delayed intent that was canceled; it was never POSTed."""
    return of_row(pending, "canceled")


def of_row(row: Pending | Any, status: Status) -> Outcome:
    """The ending of an intent, from its row in the ledger."""
    return Outcome(
        intent_id=row.intent_id,
        generation=row.generation,
        connector=row.connector,
        strategy=row.strategy,
        action=row.action,
        client_order_id=row.client_order_id,
        status=status,
        reason=row.reason,
        attempts=row.attempts,
        http_status=row.http_status,
        created_at=at(row.age_from_ms),
        due_at=at(row.due_ms),
        updated_at=at(row.updated_ms),
    )


def _outcome(order: Order, generation: int, status: Status, at_ms: int, state: IntentState | None) -> Outcome:
    return Outcome(
        intent_id=order.intent_id,
        generation=generation,
        connector=order.connector,
        strategy=order.strategy,
        action=order.intent.action,
        client_order_id=order.intent.client_order_id,
        status=status,
        reason=state.reason if state else None,
        attempts=state.attempts if state else 0,
        http_status=state.http_status if state else None,
        created_at=at(order.timing.creation.age_ms),
        due_at=at(order.timing.due_ms),
        updated_at=at(at_ms),
    )
