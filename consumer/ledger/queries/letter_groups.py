"""The open letters in groups, by what they died of: how many, since when, and how many came in each quarter of an hour.

A group is told by its mark, a digest of its reason, its connector and its cause, or of as many of these as it is made
by: a cause may be longer than an address or an index takes.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import MappingProxyType
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, case, func, literal, null, select, tuple_

from signalq.consumer.ledger.queries.letters import Letters, Listed
from signalq.consumer.ledger.tables import letters

BUCKETS, BUCKET_MS = 32, 15 * 60_000
MARK_BYTES = 16

By = Literal["cause", "connector", "reason"]
BYS: tuple[By, ...] = get_args(By)
# The columns whose values all letters of a group share.
COLUMNS: Mapping[By, tuple[str, ...]] = MappingProxyType(
    {"cause": ("reason", "connector", "cause"), "connector": ("reason", "connector"), "reason": ("reason",)}
)


@dataclass(frozen=True, slots=True)
class Scope:
    """The open letters that meet all that is given. `since_ms`: they died, or were first met, since then."""

    reason: str | None = None
    connector: str | None = None
    strategy: str | None = None
    since_ms: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        found = Letters((), self.reason, self.connector, self.strategy).conditions()
        return found if self.since_ms is None else [*found, letters.c.since_ms >= self.since_ms]


@dataclass(frozen=True, slots=True)
class Group:
    """Letters that share the `values` of the columns of `by`; the values of other columns are None here.

    `detail` is that of all of them, None where they have several. `count` leaves out those that came `later`. `buckets`
    has both by BUCKET_MS, the oldest first; the last one is the one that fills now.
    """

    by: By
    values: tuple[str | None, ...]
    detail: str | None = field(default=None, compare=False)
    count: int = 0
    later: int = 0
    first_ms: int = 0
    last_ms: int = 0
    buckets: Sequence[int] = field(default=(), compare=False)

    @property
    def mark(self) -> bytes:
        """A digest of its values, equal for the same group at any time and in any process."""
        return hashlib.blake2b(repr((self.by, self.values)).encode(), digest_size=MARK_BYTES).digest()

    @property
    def named(self) -> dict[str, str | None]:
        """Its values by column."""
        return dict(zip(COLUMNS[self.by], self.values, strict=True))

    @property
    def reason(self) -> str | None:
        """Its reason."""
        return self.values[0]

    @property
    def connector(self) -> str | None:
        """Its connector; None for one without, or of several."""
        return self.named.get("connector")

    @property
    def cause(self) -> str | None:
        """Its cause; None for one without, or of several."""
        return self.named.get("cause")

    @property
    def died_of(self) -> str | None:
        """The sentence on what all of them died of: a number stands in it only where it is that of all."""
        return self.cause if self.detail is None else self.detail

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        return [
            letters.c[name].is_(None) if value is None else letters.c[name] == value
            for name, value in self.named.items()
        ]


def newest(connection: Connection) -> int:
    """The number of the newest letter; 0 where there is none. A letter that comes later has a higher one."""
    return int(connection.execute(select(func.coalesce(func.max(letters.c.number), 0))).scalar_one())


def groups(connection: Connection, scope: Scope, by: By, now_ms: int, until: int | None = None) -> list[Group]:
    """The groups, the newest of them first: a group keeps its place as long as its first letter is there.

    Letters with a number above `until` are counted as later ones.
    """
    columns = [letters.c[name] for name in COLUMNS[by]]
    first_bucket = now_ms // BUCKET_MS - BUCKETS + 1
    since_ms = letters.c.since_ms
    bucket = case((since_ms >= first_bucket * BUCKET_MS, since_ms // BUCKET_MS), else_=first_bucket - 1)
    later = func.sum(case((letters.c.number > until, 1), else_=0)) if until is not None else literal(0)
    details = (func.min(letters.c.detail), func.max(letters.c.detail)) if by == "cause" else (null(), null())
    counts = func.count(), later, func.min(since_ms), func.max(since_ms)
    counted = select(*columns, *details, bucket.label("bucket"), *counts).where(*scope.conditions())
    rows = [_read(row, len(columns)) for row in connection.execute(counted.group_by(*columns, "bucket"))]
    rows.sort(key=lambda row: _place(row.values))
    found = [
        _joined(by, values, list(some), first_bucket) for values, some in groupby(rows, key=lambda row: row.values)
    ]
    return sorted(found, key=lambda group: (-group.first_ms, _place(group.values)))


def _place(values: Sequence[str | None]) -> list[tuple[bool, str]]:
    """The place among others; an absent value is before an empty one."""
    return [(value is not None, value or "") for value in values]


@dataclass(frozen=True, slots=True)
class _Counted:
    """The letters of a group in one bucket: some of their details, of which there may be more; how many, and when."""

    values: tuple[str | None, ...]
    details: frozenset[str | None]
    bucket: int
    count: int
    later: int
    first_ms: int
    last_ms: int


def _read(row: Sequence[Any], width: int) -> _Counted:
    """A row whose first `width` columns are the group's values."""
    return _Counted(tuple(row[:width]), frozenset(row[width : width + 2]), *map(int, row[width + 2 :]))


