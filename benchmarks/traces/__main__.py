"""What traces cost an order: the CPU of the consumer with none of them, with a tenth, and with all, in one run.

    ./run bench-traces                    5 rounds of 4,000 orders as fast as the SDK publishes them
    ./run bench-traces --rounds 9 --json

A round has a broker and a ledger of its own; in it the three take turns, another one first in each round, each in a new
process, and their spans go to a collector that takes them and does nothing. A share is of the consumer without traces
in the same round; figures and shares are medians over the rounds. The calls that an order makes where traces are off
are timed by themselves, as no run could tell so little from its own noise.

Ends with status 1 where traces cost more than is promised: 0.5 % off, 5 % for a tenth, 35 % for all. Absolute figures
are this machine's, the shares are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import web

from benchmarks.contender import Failed
from benchmarks.contenders import SIGNALQ, Contender
from benchmarks.figures import Figures, medians
from benchmarks.load import Load
from benchmarks.phases import WARM_UP_ORDERS
from benchmarks.progress import progress
from benchmarks.site import Site, new_site
from benchmarks.track import track
from signalq.consumer.broker.session import Delivery, Session
from signalq.consumer.orders.message import Message
from signalq.consumer.telemetry.traces import NO_TRACES

ROUNDS, ORDERS, ORDERS_MIN = 5, 4_000, 100
OFF, TENTH, ALL = "off", "a tenth", "all"
SAMPLERS = {
    TENTH: {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    ALL: {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
}
# The most that each may cost, as a share of an order without traces.
SHARES_MAX = {OFF: 0.005, TENTH: 0.05, ALL: 0.35}
CALLS = 200_000
# The SDK exports every 5 s what is less than a batch.
FIRST_EXPORT_S = 60.0


class Sink:
    """A collector that takes all spans and does nothing; `has_taken` is set once some have come."""

    def __init__(self) -> None:
        self.has_taken = asyncio.Event()
        self.endpoint = ""

    async def take(self, request: web.Request) -> web.Response:
        """Take one batch."""
        await request.read()
        self.has_taken.set()
        return web.Response()


@asynccontextmanager
async def sinking() -> AsyncIterator[Sink]:
    """A sink that listens."""
    sink, app = Sink(), web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", sink.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        sink.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield sink
    finally:
        await runner.cleanup()


async def turn(name: str, load: Load, site: Site) -> Figures:
    """One of the three, once. Raises Failed where an order was lost, or no span came."""
    async with sinking() as sink:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, **SAMPLERS[name]} if name != OFF else {}
        contender = Contender(name, SIGNALQ.command, SIGNALQ.ledger, variables)
        async with track(contender, site) as on, on.running() as pid:
            await on.warm_up(WARM_UP_ORDERS)
            if name != OFF:
                # The first export loads and connects, once in a life that lasts for weeks.
                await asyncio.wait_for(sink.has_taken.wait(), FIRST_EXPORT_S)
            figures = await on.burst(pid, load)
    if sink.has_taken.is_set() != (name != OFF):
        raise Failed(f"traces are {name}, and spans came, or came not.")
    return figures


def idle_us() -> float:
    """The CPU time of the calls that an order makes for its traces where they are off."""
    message = Message(b"", cast("Any", None), "", redelivered=False)
    delivery, nothing = Delivery(message, 1, cast("Session", None)), cast("Any", None)
    began_s = time.process_time()
    for _ in range(CALLS):
        handled = NO_TRACES.begin(delivery)
        handled.steps.has_turn()
        handled.steps.claims()
        handled.steps.claimed(nothing, nothing)
        handled.steps.tried(nothing)
        handled.steps.settled(nothing, "delivered", nothing)
        NO_TRACES.end(handled)
    return (time.process_time() - began_s) / CALLS * 1e6


def arguments() -> argparse.Namespace:
    """What was asked for."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run bench-traces",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds (default {ROUNDS})")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders of each turn (default {ORDERS})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or chosen.orders < ORDERS_MIN:
        parser.error(f"--rounds must be at least 1, and --orders {ORDERS_MIN}")
    return chosen


def measured(rounds: int, load: Load) -> dict[str, list[Figures]]:
    """The figures of each turn. Raises Failed."""
    found: dict[str, list[Figures]] = {OFF: [], TENTH: [], ALL: []}
    for number in range(rounds):
        names = deque(found)
        names.rotate(number)
        with new_site(postgres=False) as site:
            for name in names:
                progress(f"round {number + 1} of {rounds}: traces {name}")
                found[name].append(asyncio.run(turn(name, load, site)))
    progress("")
    return found


def shares_of(rounds: dict[str, list[Figures]], idle: float) -> dict[str, float]:
    """What traces cost of an order's CPU."""
    shares = {OFF: [idle / without.cpu_us for without in rounds[OFF]]}
    for name in (TENTH, ALL):
        pairs = zip(rounds[name], rounds[OFF], strict=True)
        shares[name] = [one.cpu_us / without.cpu_us - 1 for one, without in pairs]
    return {name: statistics.median(each) for name, each in shares.items()}


def main() -> int:
    """Run the rounds, and print the figures."""
    chosen = arguments()
    try:
        rounds = measured(chosen.rounds, Load("burst", chosen.orders))
    except Failed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    found = {name: medians(figures) for name, figures in rounds.items()}
    shares = shares_of(rounds, idle_us())
    rows = {
        name: {
            "cpu_us": one.cpu_us,
            "per_s": one.per_s,
            "share": shares[name],
            "rounds": [r.cpu_us for r in rounds[name]],
        }
        for name, one in found.items()
    }
    if chosen.json:
        print(json.dumps(rows, indent=2))
    else:
        print(f"{'traces':<10}{'CPU µs':>10}{'orders/s':>10}{'share':>10}{'at most':>10}")
        for name, row in rows.items():
            cells = f"{row['cpu_us']:>10,.0f}{row['per_s']:>10,.0f}{shares[name]:>10.2%}{SHARES_MAX[name]:>10.1%}"
            print(f"{name:<10}{cells}")
    return int(any(shares[name] > limit for name, limit in SHARES_MAX.items()))


if __name__ == "__main__":
    sys.exit(main())
