"""The row of each intent: written by compare-and-set on its version, leased while it is POSTed, pruned at last."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from signalq.consumer.ledger.row import first_columns, storable, to_columns
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState

_by_identity = select(intents).where(
    intents.c.strategy == bindparam("strategy"), intents.c.intent_id == bindparam("intent_id")
)
# INSERT ... ON CONFLICT DO NOTHING: a lost race is no error that would undo the whole transaction.
_FIRST_SAVE = {
    "sqlite": sqlite.insert(intents).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(intents).on_conflict_do_nothing(),
}
_next_save = update(intents).where(
    intents.c.strategy == bindparam("by_strategy"),
    intents.c.intent_id == bindparam("by_intent_id"),
    intents.c.version == bindparam("by_version"),
)


def row_of(connection: Connection, strategy: str, intent_id: str) -> Row[Any] | None:
    """The row of an intent, if the ledger knows it."""
    return connection.execute(_by_identity, {"strategy": storable(strategy), "intent_id": storable(intent_id)}).first()


def save(
    connection: Connection,
    now_ms: int,
    order: Order,
    state: IntentState,
    *,
    owner: str | None = None,
    lease_ms: int = 0,
) -> bool:
    """Insert the first version, or step the saved one on; False where the ledger has another version.

    A claim is its `owner`'s, leased for `lease_ms`; nobody has what is saved without one.
    """
    columns = to_columns(state, now_ms)
    columns["owner"] = owner
    columns["lease_until_ms"] = now_ms + lease_ms if owner is not None else None
    if not state.version:
        first = connection.execute(_FIRST_SAVE[connection.dialect.name], first_columns(order) | columns)
        return first.rowcount == 1
    columns["by_strategy"] = storable(order.strategy)
    columns["by_intent_id"] = storable(order.intent_id)
    columns["by_version"] = state.version
    return connection.execute(_next_save, columns).rowcount == 1


def renew_leases(connection: Connection, now_ms: int, owner: str, lease_ms: int) -> None:
    """Note that this consumer lives, on what it is POSTing."""
    connection.execute(_renew_leases, {"by_owner": owner, "lease_until_ms": now_ms + lease_ms})


_renew_leases = update(intents).where(intents.c.owner == bindparam("by_owner"), intents.c.status == "sending")


def end_lease(connection: Connection, order: Order, owner: str) -> None:
    """Nobody is POSTing the order, whatever its claim says; whether it was POSTed stays in doubt."""
    connection.execute(
        update(intents)
        .where(
            intents.c.strategy == storable(order.strategy),
            intents.c.intent_id == storable(order.intent_id),
            intents.c.owner == owner,
            intents.c.status == "sending",
        )
        .values(owner=None, lease_until_ms=None)
    )


def prune(connection: Connection, now_ms: int, retention_ms: int, rows_max: int) -> int:
    """Forget at most `rows_max` of what ended before the retention; never what has not ended."""
    old = (
        select(intents.c.number)
        .where(intents.c.ended_ms < now_ms - retention_ms)
        .order_by(intents.c.ended_ms)
        .limit(rows_max)
        .scalar_subquery()
    )
    connection.execute(events.delete().where(events.c.intent.in_(old)))
    return connection.execute(intents.delete().where(intents.c.number.in_(old))).rowcount
