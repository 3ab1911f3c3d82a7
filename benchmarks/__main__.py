"""signalq beside a peer and beside itself with its ledger in memory, in one run, on one broker.

    ./run bench                  3 rounds of 4,000 orders over 20 connectors
    ./run bench --orders 1000 --rounds 1

A round is a burst (CPU time of the consumer's process per order, user + system, and orders per second) and then a calm
stretch (100 orders a second: time from the start of publish to the POST). Medians over the rounds, the contenders
taking turns. Absolute figures are this machine's, the ratios are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from benchmarks.contender import consuming, cpu_seconds, told
from benchmarks.endpoint import Endpoint
from signalq import OrderIntent, OrderPublisher
from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ, ensure_installed
from signalq.names import Names

CONNECTORS = 20
CALM_ORDERS = 300
CALM_PERIOD_S = 0.01
ROUND_TIMEOUT_S = 120.0
IN_FLIGHT = 200
# A folder in memory: what is written there costs no disk.
MEMORY = "/dev/shm"  # noqa: S108 - a folder of our own in it


@dataclass(frozen=True)
class Figures:
    """One round of one contender."""

    cpu_us: float
    per_s: float
    p50_ms: float
    p99_ms: float


async def round_of(module: str, broker_url: str, prefix: str, orders: int, folder: Path) -> Figures:
    """Start the contender, its ledger in the folder; send it orders, and measure until the last one is POSTed."""
    names = Names(prefix)
    endpoint = Endpoint()
    url = await endpoint.start()
    connection = await connect(broker_url, name="signalq benchmark")
    await Topology(names).declare(connection)
    environment = told(broker_url, names.orders, prefix, url, folder)
    try:
        async with consuming(module, environment, connection, names.orders) as pid:
            return await _measured(pid, endpoint, broker_url, prefix, orders)
    finally:
        await connection.close()
        await endpoint.stop()


async def _measured(pid: int, endpoint: Endpoint, broker_url: str, prefix: str, orders: int) -> Figures:
    """A burst, and then a calm stretch."""
    cpu_before_s, began_s = cpu_seconds(pid), time.monotonic()
    async with asyncio.timeout(ROUND_TIMEOUT_S):
        await asyncio.gather(publish(broker_url, prefix, orders), endpoint.reached(orders))
    took_s = time.monotonic() - began_s
    cpu_us = (cpu_seconds(pid) - cpu_before_s) / orders * 1e6
    async with asyncio.timeout(ROUND_TIMEOUT_S):
        sent_s = await publish_calmly(broker_url, prefix)
        await endpoint.reached(orders + CALM_ORDERS)
    waits_ms = sorted((endpoint.arrived_s[log] - at_s) * 1000 for log, at_s in sent_s.items())
    percentiles = statistics.quantiles(waits_ms, n=100)
    return Figures(cpu_us, orders / took_s, percentiles[49], percentiles[98])


async def publish(broker_url: str, prefix: str, orders: int) -> None:
    """Publish as fast as confirms come, at most IN_FLIGHT at a time."""
    places = asyncio.Semaphore(IN_FLIGHT)
    async with OrderPublisher(broker_url, prefix=prefix, strategy="benchmark", outcomes=False) as publisher:

        async def one(number: int) -> None:
            async with places:
                await publisher.publish(intent(number, str(number)))

        await asyncio.gather(*(one(number) for number in range(orders)))


async def publish_calmly(broker_url: str, prefix: str) -> dict[str, float]:
    """Publish CALM_ORDERS, one every CALM_PERIOD_S; return when each was sent, by its log."""
    sent_s: dict[str, float] = {}
    async with (
        OrderPublisher(broker_url, prefix=prefix, strategy="benchmark", outcomes=False) as publisher,
        asyncio.TaskGroup() as all_,
    ):
        for number in range(CALM_ORDERS):
            sent_s[f"calm {number}"] = time.monotonic()
            all_.create_task(publisher.publish(intent(number, f"calm {number}")))
            await asyncio.sleep(CALM_PERIOD_S)
    return sent_s


def intent(number: int, log: str) -> OrderIntent:
    """An order for one of the connectors."""
    return OrderIntent(
        connector_name=f"connector-{number % CONNECTORS}",
        connector_token="0-pretended-0",  # noqa: S106 - not a secret
        action="openLong",
        percent="50",
        log=log,
    )


def report(name: str, rounds: Sequence[Figures]) -> Figures:
    """Print the medians of a contender; return them."""
    medians = Figures(*(statistics.median(values) for values in zip(*map(astuple, rounds), strict=True)))
    print(
        f"{name:<28}{medians.cpu_us:>7.0f} µs CPU an order{medians.per_s:>8.0f} orders/s"
        f"{medians.p50_ms:>8.1f} ms p50{medians.p99_ms:>8.1f} ms p99"
    )
    return medians


def compare(what: str, ours: Figures, theirs: Figures) -> None:
    """Print the ratios of two contenders."""
    cpu, rate, p50, p99 = (mine / other for mine, other in zip(astuple(ours), astuple(theirs), strict=True))
    print(f"{what:<28}{cpu:>7.2f} x CPU         {rate:>8.2f} x        {p50:>8.2f} x p50{p99:>9.2f} x p99")


def main() -> None:
    """Run the rounds and print the ratios."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--orders", type=int, default=4000, help="orders a round (default 4000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default 3)")
    arguments = parser.parse_args()
    contenders = {
        "signalq": ("consumer", None),
        "signalq, ledger in memory": ("consumer", MEMORY),
        "naive aio-pika + aiohttp": ("benchmarks.naive", None),
    }
    measured: dict[str, list[Figures]] = {name: [] for name in contenders}
    with PrivateRabbitMQ(ensure_installed(print)) as broker:
        for number in range(arguments.rounds):
            for place, (name, (module, where)) in enumerate(contenders.items()):
                with tempfile.TemporaryDirectory(prefix="signalq-bench-", dir=where) as folder:
                    work = round_of(module, broker.url, f"bench-{number}-{place}", arguments.orders, Path(folder))
                    measured[name].append(asyncio.run(work))
    ours, in_memory, naive = (report(name, figures) for name, figures in measured.items())
    compare("on disk / in memory", ours, in_memory)
    compare("signalq / naive", ours, naive)


if __name__ == "__main__":
    main()
