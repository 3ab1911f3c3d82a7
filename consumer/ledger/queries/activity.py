"""The activity of a desk, the latest first: the acts of people, and the few events that a shift hands over.

The audit has a row for each act. A change of the switch that an earlier version made has none, and is told by itself.
The events are those that the ledger knows: letters that began to come, and consumers that came or fell silent.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Select, case, exists, func, select, tuple_

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replicas
from signalq.consumer.ledger.tables import audit, letters, switch_changes
from signalq.times import iso_ms

# The kinds of events; those of acts are the audit's.
LETTERS, CONSUMER, SWITCH = "letters", "consumer", "switch"
# Letters of one reason and connector that come closer together are one event.
LETTERS_APART_MS = 3_600_000
# The sources, by which entries of one ms are put in order.
_CONSUMERS, _LETTERS, _CHANGES, _ACTS = range(4)


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """The place of an entry among the others: its time, its source, and its number there."""

    at_ms: int
    source: int
    number: int


@dataclass(frozen=True, slots=True)
class Entry:
    """An act of `who`, or an event (`who` is None). `kind` is the act's `what`, LETTERS or CONSUMER.

    `about` is a JSON object: of an act as the audit has it; of letters `reason`, `connector`, `last_ms`, `settled`, and
    `done` counts them; of a consumer its `name`, and whether it is `silent` or came. `via` is empty where the way of an
    act is not known.
    """

    place: Place
    kind: str
    who: str | None = None
    via: str = ""
    address: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    done: int = 0
    refused: int = 0
    why: str = ""

    @property
    def at_ms(self) -> int:
        """When it was, on the ledger's clock."""
        return self.place.at_ms

    @property
    def day(self) -> str:
        """The day in UTC, as ISO writes it."""
        return iso_ms(self.at_ms).partition("T")[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Entries that meet all that is given; they are of `since_ms` or later, and from before `until_ms`."""

    who: str | None = None
    kind: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    def asks_for(self, kind: str) -> bool:
        """Whether entries of this kind can fit."""
        return self.kind in {None, kind}

    def within(self, at_ms: ColumnElement[int]) -> Iterator[ColumnElement[bool]]:
        """The bounds of the time, as SQL."""
        if self.since_ms is not None:
            yield at_ms >= self.since_ms
        if self.until_ms is not None:
            yield at_ms < self.until_ms


def page(connection: Connection, wanted: Wanted, rows_max: int, before: Place | None = None) -> list[Entry]:
    """The latest `rows_max` entries that fit; those behind the place of the last of them, where it is given."""
    sources: list[Callable[..., list[Entry]]] = [_acts]
    if wanted.asks_for(SWITCH):
        sources.append(_changes)
    # Events are nobody's.
    if wanted.who is None and wanted.asks_for(LETTERS):
        sources.append(_letters)
    if wanted.who is None and wanted.asks_for(CONSUMER):
        sources.append(_consumers)
    found = [entry for source in sources for entry in source(connection, wanted, rows_max, before)]
    return sorted(found, key=lambda entry: entry.place, reverse=True)[:rows_max]


def about_of(text: str) -> dict[str, Any]:
    """The JSON object of an act; an empty one where another hand has written something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _acts(connection: Connection, wanted: Wanted, rows_max: int, before: Place | None) -> list[Entry]:
    """The rows of the audit."""
    table = audit.c
    fits = [*_equal(table.who, wanted.who), *_equal(table.what, wanted.kind), *wanted.within(table.at_ms)]
    fits += _behind(table.at_ms, table.number, before, _ACTS)
    query = _latest(select(audit).where(*fits), table.at_ms, table.number, rows_max)
    return [
        Entry(
            Place(row.at_ms, _ACTS, row.number),
            row.what,
            row.who,
            row.via,
            row.address,
            about=about_of(row.about),
            done=row.done,
            refused=row.refused,
            why=row.why,
        )
        for row in connection.execute(query)
    ]


def _changes(connection: Connection, wanted: Wanted, rows_max: int, before: Place | None) -> list[Entry]:
    """The changes of the switch that have no row in the audit: both are written in one transaction, with one time."""
    table = switch_changes.c
    audited = exists().where(audit.c.at_ms == table.at_ms, audit.c.what == SWITCH, audit.c.who == table.who)
    fits = [~audited, *_equal(table.who, wanted.who), *wanted.within(table.at_ms)]
    fits += _behind(table.at_ms, table.number, before, _CHANGES)
    query = _latest(select(switch_changes).where(*fits), table.at_ms, table.number, rows_max)
    return [
        Entry(
            Place(row.at_ms, _CHANGES, row.number),
            SWITCH,
            row.who,
            about={"connector": row.connector or None, "state": row.state},
            done=1,
            why=row.why,
        )
        for row in connection.execute(query)
    ]


def _letters(connection: Connection, wanted: Wanted, rows_max: int, before: Place | None) -> list[Entry]:
    """The letters by reason and connector, in runs without a pause longer than LETTERS_APART_MS."""
    query = _runs().subquery()
    runs = query.c
    fits = [*wanted.within(runs.first_ms), *_behind(runs.first_ms, runs.number, before, _LETTERS)]
    return [
        Entry(
            Place(row.first_ms, _LETTERS, row.number),
            LETTERS,
            about={"reason": row.reason, "connector": row.connector, "last_ms": row.last_ms, "settled": row.settled},
            done=row.letters,
        )
        for row in connection.execute(_latest(select(query).where(*fits), runs.first_ms, runs.number, rows_max))
    ]


def _runs() -> Select[Any]:
    """The runs of letters, as SQL: each letter after a pause begins one, and has all up to the next pause."""
    own = letters.c
    own_order = own.since_ms, own.number
    pause = own.since_ms - func.lag(own.since_ms).over(partition_by=(own.reason, own.connector), order_by=own_order)
    begins = case((pause <= LETTERS_APART_MS, 0), else_=1).label("begins")
    each = select(own.reason, own.connector, *own_order, own.settled_ms, begins).subquery().c
    order = each.since_ms, each.number
    run = func.sum(each.begins).over(partition_by=(each.reason, each.connector), order_by=order).label("run")
    told = select(each.reason, each.connector, *order, each.settled_ms, run).subquery().c
    return select(
        told.reason,
        told.connector,
        func.min(told.since_ms).label("first_ms"),
        func.max(told.since_ms).label("last_ms"),
        func.min(told.number).label("number"),
        func.count().label("letters"),
        func.count(told.settled_ms).label("settled"),
    ).group_by(told.reason, told.connector, told.run)


def _consumers(connection: Connection, wanted: Wanted, rows_max: int, before: Place | None) -> list[Entry]:
    """The consumers that are known: when each came, and when it was last heard of, if that was long ago."""
    now_ms = clock_ms(connection)
    found = []
    for number, one in enumerate(replicas.known(connection, now_ms)):
        found.append(Entry(Place(one.started_ms, _CONSUMERS, 2 * number), CONSUMER, about={"name": one.name}))
        if not one.lives:
            place, about = Place(now_ms - one.silent_ms, _CONSUMERS, 2 * number + 1), {"name": one.name, "silent": True}
            found.append(Entry(place, CONSUMER, about=about))
    fits = [one for one in found if _fits(one, wanted, before)]
    return sorted(fits, key=lambda entry: entry.place, reverse=True)[:rows_max]


def _fits(entry: Entry, wanted: Wanted, before: Place | None) -> bool:
    since_ms, until_ms = wanted.since_ms, wanted.until_ms
    is_within = (since_ms is None or entry.at_ms >= since_ms) and (until_ms is None or entry.at_ms < until_ms)
    return is_within and (before is None or entry.place < before)


def _equal(column: Column[Any], value: str | None) -> list[ColumnElement[bool]]:
    return [] if value is None else [column == value]


def _behind(
    at_ms: ColumnElement[int], number: ColumnElement[int], before: Place | None, source: int
) -> list[ColumnElement[bool]]:
    """The entries of a source behind a place: of the same ms those of sources that come later, or of lower numbers."""
    if before is None:
        return []
    if source != before.source:
        return [at_ms <= before.at_ms if source < before.source else at_ms < before.at_ms]
    return [tuple_(at_ms, number) < (before.at_ms, before.number)]


def _latest(query: Select[Any], at_ms: ColumnElement[int], number: ColumnElement[int], rows_max: int) -> Select[Any]:
    return query.order_by(at_ms.desc(), number.desc()).limit(rows_max)
