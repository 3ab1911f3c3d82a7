"""What grows, and signalq's consumer measured at one size of it. The sizes come in their order, on one site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.contenders import SIGNALQ
from benchmarks.figures import Figures
from benchmarks.growth.rows import fill
from benchmarks.ladder import on_the_ladder, parked
from benchmarks.load import CONNECTORS, Load, at_once
from benchmarks.phases import WARM_UP_ORDERS
from benchmarks.progress import progress
from benchmarks.site import Site
from benchmarks.track import SLACK_S, SLOWEST_PER_S, track

PARKED_S = 3600.0


async def connectors(site: Site, size: int, orders: int) -> Figures:
    """A burst over so many connectors."""
    return await _burst(site, Load("burst", orders, connectors=size))


async def waiting(site: Site, size: int, orders: int) -> Figures:
    """The first of so many orders that wait.

    Of few, all are read ahead before the measuring begins: their CPU time lacks the reading.
    """
    load = Load("backlog", size)
    async with track(SIGNALQ, site) as on:
        progress(f"waiting: publishing {size:,} orders")
        await at_once(on.publisher, load)
        progress(f"waiting: {size:,}")
        async with on.running(to_the_end=False) as pid:
            figures = await on.backlog(pid, load, min(orders, size), to_the_end=False)
        await on.purge()
    return figures


async def ledger(site: Site, size: int, orders: int) -> Figures:
    """A burst with so many rows in the ledger."""
    if size:
        progress(f"ledger: making {size:,} rows")
        fill(site.folder / f"{SIGNALQ.prefix}.db", size)
    return await _burst(site, Load("burst", orders))


async def delayed(site: Site, size: int, orders: int) -> Figures:
    """A burst beside so many delayed orders; those of the sizes before are among them."""
    async with track(SIGNALQ, site) as on, on.running() as pid:
        there = await on_the_ladder(on.connection, on.names)
        progress(f"delayed: parking {size - there:,} orders")
        await at_once(on.publisher, Load("parked", size - there, delay_s=PARKED_S))
        await parked(on.connection, on.names, size, SLACK_S + size / SLOWEST_PER_S)
        await on.warm_up(WARM_UP_ORDERS)
        return await on.burst(pid, Load("burst", orders))


async def _burst(site: Site, load: Load) -> Figures:
    async with track(SIGNALQ, site) as on, on.running() as pid:
        await on.warm_up(WARM_UP_ORDERS)
        return await on.burst(pid, load)


@dataclass(frozen=True, slots=True)
class Dimension:
    """What grows, and to what sizes."""

    title: str
    sizes: Sequence[int]
    measure: Callable[[Site, int, int], Awaitable[Figures]]


DIMENSIONS = {
    "connectors": Dimension("connectors", [1, CONNECTORS, 100, 1_000], connectors),
    "waiting": Dimension("orders that wait", [1_000, 10_000, 100_000, 500_000], waiting),
    "ledger": Dimension("rows of the ledger", [0, 10_000, 100_000, 1_000_000], ledger),
    "delayed": Dimension("delayed orders", [0, 100, 1_000, 10_000], delayed),
}
