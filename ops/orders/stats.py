"""Statistics of orders by the ledger: how many ended how, and how long they were queued, POSTed and late."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries.measures import Measured, measured, post_durations
from signalq.consumer.ledger.queries.orders import Filter
from signalq.ops.ledger import open_ledger, since_ms
from signalq.settings.sections import Settings
from signalq.times import iso_ms

PAGE_ROWS = 1_000
HOUR_MS = 3_600_000
ENDINGS = ("delivered", "dead", "canceled")


@dataclass(slots=True)
class Group:
    """Some orders: how many have which status, and the ms that they were queued, POSTed and late."""

    statuses: Counter[str] = field(default_factory=Counter)
    queued_ms: list[int] = field(default_factory=list)
    post_ms: list[int] = field(default_factory=list)
    late_ms: list[int] = field(default_factory=list)

    def add(self, one: Measured, posts_ms: Iterable[int]) -> None:
        """Count one more order."""
        self.statuses[one.status] += 1
        self.post_ms += posts_ms
        for times, found in ((self.queued_ms, one.queued_ms), (self.late_ms, one.late_ms)):
            if found is not None:
                times.append(found)

    def row(self) -> dict[str, object]:
        """The counts, and p50 and p99 of the times; None where there are none."""
        ended = {ending: self.statuses[ending] for ending in ENDINGS}
        row: dict[str, object] = {"orders": self.statuses.total(), **ended}
        row["open"] = self.statuses.total() - sum(ended.values())
        for name, times in (("queued", self.queued_ms), ("post", self.post_ms), ("late", self.late_ms)):
            row |= {f"{name}_p50_ms": percentile(times, 50), f"{name}_p99_ms": percentile(times, 99)}
        return row


@dataclass(slots=True)
class Stats:
    """All orders that fit, and the same by connector, and by the hour of their last change."""

    all: Group = field(default_factory=Group)
    by_connector: defaultdict[str, Group] = field(default_factory=lambda: defaultdict(Group))
    by_hour: defaultdict[int, Group] = field(default_factory=lambda: defaultdict(Group))

    def add(self, one: Measured, posts_ms: Iterable[int]) -> None:
        """Count one more order."""
        for group in (self.all, self.by_connector[one.connector], self.by_hour[one.updated_ms // HOUR_MS]):
            group.add(one, posts_ms)

    def rows(self) -> list[dict[str, object]]:
        """A row for all, one for each connector, the busiest first, and one for each hour, the earliest first."""
        busiest = sorted(self.by_connector.items(), key=lambda one: (-one[1].statuses.total(), one[0]))
        rows: list[dict[str, Any]] = [{"by": "all", "connector": None, "hour": None} | self.all.row()]
        rows += [{"by": "connector", "connector": name, "hour": None} | group.row() for name, group in busiest]
        hours = sorted(self.by_hour.items())
        return rows + [{"by": "hour", "connector": None, "hour": iso_ms(at * HOUR_MS)} | one.row() for at, one in hours]


async def read_stats(settings: Settings, wanted: Filter, since: datetime | timedelta) -> Stats:
    """See `stats_of`; by the ledger of these settings. Raises CommandFailed."""
    async with open_ledger(settings) as ledger:
        return await stats_of(ledger, wanted, since)


async def stats_of(ledger: LedgerClient, wanted: Filter, since: datetime | timedelta) -> Stats:
    """The statistics of the orders that fit, and came or changed since then. Raises LedgerUnavailable."""
    stats, last = Stats(), 0
    wanted = replace(wanted, since_ms=await ledger.read(partial(since_ms, since=since)))
    while found := await ledger.read(partial(_page, wanted=wanted, after=last)):
        for one, posts_ms in found:
            stats.add(one, posts_ms)
        last = found[-1][0].number
    return stats


def _page(connection: Connection, wanted: Filter, after: int) -> list[tuple[Measured, list[int]]]:
    """The next orders, each with the ms of its POSTs. Of a few: no order waits for it."""
    found = measured(connection, wanted, after, PAGE_ROWS)
    posts_ms: defaultdict[int, list[int]] = defaultdict(list)
    if found:
        for number, duration_ms in post_durations(connection, wanted, after, found[-1].number):
            posts_ms[number].append(duration_ms)
    return [(one, posts_ms[one.number]) for one in found]


def percentile(times: Iterable[int], percent: int) -> int | None:
    """The nearest-rank percentile; None of nothing."""
    ordered = sorted(times)
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)] if ordered else None
