"""The measures of intents, for statistics: when each was created, due and first POSTed, and how long POSTs took."""

from dataclasses import dataclass

from sqlalchemy import Connection, Integer, and_, bindparam, case, select

from signalq.consumer.ledger.queries.events import ATTEMPT
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.tables import events, intents


@dataclass(frozen=True, slots=True)
class Measured:
    """The times of an intent, in ms since the epoch. `number` rises from intent to intent."""

    number: int
    connector: str
    status: str
    age_from_ms: int
    due_ms: int | None
    replayed_ms: int | None
    first_post_ms: int | None
    updated_ms: int

    @property
    def queued_ms(self) -> int | None:
        """From its creation to its first POST; None for one that was delayed, replayed, or not POSTed."""
        if self.first_post_ms is None or self.due_ms is not None or self.replayed_ms is not None:
            return None
        return max(self.first_post_ms - self.age_from_ms, 0)

    @property
    def late_ms(self) -> int | None:
        """From its due time to its first POST; None for one that was not delayed, was replayed, or not POSTed."""
        if self.first_post_ms is None or self.due_ms is None or self.replayed_ms is not None:
            return None
        return max(self.first_post_ms - self.due_ms, 0)


_columns = tuple(intents.c[name] for name in Measured.__dataclass_fields__)


def measured(connection: Connection, wanted: Filter, after: int, rows_max: int) -> list[Measured]:
    """At most `rows_max` of the intents that fit, with a number above `after`, in the order of their numbers."""
    query = select(*_columns).where(intents.c.number > after, *wanted.conditions()).order_by(intents.c.number)
    return [Measured(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def post_durations(connection: Connection, wanted: Filter, after: int, until: int) -> list[tuple[int, int]]:
    """The POSTs of the intents that fit and have these numbers (after, up to): the intent's number, and ms."""
    fits = intents.c.number > after, intents.c.number <= until, *wanted.conditions()
    posted = events.c.what == ATTEMPT, events.c.duration_ms.is_not(None)
    query = select(events.c.intent, events.c.duration_ms).join(intents, intents.c.number == events.c.intent)
    return [(number, duration_ms) for number, duration_ms in connection.execute(query.where(*fits, *posted))]


@dataclass(frozen=True, slots=True)
class Posted:
    """An event of an intent, at `at_ms`: of an attempt how long its POST took, and of the delivery of a delayed intent
    how late the first POST began. None where there is no such figure.
    """

    number: int
    at_ms: int
    duration_ms: int | None
    late_ms: int | None


def latest_posts(connection: Connection, after: int, rows_max: int) -> list[Posted]:
    """The latest `rows_max` of the events with a number above `after`, in the order of their numbers.

    A sample: however many there are, no more are read, and no index is needed.
    """
    return [Posted(*row) for row in connection.execute(_latest_posts, {"after": after, "rows_max": rows_max})]


_latest = (
    select(events.c.number, events.c.intent, events.c.at_ms, events.c.what, events.c.certainty, events.c.duration_ms)
    .where(events.c.number > bindparam("after"))
    .order_by(events.c.number.desc())
    .limit(bindparam("rows_max", type_=Integer))
    .subquery()
)
# An intent is delivered by one such event, so that none counts twice.
_delivered = and_(_latest.c.what == ATTEMPT, _latest.c.certainty == "accepted", intents.c.replayed_ms.is_(None))
_latest_posts = (
    select(
        _latest.c.number,
        _latest.c.at_ms,
        case((_latest.c.what == ATTEMPT, _latest.c.duration_ms)),
        case((_delivered, intents.c.first_post_ms - intents.c.due_ms)),
    )
    .select_from(_latest.outerjoin(intents, intents.c.number == _latest.c.intent))
    .order_by(_latest.c.number)
)
