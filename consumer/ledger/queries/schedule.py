"""The schedule: delayed intents that nobody has claimed yet. Listed, counted and canceled here, by anybody.

Pending is what is `received` or `scheduled` and has a due time. Whoever steps such a row on first has it: a claim and
a cancel are each one UPDATE of a row that must still be pending, so the ledger decides between them.
"""

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from signalq.consumer.ledger.queries.events import CANCELED
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.row import columns_of, storable
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import PENDING_STATUSES, Pending

_pending = and_(intents.c.due_ms.is_not(None), intents.c.status.in_(PENDING_STATUSES))
_columns = columns_of(Pending)


def pending(connection: Connection, wanted: Filter, rows_max: int) -> list[Pending]:
    """The first `rows_max` of what is pending, the soonest due first."""
    query = select(*_columns).where(_pending, *wanted.conditions()).order_by(intents.c.due_ms, intents.c.number)
    return [Pending(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def known(connection: Connection, wanted: Filter) -> list[Pending]:
    """All that fit, pending or not."""
    query = select(*_columns).where(*wanted.conditions()).order_by(intents.c.number)
    return [Pending(**row._mapping) for row in connection.execute(query)]


def count(connection: Connection, wanted: Filter) -> int:
    """How many are pending."""
    query = select(func.count()).select_from(intents).where(_pending, *wanted.conditions())
    return connection.execute(query).scalar_one()


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
    ended = {"status": "canceled", "why": f"canceled {why}", "updated_ms": now_ms, "ended_ms": now_ms}
    step = update(intents).where(_pending, *conditions).values(version=intents.c.version + 1, **ended)
    canceled = [Pending(**row._mapping) for row in connection.execute(step.returning(*_columns))]
    if canceled:
        note = {"at_ms": now_ms, "what": CANCELED, "detail": why}
        rows = [note | {"intent": one.number, "generation": one.generation} for one in canceled]
        connection.execute(insert(events), rows)
    return canceled