def _joined(by: By, values: tuple[str | None, ...], rows: Sequence[_Counted], first_bucket: int) -> Group:
    """One group, of its rows for each bucket; what is older than the buckets, or ahead of the clock, is in none."""
    buckets = [0] * BUCKETS
    for row in rows:
        if 0 <= row.bucket - first_bucket < BUCKETS:
            buckets[row.bucket - first_bucket] = row.count
    later = sum(row.later for row in rows)
    details = frozenset[str | None]().union(*(row.details for row in rows))
    return Group(
        by,
        values,
        detail=next(iter(details)) if len(details) == 1 else None,
        count=sum(row.count for row in rows) - later,
        later=later,
        first_ms=min(row.first_ms for row in rows),
        last_ms=max(row.last_ms for row in rows),
        buckets=buckets,
    )


def page(
    connection: Connection, scope: Scope, group: Group, rows_max: int, after: tuple[int, int] | None = None
) -> list[Listed]:
    """The oldest `rows_max` letters of a group; the next ones after the `since_ms` and `number` of the last of them."""
    columns = (letters.c[name] for name in Listed.__dataclass_fields__)
    query = select(*columns).where(*scope.conditions(), *group.conditions())
    if after is not None:
        query = query.where(tuple_(letters.c.since_ms, letters.c.number) > after)
    ordered = query.order_by(letters.c.since_ms, letters.c.number).limit(rows_max)
    return [Listed(**row._mapping) for row in connection.execute(ordered)]


def chosen(
    connection: Connection, scope: Scope, by: By, marks: Collection[bytes], until: int, letters_max: int
) -> dict[Group, list[bytes]]:
    """The groups that have these marks, and the marks of their letters, none with a number above `until`.

    Of more than `letters_max` letters one more is told. All letters are looked through once: that is quicker than a
    search for each group.
    """
    columns = [letters.c[name] for name in COLUMNS[by]]
    query = select(letters.c.mark, *columns).where(*scope.conditions(), letters.c.number <= until)
    known: dict[tuple[str | None, ...], list[bytes] | None] = {}
    found: dict[Group, list[bytes]] = {}
    count = 0
    for mark, *named in connection.execute(query):
        values = tuple(named)
        if values not in known:
            group = Group(by, values)
            known[values] = found.setdefault(group, []) if group.mark in marks else None
        if (own := known[values]) is not None:
            own.append(bytes(mark))
            count += 1
            if count > letters_max:
                break
    return found


def among(connection: Connection, marks: Sequence[bytes]) -> Iterator[tuple[bytes, str | None]]:
    """The marks and ids of those of these letters that are open."""
    columns = letters.c.mark, letters.c.intent_id
    query = select(*columns).where(letters.c.mark.in_(marks), letters.c.settled_ms.is_(None))
    return ((bytes(row.mark), row.intent_id) for row in connection.execute(query).all())


def of_intent(
    connection: Connection, intent_id: str, strategy: str | None, marks_max: int
) -> list[tuple[bytes, str | None]]:
    """The marks and ids of the open letters with this id; of one strategy, or of any."""
    query = select(letters.c.mark, letters.c.intent_id)
    query = query.where(*Letters((intent_id,), strategy=strategy).conditions()).limit(marks_max)
    return [(bytes(row.mark), row.intent_id) for row in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Facets:
    """The names that the open letters have, in their order: what they can be filtered by."""

    reasons: Sequence[str] = ()
    connectors: Sequence[str] = ()
    strategies: Sequence[str] = ()


def facets(connection: Connection) -> Facets:
    """The names that there are."""
    columns = letters.c.reason, letters.c.connector, letters.c.strategy
    rows = connection.execute(select(*columns).where(*Letters().conditions()).distinct()).all()
    each = (sorted({row[place] for row in rows if row[place] is not None}) for place in range(len(columns)))
    return Facets(*each)
