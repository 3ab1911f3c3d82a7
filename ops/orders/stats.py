"""Statistics of orders by the ledger: how many ended how, and how long they were queued, POSTed and late."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Self

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import orders
from signalq.consumer.ledger.queries.measures import Measured, measured, post_durations
from signalq.consumer.ledger.queries.orders import Filter
from signalq.ops.ledger import open_ledger, since_ms
from signalq.ops.terminal.progress import bar
from signalq.settings.sections import Settings
from signalq.times import iso_ms

PAGE_ROWS = 1_000
# Fewer are counted before a person sees a bar.
BAR_FROM_ORDERS = 20_000
HOUR_MS = 3_600_000
ENDINGS = ("delivered", "dead", "canceled")


@dataclass(slots=True)
class Group:
    """Some orders: how many have which status, and how many were queued, POSTed and late for so many ms.

    Deadlines and time-outs bound the times, and so the room that a group takes, however many orders it has.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    queued_ms: Counter[int] = field(default_factory=Counter)
    post_ms: Counter[int] = field(default_factory=Counter)
    late_ms: Counter[int] = field(default_factory=Counter)

    def add(self, one: Measured, posts_ms: Iterable[int]) -> None:
        """Count one more order."""
        self.statuses[one.status] += 1
        for ms in posts_ms:
            self.post_ms[ms] += 1
        if (queued_ms := one.queued_ms) is not None:
            self.queued_ms[queued_ms] += 1
        if (late_ms := one.late_ms) is not None:
            self.late_ms[late_ms] += 1

    def join(self, other: Self) -> None:
        """Count another group's orders, too."""
        self.statuses.update(other.statuses)
        self.queued_ms.update(other.queued_ms)
        self.post_ms.update(other.post_ms)
        self.late_ms.update(other.late_ms)

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
        wanted = replace(wanted, since_ms=await ledger.read(partial(since_ms, since=since)))
        total = await ledger.read(partial(orders.count, wanted=wanted))
        with bar("counting", "orders", total, least=BAR_FROM_ORDERS) as advance:
            return await stats_of(ledger, wanted, advance)


async def stats_of(ledger: LedgerClient, wanted: Filter, on_count: Callable[[int], None]) -> Stats:
    """The statistics of the orders that fit; `on_count` gets how many more were counted. Raises LedgerUnavailable."""
    stats, last = Stats(), 0
    while found := await ledger.read(partial(_page, wanted=wanted, after=last)):
        for one, posts_ms in found:
            stats.add(one, posts_ms)
        last = found[-1][0].number
        on_count(len(found))
    return stats


def _page(connection: Connection, wanted: Filter, after: int) -> list[tuple[Measured, list[int]]]:
    """The next orders, each with the ms of its POSTs. Of a few: no order waits for it."""
    found = measured(connection, wanted, after, PAGE_ROWS)
    posts_ms: defaultdict[int, list[int]] = defaultdict(list)
    if found:
        for number, duration_ms in post_durations(connection, wanted, after, found[-1].number):
            posts_ms[number].append(duration_ms)
    return [(one, posts_ms[one.number]) for one in found]


def percentile(times: Counter[int], percent: int) -> int | None:
    """The nearest-rank percentile of counted times; None of nothing."""
    left = -(-times.total() * percent // 100)
    for ms in sorted(times):
        left -= times[ms]
        if left <= 0:
            return ms
    return None
