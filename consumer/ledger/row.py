"""A row of the intents and the values that are read from it: the one mapping between columns and fields."""

from operator import attrgetter
from typing import Any, TypeVar

from sqlalchemy import Column, Row

from signalq.consumer.ledger.tables import intents
from signalq.consumer.orders.kept import kept_fields
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState
from signalq.message.creation import Creation

# The fields of an `IntentState` that a step may change: each has the column of its name.
STEPPED = (
    "generation",
    "status",
    "reason",
    "detail",
    "attempts",
    "attempts_counted",
    "first_post_ms",
    "next_attempt_ms",
    "in_doubt",
    "why",
    "http_status",
    "wait_ms",
    "answer",
)
# The columns that are written with them by each save.
SAVED_WITH_THEM = ("version", "updated_ms", "ended_ms", "owner", "lease_until_ms")
# The columns that stay from the first record on.
FIRST = (
    "strategy",
    "intent_id",
    "digest",
    "has_message_id",
    "connector",
    "action",
    "client_order_id",
    "origin_user",
    "age_from_ms",
    "delay_from_ms",
    "created_from",
    "due_ms",
    "received_ms",
    "order_fields",
    "trace_id",
)
# The columns that only the ledger writes.
_RECALLED = (*STEPPED, "version", "replayed_ms", "updated_ms")

_stepped = attrgetter(*STEPPED)
_recalled = attrgetter(*_RECALLED)

T = TypeVar("T", str, str | None)


def to_columns(state: IntentState, now_ms: int) -> dict[str, Any]:
    """Return the row of this state's next version, but for its owner and its lease."""
    columns = dict(zip(STEPPED, _stepped(state), strict=True))
    columns["version"] = state.version + 1
    columns["updated_ms"] = now_ms
    columns["ended_ms"] = now_ms if state.ended else None
    return columns


def from_row(row: Row[Any], intent_id: str, leased_for_ms: int = 0) -> IntentState:
    """Return the state that a row has, under the id that its message has."""
    recalled = dict(zip(_RECALLED, _recalled(row), strict=True))
    return IntentState(intent_id, bytes(row.digest), leased_for_ms=leased_for_ms, **recalled)


def creation_of(row: Row[Any]) -> Creation:
    """Return when the intent was created, by its row."""
    return Creation(row.age_from_ms, row.delay_from_ms, row.created_from)


def first_columns(order: Order) -> dict[str, Any]:
    """Return the part of the row that stays from the first record on."""
    return {
        "strategy": storable(order.strategy),
        "intent_id": storable(order.intent_id),
        "digest": order.identity.digest,
        "has_message_id": order.identity.message_id is not None,
        "connector": order.connector,
        "action": order.intent.action,
        "client_order_id": storable(order.intent.client_order_id),
        "origin_user": storable(order.identity.origin_user),
        "age_from_ms": order.timing.creation.age_ms,
        "delay_from_ms": order.timing.creation.delay_ms,
        "created_from": order.timing.creation.source,
        "due_ms": order.timing.due_ms,
        "received_ms": order.timing.received_ms,
        "order_fields": kept_fields(order),
        "trace_id": order.trace_id,
    }


def columns_of(value: Any) -> tuple[Column[Any], ...]:
    """The columns that a dataclass has the fields of, in their order: `value(**row._mapping)` reads such a row."""
    return tuple(intents.c[name] for name in value.__dataclass_fields__)


def storable(text: T) -> T:
    """Foreign text without NUL characters, which PostgreSQL can't hold."""
    return text if text is None else text.replace("\x00", "\\x00")
