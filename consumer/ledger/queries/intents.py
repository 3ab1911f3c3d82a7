"""The row of each intent: written by compare-and-set on its version, leased while it is POSTed, pruned at last."""

from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, select, update

from signalq.consumer.ledger import LEASE_MS
from signalq.consumer.ledger.database import insert_new
from signalq.consumer.ledger.row import first_columns, storable, to_columns
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState

# The parameters of this condition are in `identity_of`.
HAS_IDENTITY = and_(intents.c.strategy == bindparam("by_strategy"), intents.c.intent_id == bindparam("by_intent_id"))

_by_identity = select(intents).where(HAS_IDENTITY)
_next_save = update(intents).where(HAS_IDENTITY, intents.c.version == bindparam("by_version"))
_owned = intents.c.owner == bindparam("by_owner"), intents.c.status == "sending"
_renew_leases = update(intents).where(*_owned)
_end_lease = update(intents).where(HAS_IDENTITY, *_owned).values(owner=None, lease_until_ms=None)


def identity_of(strategy: str, intent_id: str) -> dict[str, str]:
    """The identity, as HAS_IDENTITY asks for it."""
    return {"by_strategy": storable(strategy), "by_intent_id": storable(intent_id)}


def row_of(connection: Connection, strategy: str, intent_id: str) -> Row[Any] | None:
    """The row of an intent, if the ledger knows it."""
    return connection.execute(_by_identity, identity_of(strategy, intent_id)).first()


def save(connection: Connection, now_ms: int, order: Order, state: IntentState, *, owner: str | None = None) -> bool:
    """Insert the first version, or step the saved one on; False where the ledger has another version.

    A claim is its `owner`'s, and leased; nobody has what is saved without one.
    """
    columns = to_columns(state, now_ms)
    columns["owner"] = owner
    columns["lease_until_ms"] = now_ms + LEASE_MS if owner is not None else None
    if not state.version:
        return insert_new(connection, intents, first_columns(order) | columns)
    columns |= identity_of(order.strategy, order.intent_id)
    columns["by_version"] = state.version
    return connection.execute(_next_save, columns).rowcount == 1


def renew_leases(connection: Connection, now_ms: int, owner: str) -> None:
    """Note that this consumer lives, on what it is POSTing."""
    connection.execute(_renew_leases, {"by_owner": owner, "lease_until_ms": now_ms + LEASE_MS})


def end_lease(connection: Connection, order: Order, owner: str) -> None:
    """Nobody is POSTing the order, whatever its claim says; whether it was POSTed stays in doubt."""
    connection.execute(_end_lease, {**identity_of(order.strategy, order.intent_id), "by_owner": owner})


def prune(connection: Connection, before_ms: int, rows_max: int) -> int:
    """Forget at most `rows_max` of what ended before then; never what has not ended."""
    ended = select(intents.c.number).where(intents.c.ended_ms < before_ms).order_by(intents.c.ended_ms)
    old = ended.limit(rows_max).scalar_subquery()
    connection.execute(events.delete().where(events.c.intent.in_(old)))
    return connection.execute(intents.delete().where(intents.c.number.in_(old))).rowcount
