"""signalq beside a peer, in one run, on one broker: what an order costs, and how many go through.

    ./run bench                  3 rounds of 4,000 orders over 20 connectors
    ./run bench --orders 1000 --rounds 1

The figure is CPU time of the consumer's process per order (user + system), and orders per second from the first to the
last; medians over the rounds, the two taking turns. Absolute figures are this machine's, the ratio is what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endpoint import Endpoint
from deploy.local import PrivateRabbitMQ, ensure_installed
from signalq import OrderIntent, OrderPublisher
from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology, queue_depth
from signalq.names import Names

CONNECTORS = 20
READY_TIMEOUT_S = 30.0
ROUND_TIMEOUT_S = 120.0
IN_FLIGHT = 200
CLOCK_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """One round of one contender."""

    cpu_us: float
    per_s: float


async def round_of(module: str, broker_url: str, prefix: str, orders: int) -> Figures:
    """Start the contender, send it orders, and measure until the last one is POSTed."""
    names = Names(prefix)
    endpoint = Endpoint()
    url = await endpoint.start()
    connection = await connect(broker_url, name="signalq benchmark")
    await Topology(names).declare(connection)
    environment = os.environ | {
        "BENCH_BROKER": broker_url,
        "BENCH_QUEUE": names.orders,
        "BENCH_WEBHOOK": url,
        "SIGNALQ_BROKER__URL": broker_url,
        "SIGNALQ_BROKER__PREFIX": prefix,
        "SIGNALQ_WEBHOOK__URL": url,
        "SIGNALQ_OPS__PORT": "0",
    }
    contender = subprocess.Popen(  # noqa: S603, ASYNC220 - our own modules
        [sys.executable, "-m", module], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            # Nothing tells that another process has begun to consume, so ask.
            while (depth := await queue_depth(connection, names.orders)) is None or depth.consumers == 0:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        cpu_before_s, began_s = cpu_seconds(contender.pid), time.monotonic()
        async with asyncio.timeout(ROUND_TIMEOUT_S):
            await asyncio.gather(publish(broker_url, prefix, orders), endpoint.reached(orders))
        took_s = time.monotonic() - began_s
        return Figures((cpu_seconds(contender.pid) - cpu_before_s) / orders * 1e6, orders / took_s)
    finally:
        contender.terminate()
        contender.wait(READY_TIMEOUT_S)
        await connection.close()
        await endpoint.stop()


async def publish(broker_url: str, prefix: str, orders: int) -> None:
    """Publish as fast as confirms come, at most IN_FLIGHT at a time."""
    places = asyncio.Semaphore(IN_FLIGHT)
    async with OrderPublisher(broker_url, prefix=prefix, strategy="benchmark") as publisher:

        async def one(number: int) -> None:
            async with places:
                await publisher.publish(
                    OrderIntent(
                        connector_name=f"connector-{number % CONNECTORS}",
                        connector_token="benchmark",  # noqa: S106 - not a secret
                        action="openLong",
                        percent="50",
                        log=str(number),
                    )
                )

        await asyncio.gather(*(one(number) for number in range(orders)))


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS_PER_S


def report(name: str, figures: Sequence[Figures]) -> Figures:
    """Print the medians of a contender; return them."""
    medians = Figures(
        statistics.median(figure.cpu_us for figure in figures), statistics.median(figure.per_s for figure in figures)
    )
    print(f"{name:<28}{medians.cpu_us:>10.0f} µs CPU an order {medians.per_s:>10.0f} orders/s")
    return medians


def main() -> None:
    """Run the rounds and print the ratio."""
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--orders", type=int, default=4000, help="orders a round (default 4000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each (default 3)")
    arguments = parser.parse_args()
    contenders = {"signalq": "consumer", "naive aio-pika + aiohttp": "benchmarks.naive"}
    measured: dict[str, list[Figures]] = {name: [] for name in contenders}
    with PrivateRabbitMQ(ensure_installed(print)) as broker:
        for number in range(arguments.rounds):
            for name, module in contenders.items():
                prefix = f"bench-{number}-{module.rpartition('.')[2]}"
                measured[name].append(asyncio.run(round_of(module, broker.url, prefix, arguments.orders)))
    ours, peers = (report(name, figures) for name, figures in measured.items())
    print(
        f"ratio signalq / naive: CPU {ours.cpu_us / peers.cpu_us:.2f}, orders per second {ours.per_s / peers.per_s:.2f}"
    )


if __name__ == "__main__":
    main()
