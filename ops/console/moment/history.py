"""Histories: the endings of each connector by periods of time, for the charts. Pure: what was counted is given.

An ending is committed a moment after its time. So the latest seconds are counted again with each look, and the new
count of a second takes the place of the one before: whenever we look, each ending counts once, in its own period.
"""

from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from signalq.consumer.ledger.queries.endings import Endings
from signalq.consumer.orders.switch import ALL
from signalq.ops.console.moment.snapshot import (
    LONG_BUCKET_MS,
    LONG_BUCKETS,
    SHORT_BUCKET_MS,
    SHORT_BUCKETS,
    Buckets,
    Ending,
)

SECOND_MS = 1_000
# Seconds that are so old are not counted again: the ledger gives up a transaction that takes longer.
RECENT_MS = 30_000
# The connectors without a lane of their own that have a history, those with the latest endings: their names are
# foreign, and without a limit.
OTHERS_MAX = 1_000
DELIVERED, DEAD, UNKNOWN_REASON = "delivered", "dead", "unknown"

# The name of a connector; None for the shared lane, ALL for everything.
Name = str | None
Counts = Mapping[tuple[str, str], int]


class Ring:
    """Counts of the latest periods, by the numbers of the periods."""

    def __init__(self, periods: int) -> None:
        self._counts = array("q", bytes(8 * periods))
        self._newest = -1

    def add(self, period: int, count: int) -> None:
        """Add to a period; nothing to one that is too old. No count falls below 0."""
        size = len(self._counts)
        for later in range(max(self._newest + 1, period - size + 1), period + 1):
            self._counts[later % size] = 0
        self._newest = max(self._newest, period)
        if period > self._newest - size:
            self._counts[period % size] = max(0, self._counts[period % size] + count)

    def until(self, period: int) -> tuple[int, ...]:
        """The counts of as many periods as it has, the oldest first, up to this one."""
        size, counts = len(self._counts), self._counts
        oldest = self._newest - size
        periods = range(period - size + 1, period + 1)
        return tuple(counts[one % size] if oldest < one <= self._newest else 0 for one in periods)


class Rings:
    """The periods of one length, with a ring for each kind of ending that was ever met."""

    def __init__(self, periods: int, period_ms: int) -> None:
        self._periods = periods
        self._period_ms = period_ms
        self._of: dict[str, Ring] = {}
        self._shown: tuple[int, Buckets] | None = None

    def add(self, kind: str, at_ms: int, count: int) -> None:
        """Add to the period of this moment."""
        if kind not in self._of:
            self._of[kind] = Ring(self._periods)
        self._of[kind].add(at_ms // self._period_ms, count)
        self._shown = None

    def until(self, now_ms: int) -> Buckets:
        """The buckets up to the one that fills now."""
        period = now_ms // self._period_ms
        if self._shown is None or self._shown[0] != period:
            self._shown = period, self._drawn(period)
        return self._shown[1]

    def _drawn(self, period: int) -> Buckets:
        found = {kind: counts for kind, ring in sorted(self._of.items()) if any(counts := ring.until(period))}
        nothing: Sequence[int] = (0,) * self._periods
        delivered = found.pop(DELIVERED, nothing)
        dead = tuple(map(sum, zip(*found.values(), strict=True))) if found else nothing
        return Buckets(delivered, dead, found)


class Series:
    """The history of one name."""

    def __init__(self) -> None:
        self.last: Ending | None = None
        self.short = Rings(SHORT_BUCKETS, SHORT_BUCKET_MS)
        self.long = Rings(LONG_BUCKETS, LONG_BUCKET_MS)

    def note(self, found: Endings) -> None:
        """Note the latest of these endings, if it is the latest of all."""
        if self.last is None or found.last_ms > self.last.at_ms:
            self.last = Ending(found.status, found.last_ms, found.reason, found.http_status)


class History:
    """The histories of all connectors; `own` are those that have a lane of their own, all others share one."""

    def __init__(self, own: Collection[str]) -> None:
        self.own = frozenset(own)
        self._fixed: dict[Name, Series] = {ALL: Series(), None: Series(), **{name: Series() for name in own}}
        self._others: OrderedDict[str, Series] = OrderedDict()
        # By second, what of it was counted; the seconds before this one are not counted again.
        self._recent: dict[int, Counts] = {}
        self._first_open = 0

    def of(self, name: Name) -> Series:
        """The history of a name; an empty one where nothing of it ended."""
        found = self._fixed.get(name)
        return found or self._others.get(name or ALL) or Series()

    def fill_long(self, counted: Iterable[Endings]) -> None:
        """Take in endings of the past, counted in long periods; each is given once, and is not recent."""
        for one in counted:
            for series in self._all_of(one.connector):
                series.note(one)
                if (kind := _kind_of(one)) is not None:
                    series.long.add(kind, one.period * LONG_BUCKET_MS, one.count)

    def fill_short(self, counted: Iterable[Endings]) -> None:
        """The same for short periods."""
        for one in counted:
            for series in self._all_of(one.connector):
                if (kind := _kind_of(one)) is not None:
                    series.short.add(kind, one.period * SHORT_BUCKET_MS, one.count)

    def recount(self, since_ms: int, counted: Iterable[Endings]) -> None:
        """Take these, counted by the second, for all endings from `since_ms` on, which is the beginning of a second;
        but for those of seconds that are settled.
        """
        first = max(since_ms // SECOND_MS, self._first_open)
        seconds: dict[int, dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
        for one in counted:
            for series in self._all_of(one.connector):
                series.note(one)
            if one.period >= first and (kind := _kind_of(one)) is not None:
                seconds[one.period][one.connector, kind] += one.count
        for second in {*seconds, *(known for known in self._recent if known >= first)}:
            self._count(second, seconds.get(second, {}))

    def settle(self, now_ms: int) -> None:
        """Let the counts of the seconds stay that are no more recent now."""
        self._first_open = max(self._first_open, (now_ms - RECENT_MS) // SECOND_MS)
        self._recent = {second: counts for second, counts in self._recent.items() if second >= self._first_open}

    def _count(self, second: int, counts: Counts) -> None:
        """Let these be the endings of the second."""
        before = self._recent.pop(second, {})
        for key in before.keys() | counts.keys():
            if more := counts.get(key, 0) - before.get(key, 0):
                connector, kind = key
                for series in self._all_of(connector):
                    series.short.add(kind, second * SECOND_MS, more)
                    series.long.add(kind, second * SECOND_MS, more)
        if counts:
            self._recent[second] = dict(counts)

    def _all_of(self, connector: str) -> tuple[Series, ...]:
        """The histories that an ending of a connector counts in."""
        everything = self._fixed[ALL]
        if connector in self.own:
            return everything, self._fixed[connector]
        series = self._others.get(connector)
        if series is None:
            series = self._others[connector] = Series()
            if len(self._others) > OTHERS_MAX:
                self._others.popitem(last=False)
        self._others.move_to_end(connector)
        return everything, self._fixed[None], series


def _kind_of(one: Endings) -> str | None:
    """The kind by which it is counted: delivered, or the reason for which it is dead; None for one that is not."""
    if one.status == DEAD:
        return one.reason or UNKNOWN_REASON
    return DELIVERED if one.status == DELIVERED else None
