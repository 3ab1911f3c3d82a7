"""The row of each intent: written by compare-and-set on its version, leased while it is POSTed, pruned at last."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from signalq.consumer.ledger import LEASE_MS
from signalq.consumer.ledger.driver import HotStatement, change_each
from signalq.consumer.ledger.row import FIRST, SAVED_WITH_THEM, STEPPED, first_columns, storable, to_columns
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState

# The parameters of this condition are in `identity_of`.
HAS_IDENTITY = and_(intents.c.strategy == bindparam("by_strategy"), intents.c.intent_id == bindparam("by_intent_id"))

_by_identity = select(intents).where(HAS_IDENTITY)
_saved = (*STEPPED, *SAVED_WITH_THEM)
_first_save = HotStatement(
    sqlite.insert(intents).on_conflict_do_nothing(),
    (*FIRST, *_saved),
    on_postgresql=postgresql.insert(intents).on_conflict_do_nothing(),
)
_next_save = HotStatement(update(intents).where(HAS_IDENTITY, intents.c.version == bindparam("by_version")), _saved)
_owned = intents.c.owner == bindparam("by_owner"), intents.c.status == "sending"
_renew_leases = update(intents).where(*_owned)
_end_lease = update(intents).where(HAS_IDENTITY, *_owned).values(owner=None, lease_until_ms=None)


def identity_of(strategy: str, intent_id: str) -> dict[str, str]:
    """The identity, as HAS_IDENTITY asks for it."""
    return {"by_strategy": storable(strategy), "by_intent_id": storable(intent_id)}


def row_of(connection: Connection, strategy: str, intent_id: str) -> Row[Any] | None:
    """The row of an intent, if the ledger knows it."""
    return connection.execute(_by_identity, identity_of(strategy, intent_id)).first()


@dataclass(frozen=True, slots=True)
class NextVersion:
    """The row that an intent is to have. A claim is its `owner`'s, and leased; nobody has what is saved without one."""

    order: Order
    state: IntentState
    owner: str | None = None


def save(connection: Connection, now_ms: int, order: Order, state: IntentState) -> bool:
    """Save one that is no claim; see save_each."""
    return save_each(connection, now_ms, [NextVersion(order, state)])[0]


def save_each(connection: Connection, now_ms: int, versions: Sequence[NextVersion]) -> list[bool]:
    """Insert first versions, and step saved ones on; False for each of which the ledger has another version."""
    firsts = [one for one in versions if not one.state.version]
    others = [one for one in versions if one.state.version]
    inserted = iter(change_each(connection, _first_save, [_first_row(one, now_ms) for one in firsts]))
    stepped = iter(change_each(connection, _next_save, [_next_row(one, now_ms) for one in others]))
    return [next(stepped if one.state.version else inserted) for one in versions]


def _first_row(version: NextVersion, now_ms: int) -> dict[str, Any]:
    return first_columns(version.order) | _columns(version, now_ms)


def _next_row(version: NextVersion, now_ms: int) -> dict[str, Any]:
    columns = _columns(version, now_ms) | identity_of(version.order.strategy, version.order.intent_id)
    columns["by_version"] = version.state.version
    return columns


def _columns(version: NextVersion, now_ms: int) -> dict[str, Any]:
    columns = to_columns(version.state, now_ms)
    columns["owner"] = version.owner
    columns["lease_until_ms"] = now_ms + LEASE_MS if version.owner is not None else None
    return columns


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
