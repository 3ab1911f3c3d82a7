"""A track: one contender between a broker and a webhook, and the ways to measure it under a load."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from aio_pika.abc import AbstractConnection

from benchmarks.contender import Failed, consuming, cpu_seconds, lanes, resident_mb, told
from benchmarks.contenders import Contender
from benchmarks.endpoint import Endpoint
from benchmarks.figures import Figures
from benchmarks.load import Load, at_once, steadily
from benchmarks.site import Site
from signalq import OrderPublisher
from signalq.amqp.connection import connect
from signalq.amqp.inspect import queue_depth
from signalq.amqp.topology import Topology
from signalq.names import Names

# A contender that is slower is not waited for.
SLOWEST_PER_S = 20.0
SLACK_S = 60.0
# From the last POST until its acknowledgement, at least, is done too. This time belongs to the cost of an order.
SETTLE_S = 0.5
# Of a backlog, the share before which nothing is measured: the start of the process is no part of the figures.
WARM_UP_SHARE = 0.1
# At least so many orders of a backlog lie behind those that are measured. signalq reads up to 1,000 ahead: when the
# measuring ends, as many must have been read ahead as when it began.
READ_AHEAD = 2_000


class Meter:
    """The CPU time and the time that a process takes for some orders, from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu_s = cpu_seconds(pid)
        self._began_s = time.monotonic()

    def figures(self, orders: int, ended_s: float) -> Figures:
        """So many orders were done by then; CPU and memory are those of this moment."""
        cpu_us = (cpu_seconds(self._pid) - self._cpu_s) / orders * 1e6
        return Figures(cpu_us, orders / (ended_s - self._began_s), resident_mb(self._pid))


class Track:
    """Made by `track`, for one run of a contender."""

    def __init__(self, contender: Contender, site: Site, connection: AbstractConnection, publisher: OrderPublisher):
        self.publisher = publisher
        self.names = Names(contender.prefix)
        self.connection = connection
        self.endpoint = Endpoint()
        self._contender = contender
        self._site = site
        self._awaited = 0

    @asynccontextmanager
    async def running(self, *, to_the_end: bool = True) -> AsyncIterator[int]:
        """Run the contender; the block begins with its process id. Unless it is not `to_the_end`, nothing may be left
        in the queue afterwards: an order that was not acknowledged is there again.
        """
        site, names = self._site, self.names
        webhook_url = await self.endpoint.start()
        ledger_url = site.ledger_urls.get(self._contender.ledger or "")
        environment = told(site.broker_url, names.orders, names.prefix, webhook_url, site.folder, ledger_url)
        environment |= self._contender.variables
        queues = lanes(names) if self._contender.is_ours else (names.orders,)
        try:
            async with consuming(self._contender.command, environment, self.connection, *queues) as pid:
                yield pid
        finally:
            await self.endpoint.stop()
        if to_the_end and (left := await self.waiting()):
            raise Failed(f"{self._contender.name}: {left:,} orders were not acknowledged.")

    async def purge(self) -> None:
        """Empty the queue."""
        channel = await self.connection.channel()
        await (await channel.get_queue(self.names.orders)).purge()
        await channel.close()

    async def waiting(self) -> int:
        """How many orders are in the queue."""
        depth = await queue_depth(self.connection, self.names.orders)
        return depth.ready if depth is not None else 0

    async def warm_up(self, orders: int) -> None:
        """Orders that are not measured: the first ones make a process load and grow."""
        load = Load("warm-up", orders)
        await at_once(self.publisher, load)
        await self._all_came(load)

    async def burst(self, pid: int, load: Load) -> Figures:
        """Orders as fast as they can be published."""
        meter = Meter(pid)
        await at_once(self.publisher, load)
        return await self._concluded(load, meter)

    async def calm(self, pid: int, load: Load, rate_per_s: float) -> Figures:
        """Orders at a steady rate, and the time that each takes to its POST."""
        meter = Meter(pid)
        sent_s = await steadily(self.publisher, load, rate_per_s)
        figures = await self._concluded(load, meter)
        waits_ms = [(self.endpoint.arrived_s[log] - at_s) * 1000 for log, at_s in sent_s.items()]
        percentiles = statistics.quantiles(waits_ms, n=100, method="inclusive")
        return replace(figures, p50_ms=percentiles[49], p99_ms=percentiles[98])

    async def backlog(self, pid: int, load: Load, orders: int, *, to_the_end: bool = True) -> Figures:
        """The first so many orders of a load that was published before the contender ran; the others are accounted for
        `to_the_end`.
        """
        await self._came(round(orders * WARM_UP_SHARE))
        meter, before = Meter(pid), self.endpoint.count
        await self._came(orders)
        figures = meter.figures(self.endpoint.count - before, time.monotonic())
        if to_the_end:
            await self._all_came(load)
            await asyncio.sleep(SETTLE_S)
        return self._accounted(load, figures, whole=to_the_end)

    async def _concluded(self, load: Load, meter: Meter) -> Figures:
        await self._all_came(load)
        await asyncio.sleep(SETTLE_S)
        last_s = max(self.endpoint.arrived_s.values())
        return self._accounted(load, meter.figures(load.orders, last_s))

    def _accounted(self, load: Load, figures: Figures, *, whole: bool = True) -> Figures:
        account = load.account(self.endpoint.logs)
        account.must_hold(self._contender.name, keeps_order=self._contender.is_ours, whole=whole)
        return replace(figures, out_of_order=account.out_of_order)

    async def _all_came(self, load: Load) -> None:
        self._awaited += load.orders
        await self._came(self._awaited)

    async def _came(self, count: int) -> None:
        timeout_s = SLACK_S + count / SLOWEST_PER_S
        try:
            async with asyncio.timeout(timeout_s):
                await self.endpoint.reached(count)
        except TimeoutError:
            came = self.endpoint.count
            raise Failed(
                f"{self._contender.name}: only {came:,} of {count:,} orders came within {timeout_s:g} s."
            ) from None


@asynccontextmanager
async def track(contender: Contender, site: Site) -> AsyncIterator[Track]:
    """Make the queues of a contender, and a publisher to them."""
    async with await connect(site.broker_url, name="signalq benchmark") as connection:
        await Topology(Names(contender.prefix)).declare(connection)
        async with OrderPublisher(
            site.broker_url, prefix=contender.prefix, strategy="benchmark", outcomes=False
        ) as publisher:
            yield Track(contender, site, connection, publisher)
