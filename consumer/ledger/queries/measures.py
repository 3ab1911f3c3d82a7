"""The measures of intents, for statistics: when each was created, due and first POSTed, and how long POSTs took."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

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
