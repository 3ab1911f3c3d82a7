"""Reports for people, which change nothing: the state of each intent, its events, and how its strategy publishes."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    bindparam,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
)

from signalq.consumer.ledger.queries.events import DISCARDED, EXPIRATION
from signalq.consumer.ledger.queries.strategies import of_any_strategy
from signalq.consumer.ledger.row import columns_of
from signalq.consumer.ledger.tables import PENDING, events, intents

# The statuses that users know. An intent whose dead letter is not confirmed yet is `dying` in the ledger alone: it goes
# on by itself as if it were `retrying`, and has its reason already.
STATUSES = ("received", "scheduled", "sending", "retrying", "delivered", "dead", "canceled")
DEAD_LETTERING, SHOWN_FOR_DEAD_LETTERING = "dying", "retrying"
# So many of the latest intents, of all strategies, are looked at for how they were published.
LATEST_MAX = 10_000
UNDATED = "first receipt"
# The statuses of few intents: for each there is an index of these alone.
FEW = frozenset({"scheduled", "sending", "retrying", "dead"})
# No character comes after this one, and none is assigned to it.
LAST_CHARACTER = "\U0010ffff"

# Delayed, and not claimed yet: in the words of its index, for SQLite takes that for no parameter.
is_pending: ColumnElement[bool] = literal_column(f"({PENDING.text})")


@dataclass(frozen=True, slots=True)
class Recorded:
    """An intent as its row has it; times in ms since the epoch. `number` rises from intent to intent."""

    number: int
    intent_id: str
    generation: int
    connector: str
    strategy: str
    action: str
    client_order_id: str | None
    status: str
    reason: str | None
    detail: str | None
    attempts: int
    http_status: int | None
    origin_user: str | None
    age_from_ms: int
    created_from: str
    due_ms: int | None
    received_ms: int
    updated_ms: int
    ended_ms: int | None
    next_attempt_ms: int
    lease_until_ms: int | None
    replayed_ms: int | None
    order_fields: str | None
    trace_id: bytes | None = None

    @property
    def shown_status(self) -> str:
        """The status by the name that users know."""
        return SHOWN_FOR_DEAD_LETTERING if self.status == DEAD_LETTERING else self.status

    @property
    def delayed_until_ms(self) -> int | None:
        """The due time, if it has one; an intent that was replayed after it has none any more."""
        is_over = self.due_ms is not None and self.replayed_ms is not None and self.due_ms <= self.replayed_ms
        return None if is_over else self.due_ms


@dataclass(frozen=True, slots=True)
class Happened:
    """An event of an intent's timeline, `at_ms` on the ledger's clock."""

    generation: int
    at_ms: int
    what: str
    certainty: str | None
    http_status: int | None
    duration_ms: int | None
    detail: str | None
    answer: str | None = None


_columns = columns_of(Recorded)
_event_columns = tuple(events.c[name] for name in Happened.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Filter:
    """Intents that meet all that is given. `since_ms`: they came, or changed, since then. Their ids begin with `begins`
    and end with `ends`, their numbers are among the `numbers`, and below `before`.
    """

    intent_ids: Sequence[str] = ()
    connector: str | None = None
    strategy: str | None = None
    status: str | None = None
    reason: str | None = None
    since_ms: int | None = None
    action: str | None = None
    http_status: int | None = None
    client_order_id: str | None = None
    trace_id: bytes | None = None
    begins: str = ""
    ends: str = ""
    numbers: Sequence[int] = ()
    before: int | None = None

    @property
    def finds_few(self) -> bool:
        """Whether an index of few intents finds all that fit; the others are looked up, or walked through."""
        return self.status in FEW and not self.intent_ids and self.client_order_id is None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        columns = intents.c
        # The index of identities begins with the strategy. SQLite would take it for the strategy alone, and sort all
        # orders of that strategy.
        strategy = columns.strategy if self.intent_ids else func.coalesce(columns.strategy, "")
        equal = (
            *((columns.connector, self.connector), (strategy, self.strategy), (columns.reason, self.reason)),
            *((columns.action, self.action), (columns.http_status, self.http_status)),
            *((columns.client_order_id, self.client_order_id), (columns.trace_id, self.trace_id)),
        )
        found: list[ColumnElement[bool]] = [column == value for column, value in equal if value is not None]
        if self.intent_ids:
            found += [of_any_strategy(), columns.intent_id.in_(self.intent_ids)]
        if self.numbers:
            found.append(columns.number.in_(self.numbers))
        if self.since_ms is not None:
            found.append(columns.updated_ms >= self.since_ms)
        if self.before is not None:
            # So written, no database walks along the numbers for it, where an index finds less.
            found.append(columns.number + 0 < self.before)
        return [*found, *_status_is(self.status), *_id_is_like(self.begins, self.ends)]


def _status_is(status: str | None) -> list[ColumnElement[bool]]:
    """The condition on the status, as literals for the same reason."""
    column = intents.c.status
    if status is None:
        return []
    if status == SHOWN_FOR_DEAD_LETTERING:
        both: BindParameter[str] = bindparam(None, [status, DEAD_LETTERING], expanding=True, literal_execute=True)
        return [column.in_(both)]
    is_it = column == bindparam(None, status, literal_execute=True)
    return [is_pending, is_it] if status == "scheduled" else [is_it]


def _id_is_like(begins: str, ends: str) -> list[ColumnElement[bool]]:
    """The conditions that an id begins so and ends so, and that the two parts do not overlap in it."""
    column = intents.c.intent_id
    length = func.length(column)
    found: list[ColumnElement[bool]] = [func.substr(column, 1, len(begins)) == begins] if begins else []
    if ends:
        found += [length >= len(begins) + len(ends), func.substr(column, length - len(ends) + 1) == ends]
    return found


def in_range(connection: Connection, beginning: str) -> list[ColumnElement[bool]]:
    """Conditions by which the index of identities finds the ids that begin so: where it sorts by bytes, as SQLite's.

    On a server its order is that of the database's language, in which ids that begin alike may lie apart.
    """
    if not beginning or connection.dialect.name != "sqlite":
        return []
    column = intents.c.intent_id
    return [of_any_strategy(), column >= beginning, column < beginning + LAST_CHARACTER]


def page(
    connection: Connection, wanted: Filter, rows_max: int, *more: ColumnElement[bool], above: int | None = None
) -> list[Recorded]:
    """The newest `rows_max` of what fits, the newest first, and meets `more` conditions; with numbers above `above`."""
    number = intents.c.number
    query = select(*_columns).where(*wanted.conditions(), *more)
    if wanted.finds_few:
        query = query.order_by((number + 0).desc())
    else:
        query = query.order_by(number.desc())
        query = query.where(number < wanted.before) if wanted.before is not None else query
    query = query.where(number > above) if above is not None else query
    return [Recorded(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def ids_that_begin(connection: Connection, beginning: str, ids_max: int, *, end: str | None = None) -> list[str]:
    """At most `ids_max` ids that begin so, and with an `end` end so.

    Without one, an id that is no longer than its beginning is meant alone.
    """
    column = intents.c.intent_id
    if end is None:
        whole = select(column).where(of_any_strategy(), column == beginning)
        if connection.execute(whole.limit(1)).first() is not None:
            return [beginning]
    fits = [*in_range(connection, beginning), *_id_is_like(beginning, end or "")]
    return list(connection.scalars(select(column).where(*fits).distinct().order_by(column).limit(ids_max)))


def ended_since(connection: Connection, wanted: Filter, since_ms: int, rows_max: int) -> list[Recorded]:
    """The latest `rows_max` of what fits and has ended since then, in the order of their endings."""
    fits = intents.c.ended_ms >= since_ms, *wanted.conditions()
    query = select(*_columns).where(*fits).order_by(intents.c.ended_ms.desc(), intents.c.number.desc())
    return [Recorded(**row._mapping) for row in connection.execute(query.limit(rows_max))][::-1]


def count(connection: Connection, wanted: Filter) -> int:
    """How many fit."""
    query = select(func.count()).select_from(intents).where(*wanted.conditions())
    return connection.execute(query).scalar_one()


@dataclass(frozen=True, slots=True)
class Death:
    """A dead intent whose letter nobody has discarded; `ended_ms` is on the ledger's clock."""

    strategy: str
    intent_id: str
    generation: int
    connector: str
    reason: str
    ended_ms: int


