"""The letters, as the ledger knows them. The queue of dead letters is the truth, and these rows are what can be looked
at without reading it.

A row is open while its letter is in the queue. It is written with the ending of its intent, or before the letter of a
message that could not be read; a replay or a discard settles it. Where a crash has left a row and the queue apart, the
next full read of the queue brings them together: see ops/dead_letters/census.py.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, String, bindparam, delete, func, select, tuple_, update

from signalq.consumer.ledger.database import upsert
from signalq.consumer.ledger.row import storable
from signalq.consumer.ledger.tables import letters
from signalq.consumer.orders.letters import LetterRecord

SettledHow = Literal["replayed", "discarded", "gone"]

_REOPENED = {"settled_ms": None, "settled_how": None, "settled_by": None}
_is_open = letters.c.settled_ms.is_(None)
# The columns that hold text, and how much of it each takes; None for any length.
_LENGTHS = {column.name: column.type.length for column in letters.c if isinstance(column.type, String)}
_NUMBERS = ("generation", "attempts", "http_status")
_INTEGER_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Letters:
    """The open letters that meet all that is given."""

    intent_ids: Sequence[str] = ()
    reason: str | None = None
    connector: str | None = None
    strategy: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        columns = letters.c
        equal = (columns.reason, self.reason), (columns.connector, self.connector), (columns.strategy, self.strategy)
        found = [_is_open, *(column == value for column, value in equal if value is not None)]
        return [*found, columns.intent_id.in_(self.intent_ids)] if self.intent_ids else found


@dataclass(frozen=True, slots=True)
class Listed:
    """An open letter, as its row has it. `since_ms` and `number` are its place among the others."""

    number: int
    mark: bytes
    since_ms: int
    intent_id: str | None
    generation: int | None
    connector: str | None
    strategy: str
    action: str | None
    client_order_id: str | None
    reason: str | None
    detail: str | None
    attempts: int | None
    http_status: int | None
    dead_ms: int | None
    order_fields: str | None


@dataclass(frozen=True, slots=True)
class Pile:
    """How many letters are open, and the age of the oldest (0 of none), by the ledger's clock."""

    count: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Marked:
    """The mark of an open letter, how many messages it counts for, and since when the ledger knows of it."""

    number: int
    mark: bytes
    messages: int
    since_ms: int


def note(connection: Connection, now_ms: int, noted: Sequence[LetterRecord]) -> None:
    """Note that these letters are in the queue, or will be at once; one that was settled is open again."""
    for record in noted:
        row = _row(record) | {"since_ms": now_ms if record.dead_ms is None else record.dead_ms, "messages": 1}
        upsert(connection, letters, {"mark": row.pop("mark"), **row}, _REOPENED)


def settle(connection: Connection, now_ms: int, marks: Sequence[bytes], how: SettledHow, by: str | None) -> None:
    """Note that letters have left the queue, or are about to."""
    values = {"settled_ms": now_ms, "settled_how": how, "settled_by": by}
    if marks:
        connection.execute(_settle, {"marks": list(marks), **values})


def count_messages(connection: Connection, mark: bytes, messages: int) -> None:
    """Note how many messages of the queue are this letter: a crash may leave copies."""
    connection.execute(_count_messages, {"by_mark": mark, "messages": messages})


def settled_since(connection: Connection, since_ms: int) -> set[bytes]:
    """The marks of what was settled since then."""
    return set(connection.scalars(select(letters.c.mark).where(letters.c.settled_ms >= since_ms)))


def reopen(connection: Connection, marks: Sequence[bytes]) -> None:
    """Note that letters are in the queue still, whatever was to become of them."""
    if marks:
        connection.execute(_reopen, {"marks": list(marks)})


