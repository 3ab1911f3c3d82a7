"""What parked orders cost: the consumer's memory, and the latency of the orders that are due at once.

Latency is the time from the start of publish to the first byte of the POST. It is measured in blocks of a few seconds,
without any parked order and then beside all of them, and the median of the blocks counts: one pause of the machine
makes a p99 of its own.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import consuming, lanes, python, resident_mb, told
from benchmarks.delays import course
from benchmarks.delays.course import Progress
from benchmarks.delays.plan import Plan
from benchmarks.endpoint import Endpoint
from benchmarks.ladder import parked
from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.names import Names

NAMES = Names("bench-parked")
PUBLISHER = "benchmarks.delays.publish"
PARKED_DELAY_S = 3600.0
# Nothing falls due meanwhile: more than the rate of the other part.
PARKED_PER_S = 250.0
IMMEDIATE_PER_S = 100.0
BLOCK_ORDERS = 500
BLOCKS = 3
PARKED_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Memory:
    """The consumer's resident memory in MB, and the latency of immediate orders in ms: without parked ones, with."""

    rss_without_mb: float
    rss_with_mb: float
    p50_without_ms: float
    p50_with_ms: float
    p99_without_ms: float
    p99_with_ms: float


async def measure(broker_url: str, orders: int, folder: Path, progress: Progress) -> Memory:
    """Park so many orders for an hour in signalq, and look at it before and after."""
    endpoint = Endpoint(time.time)
    environment = told(broker_url, NAMES.orders, NAMES.prefix, await endpoint.start(), folder)
    connection = await connect(broker_url, name="signalq benchmark")
    try:
        await Topology(NAMES).declare(connection)
        async with consuming(python("signalq.consumer"), environment, connection, *lanes(NAMES)) as pid:
            # Not counted: whatever a first order makes a process load and grow.
            await _latency("warming up ", 1, environment, endpoint, progress)
            without_ms = await _latency("nothing parked ", BLOCKS, environment, endpoint, progress)
            rss_without_mb = resident_mb(pid)
            plan = Plan(orders, PARKED_PER_S, PARKED_DELAY_S, PARKED_DELAY_S, label="to park ")
            progress(f"parking {orders:,} orders")
            await course.publish(PUBLISHER, plan, environment)
            await parked(connection, NAMES, orders, PARKED_TIMEOUT_S)
            rss_with_mb = resident_mb(pid)
            with_ms = await _latency("beside the parked ", BLOCKS, environment, endpoint, progress)
    finally:
        await connection.close()
        await endpoint.stop()
    return Memory(rss_without_mb, rss_with_mb, without_ms[0], with_ms[0], without_ms[1], with_ms[1])


async def _latency(
    label: str, blocks: int, environment: dict[str, str], endpoint: Endpoint, progress: Progress
) -> tuple[float, float]:
    """p50 and p99 of immediate orders, each the median of the blocks."""
    figures: list[tuple[float, float]] = []
    for block in range(blocks):
        plan = Plan(BLOCK_ORDERS, IMMEDIATE_PER_S, label=f"{label}{block} ")
        done = await course.run(PUBLISHER, plan, environment, endpoint, progress)
        times = zip(done.created_ms, done.arrived_ms, strict=True)
        latency_ms = [arrived - created for created, arrived in times if arrived is not None]
        percentiles = statistics.quantiles(latency_ms, n=100, method="inclusive")
        figures.append((percentiles[49], percentiles[98]))
    return statistics.median(p50 for p50, _ in figures), statistics.median(p99 for _, p99 in figures)
