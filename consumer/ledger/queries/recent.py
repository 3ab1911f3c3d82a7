"""Reports on the recent past of a lane and of the wire, for people: each looks at a bounded part of the ledger."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, literal_column, select

from signalq.consumer.ledger.queries.events import ATTEMPT
from signalq.consumer.ledger.queries.orders import Recorded
from signalq.consumer.ledger.row import columns_of
from signalq.consumer.ledger.tables import OPEN_LETTER, SENDING, events, intents, letters

# A listing looks at so many of the newest orders, of all lanes, and a plot at so many of the newest events.
ORDERS_LOOKED_AT_MAX = 20_000
EVENTS_LOOKED_AT_MAX = 5_000
# The last POST is looked for among so many.
WIRE_EVENTS_LOOKED_AT_MAX = 500

_recorded = columns_of(Recorded)


@dataclass(frozen=True, slots=True)
class Lane:
    """The orders of one connector; or of the shared lane (None), which has those of all but the `own` ones."""

    connector: str | None
    own: Collection[str] = ()

    def has(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """Whether a row is of this lane, by its connector."""
        return column == self.connector if self.connector is not None else column.not_in(list(self.own))


@dataclass(frozen=True, slots=True)
class Post:
    """A POST: when its outcome was recorded, how long it took, and how certain it is that it was taken."""

    at_ms: int
    duration_ms: int
    certainty: str | None


@dataclass(frozen=True, slots=True)
class Wire:
    """The POSTs of one connector, or of all: how many are out, and when the last one began, if that is known."""

    out: int
    last_ms: int | None


def newest_orders(connection: Connection, lane: Lane, rows_max: int) -> list[Recorded]:
    """The newest orders of a lane among the ORDERS_LOOKED_AT_MAX newest of all, the newest first."""
    newest = select(func.coalesce(func.max(intents.c.number), 0)).scalar_subquery()
    query = (
        select(*_recorded)
        .where(intents.c.number > newest - ORDERS_LOOKED_AT_MAX, lane.has(intents.c.connector))
        .order_by(intents.c.number.desc())
        .limit(rows_max)
    )
    return [Recorded(**row._mapping) for row in connection.execute(query)]


def posts(connection: Connection, lane: Lane, since_ms: int, rows_max: int) -> list[Post]:
    """The POSTs of a lane since then among the EVENTS_LOOKED_AT_MAX newest events of all, the oldest first."""
    newest = select(func.coalesce(func.max(events.c.number), 0)).scalar_subquery()
    query = (
        select(events.c.at_ms, events.c.duration_ms, events.c.certainty)
        .join(intents, intents.c.number == events.c.intent)
        .where(
            events.c.number > newest - EVENTS_LOOKED_AT_MAX,
            events.c.what == ATTEMPT,
            events.c.duration_ms.is_not(None),
            events.c.at_ms >= since_ms,
            lane.has(intents.c.connector),
        )
        .order_by(events.c.number.desc())
        .limit(rows_max)
    )
    return [Post(*row) for row in connection.execute(query)][::-1]


def letters_by_reason(connection: Connection, lane: Lane) -> dict[str, int]:
    """How many open letters a lane has, by reason, the most frequent first; `unknown` of those that tell none."""
    # Written out: PostgreSQL would take two parameters for two expressions.
    reason = func.coalesce(letters.c.reason, literal_column("'unknown'"))
    count = func.count()
    query = select(reason, count).where(OPEN_LETTER, lane.has(func.coalesce(letters.c.connector, "")))
    return dict(connection.execute(query.group_by(reason).order_by(count.desc(), reason)).all())


def wire(connection: Connection, now_ms: int, connector: str | None) -> Wire:
    """The POSTs that are out now. One that has just ended is found among the newest events.

    A claim whose lease has run out is nobody's: its consumer is gone, and nothing of it is on the wire.
    """
    of_it = [] if connector is None else [intents.c.connector == connector]
    leased = SENDING, intents.c.lease_until_ms >= now_ms
    sending = select(func.count(), func.max(intents.c.updated_ms)).where(*leased, *of_it)
    out, claimed_ms = connection.execute(sending).one()
    newest = select(func.coalesce(func.max(events.c.number), 0)).scalar_subquery()
    ended = (
        select(func.max(events.c.at_ms - events.c.duration_ms))
        .join(intents, intents.c.number == events.c.intent)
        .where(events.c.number > newest - WIRE_EVENTS_LOOKED_AT_MAX, events.c.what == ATTEMPT, *of_it)
    )
    known = [at_ms for at_ms in (claimed_ms, connection.execute(ended).scalar()) if at_ms is not None]
    return Wire(out, max(known, default=None))
