"""The schedule: delayed intents that nobody has claimed yet. Listed, counted and canceled here, by anybody.

Pending is what is `received` or `scheduled` and has a due time. Whoever steps such a row on first has it: a claim and
a cancel are each one UPDATE of a row that must still be pending, so the ledger decides between them.
"""

from sqlalchemy import ColumnElement, Connection, func, insert, select, tuple_, update

from signalq.consumer.ledger.queries.events import CANCELED
from signalq.consumer.ledger.queries.orders import Filter, is_pending
from signalq.consumer.ledger.row import columns_of, storable
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import Pending

_columns = columns_of(Pending)


def pending(
    connection: Connection, wanted: Filter, rows_max: int, after: tuple[int, int] | None = None
) -> list[Pending]:
    """The first `rows_max` of what is pending, the soonest due first; after the due time and the number of a row."""
    query = select(*_columns).where(is_pending, *wanted.conditions()).order_by(intents.c.due_ms, intents.c.number)
    if after is not None:
        query = query.where(tuple_(intents.c.due_ms, intents.c.number) > after)
    return [Pending(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def known(connection: Connection, wanted: Filter) -> list[Pending]:
    """All that fit, pending or not."""
    query = select(*_columns).where(*wanted.conditions()).order_by(intents.c.number)
    return [Pending(**row._mapping) for row in connection.execute(query)]


def count(
    connection: Connection,
    wanted: Filter,
    *,
    after: tuple[int, int] | None = None,
    due_before_ms: int | None = None,
) -> int:
    """How many are pending; of those after the due time and the number of a row, or due before a time."""
    query = select(func.count()).select_from(intents).where(is_pending, *wanted.conditions())
    if after is not None:
        query = query.where(tuple_(intents.c.due_ms, intents.c.number) > after)
    if due_before_ms is not None:
        query = query.where(intents.c.due_ms < due_before_ms)
    return connection.execute(query).scalar_one()


def last_number(connection: Connection) -> int:
    """The number of the newest intent; 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(intents.c.number), 0))).scalar_one())


def canceled_at(connection: Connection, at_ms: int, why: str, rows_max: int) -> list[Pending]:
    """The first `rows_max` of those that one act has canceled, by the time and the reason that it gave all of them."""
    fits = intents.c.ended_ms == at_ms, intents.c.status == "canceled", intents.c.why == _why(why)
    query = select(*_columns).where(*fits).order_by(intents.c.due_ms, intents.c.number)
    return [Pending(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def cancel(connection: Connection, now_ms: int, wanted: Filter, why: str) -> list[Pending]:
    """Cancel whatever fits and is pending still; return that."""
    return _cancel(connection, now_ms, *wanted.conditions(), why=why)


def cancel_by(connection: Connection, now_ms: int, order: Order) -> list[Pending]:
    """Cancel, by a `cancel` or `cancelAll` that is about to be POSTed, what is of its connector, created before it."""
    conditions = [intents.c.connector == order.connector, intents.c.age_from_ms <= order.timing.creation.delay_ms]
    if order.intent.kind == "cancel":
        conditions.append(intents.c.client_order_id == storable(order.intent.client_order_id or ""))
    why = storable(f"by the {order.intent.kind} {order.intent_id}")
    return _cancel(connection, now_ms, *conditions, why=why)


def _cancel(connection: Connection, now_ms: int, *conditions: ColumnElement[bool], why: str) -> list[Pending]:
    ended = {"status": "canceled", "why": _why(why), "updated_ms": now_ms, "ended_ms": now_ms}
    step = update(intents).where(is_pending, *conditions).values(version=intents.c.version + 1, **ended)
    canceled = [Pending(**row._mapping) for row in connection.execute(step.returning(*_columns))]
    if canceled:
        note = {"at_ms": now_ms, "what": CANCELED, "detail": why}
        rows = [note | {"intent": one.number, "generation": one.generation} for one in canceled]
        connection.execute(insert(events), rows)
    return canceled


def _why(why: str) -> str:
    return f"canceled {why}"