_death_columns = columns_of(Death)
_is_discarded = exists().where(
    events.c.intent == intents.c.number, events.c.generation == intents.c.generation, events.c.what == DISCARDED
)


def deaths_since(connection: Connection, since_ms: int, rows_max: int) -> list[Death]:
    """The first `rows_max` that have died since then, are dead still and were not discarded, the oldest first."""
    fits = intents.c.ended_ms >= since_ms, intents.c.status == "dead", ~_is_discarded
    query = select(*_death_columns).where(*fits).order_by(intents.c.ended_ms, intents.c.number)
    return [Death(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def timelines(connection: Connection, intent_id: str) -> list[tuple[Recorded, list[Happened]]]:
    """Every intent of that id (strategies may share one), the oldest first, with its events in their order."""
    numbers = select(intents.c.number).where(of_any_strategy(), intents.c.intent_id == intent_id)
    query = select(*_columns).where(intents.c.number.in_(numbers)).order_by(intents.c.number)
    found = [Recorded(**row._mapping) for row in connection.execute(query)]
    return [(one, _events(connection, one)) for one in found]


def _events(connection: Connection, one: Recorded) -> list[Happened]:
    query = select(*_event_columns).where(events.c.intent == one.number).order_by(events.c.number)
    return [Happened(**row._mapping) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Careless:
    """A strategy, and how many of its latest `intents` came without a message_id, without a creation time, or with an
    AMQP expiration.
    """

    strategy: str
    intents: int
    without_id: int
    without_date: int
    with_expiration: int


def careless(connection: Connection) -> list[Careless]:
    """The strategies of which any of the latest LATEST_MAX intents was so, the most intents first."""
    expires = exists().where(events.c.intent == intents.c.number, events.c.what == EXPIRATION).label("expires")
    columns = intents.c.strategy, intents.c.has_message_id, intents.c.created_from, expires
    latest = select(*columns).order_by(intents.c.number.desc()).limit(LATEST_MAX).subquery()
    without_id = func.sum(case((latest.c.has_message_id, 0), else_=1))
    without_date = func.sum(case((latest.c.created_from == UNDATED, 1), else_=0))
    with_expiration = func.sum(case((latest.c.expires, 1), else_=0))
    counted = (
        select(latest.c.strategy, func.count(), without_id, without_date, with_expiration)
        .group_by(latest.c.strategy)
        .having(or_(without_id > 0, without_date > 0, with_expiration > 0))
        .order_by(func.count().desc(), latest.c.strategy)
    )
    return [Careless(*row) for row in connection.execute(counted)]