def marked(connection: Connection, after: int, rows_max: int) -> list[Marked]:
    """At most `rows_max` of the open letters with a number above `after`, in the order of their numbers."""
    query = _select(Marked).where(_is_open, letters.c.number > after).order_by(letters.c.number)
    return [Marked(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def page(connection: Connection, wanted: Letters, rows_max: int, after: Listed | None = None) -> list[Listed]:
    """The oldest `rows_max` of the open letters that fit; the next ones where the last of those is given."""
    query = _select(Listed).where(*wanted.conditions()).order_by(letters.c.since_ms, letters.c.number)
    if after is not None:
        query = query.where(tuple_(letters.c.since_ms, letters.c.number) > (after.since_ms, after.number))
    return [Listed(**row._mapping) for row in connection.execute(query.limit(rows_max))]


def count(connection: Connection, wanted: Letters) -> int:
    """How many open letters fit."""
    return connection.execute(select(func.count()).select_from(letters).where(*wanted.conditions())).scalar_one()


def pile(connection: Connection, now_ms: int) -> Pile:
    """The open letters as one number and one age; an index has all of it."""
    found, oldest_ms = connection.execute(_pile).one()
    return Pile(found, 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000)


def fresh(connection: Connection, since_ms: int) -> dict[str | None, int]:
    """How many of the open letters have come since then, by reason."""
    query = select(letters.c.reason, func.count().label("letters")).where(_is_open, letters.c.since_ms >= since_ms)
    return {row.reason: row.letters for row in connection.execute(query.group_by(letters.c.reason))}


def messages(connection: Connection) -> int:
    """How many messages the open letters are in the queue."""
    total = select(func.coalesce(func.sum(letters.c.messages), 0)).where(_is_open)
    return int(connection.execute(total).scalar_one())


@dataclass(frozen=True, slots=True)
class Settled:
    """The end of a letter's time in the queue: when, how and by whom (None where nobody of ours took it away)."""

    settled_ms: int
    settled_how: str
    settled_by: str | None


def last_settled(connection: Connection) -> Settled | None:
    """The latest letter that has left the queue; None where none is known."""
    query = _select(Settled).where(letters.c.settled_ms.is_not(None)).order_by(letters.c.settled_ms.desc())
    row = connection.execute(query.limit(1)).first()
    return None if row is None else Settled(**row._mapping)


def ids_between(connection: Connection, beginning: str, end: str, ids_max: int) -> list[str]:
    """At most `ids_max` ids of open letters that begin and end so."""
    column = letters.c.intent_id
    length = func.length(column)
    fits = [_is_open, func.substr(column, 1, len(beginning)) == beginning]
    if end:
        fits += [length >= len(beginning) + len(end), func.substr(column, length - len(end) + 1) == end]
    query = select(column).where(*fits).distinct().order_by(column).limit(ids_max)
    return list(connection.scalars(query))


def prune(connection: Connection, before_ms: int, rows_max: int) -> int:
    """Forget at most `rows_max` of the letters that were settled before then; never an open one."""
    settled = select(letters.c.number).where(letters.c.settled_ms < before_ms).order_by(letters.c.settled_ms)
    old = settled.limit(rows_max).scalar_subquery()
    return connection.execute(delete(letters).where(letters.c.number.in_(old))).rowcount


_pile = select(func.count(), func.min(letters.c.since_ms)).select_from(letters).where(_is_open)
_among = letters.c.mark.in_(bindparam("marks", expanding=True))
_settle = update(letters).where(_among, _is_open)
_reopen = update(letters).where(_among).values(_REOPENED)
_count_messages = update(letters).where(letters.c.mark == bindparam("by_mark"))


def _select(value: Any) -> Select[Any]:
    """Select what a dataclass has the fields of."""
    return select(*(letters.c[one.name] for one in fields(value)))


def _row(record: LetterRecord) -> dict[str, Any]:
    """The columns of a record. Foreign text is cut to what a column takes, and a number that is too large left out."""
    values = asdict(record) | {"cause": record.cause}
    return {name: _fitting(name, value) for name, value in values.items()}


def _fitting(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)[: _LENGTHS.get(name)]
    if isinstance(value, int) and name in _NUMBERS and not 0 <= value <= _INTEGER_MAX:
        return None
    return value
