"""What traces cost an order: the CPU of the consumer with none of them, with a tenth, and with all, in one run.

    ./run bench-traces                    60 rounds of 1,000 orders each, in about five minutes
    ./run bench-traces --rounds 200 --json

Three consumers run beside each other all the time, on one broker, each with lanes and a ledger of its own: one without
traces, one that exports a tenth of them, one that exports all, to collectors that take them and do nothing. In a round
each of them in turn, another one first each time, gets its orders as fast as the SDK publishes them, and the two others
have nothing to do but to export what is left. So what disturbs the machine for some seconds disturbs all three, and
what disturbs it for a moment spoils one round. A share is of the consumer without traces in the same round; figures and
shares are medians over the rounds. The range beside a share is where another run on this machine finds it, 19 times of
20: where it is too wide to tell on which side of its bound a share is, take more rounds or a quieter machine. The calls
that an order makes where traces are off are timed by themselves, as no run could tell so little from its own noise.

Ends with status 1 where traces cost more than is promised: 0.5 % off, 5 % for a tenth, 35 % for all. Absolute figures
are this machine's, the shares are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from aiohttp import web

from benchmarks.contender import Failed, cpu_seconds
from benchmarks.contenders import SIGNALQ, Contender
from benchmarks.figures import Figures, medians
from benchmarks.load import Load
from benchmarks.phases import WARM_UP_ORDERS
from benchmarks.progress import progress
from benchmarks.site import Site, new_site
from benchmarks.track import Track, track
from signalq.consumer.broker.session import Delivery, Session
from signalq.consumer.orders.message import Message
from signalq.consumer.telemetry.traces import NO_TRACES

ROUNDS, ROUNDS_MIN, ORDERS, ORDERS_MIN = 60, 2, 1_000, 100
OFF, TENTH, ALL = "off", "a tenth", "all"
SAMPLERS = {
    OFF: {},
    TENTH: {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1"},
    ALL: {"OTEL_TRACES_SAMPLER": "parentbased_always_on"},
}
# The most that each may cost, as a share of an order without traces.
SHARES_MAX = {OFF: 0.005, TENTH: 0.05, ALL: 0.35}
CALLS = 200_000
# Half the width, in ranks, of an interval of 95 % for the median of n values: this times the root of n.
RANKS_OFF = 0.98
# The SDK exports every 5 s what is less than a batch.
FIRST_EXPORT_S = 60.0

Turn = Callable[[Load], Awaitable[Figures]]


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


@asynccontextmanager
async def consumer(name: str, site: Site) -> AsyncIterator[Turn]:
    """One of the three, and its turn: orders, and what they cost.

    Raises Failed where an order was lost, or no span came.
    """
    async with sinking() as sink:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.endpoint, **SAMPLERS[name]} if name != OFF else {}
        contender = Contender(name, SIGNALQ.command, f"traces-{list(SAMPLERS).index(name)}", variables)
        async with track(contender, site) as on, on.running() as pid:
            await on.warm_up(WARM_UP_ORDERS)
            if name != OFF:
                # The first export loads and connects, once in a life that lasts for weeks.
                await asyncio.wait_for(sink.has_taken.wait(), FIRST_EXPORT_S)
            yield partial(whole_turn, on, pid, [cpu_seconds(pid)])
    if sink.has_taken.is_set() != (name != OFF):
        raise Failed(f"traces are {name}, and spans came, or came not.")


async def whole_turn(on: Track, pid: int, counted_s: list[float], load: Load) -> Figures:
    """The figures of a turn; its CPU is that since the turn before, for spans are exported after their orders."""
    figures = await on.burst(pid, load)
    counted_s.append(cpu_seconds(pid))
    return replace(figures, cpu_us=(counted_s[-1] - counted_s[-2]) / load.orders * 1e6)


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


@dataclass(frozen=True, slots=True)
class Share:
    """What traces cost of an order's CPU: the median over the rounds, and the range that holds the true one 19 times of
    20. It goes by the ranks of the values alone, so it asks nothing of how they are spread.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, shares: list[float]) -> Share:
        """The share over some rounds."""
        ranked, middle = sorted(shares), (len(shares) - 1) / 2
        off = RANKS_OFF * math.sqrt(len(shares))
        low, high = max(0, math.floor(middle - off)), min(len(shares) - 1, math.ceil(middle + off))
        return cls(statistics.median(shares), ranked[low], ranked[high])


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
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders of each turn (default {ORDERS:,})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    chosen = parser.parse_args()
    if chosen.rounds < ROUNDS_MIN or chosen.orders < ORDERS_MIN:
        parser.error(f"--rounds must be at least {ROUNDS_MIN}, and --orders {ORDERS_MIN}")
    return chosen


async def measured(rounds: int, orders: int, site: Site) -> dict[str, list[Figures]]:
    """The figures of each turn. Raises Failed."""
    found: dict[str, list[Figures]] = {name: [] for name in SAMPLERS}
    async with AsyncExitStack() as running:
        progress("starting the consumers")
        turns = {name: await running.enter_async_context(consumer(name, site)) for name in SAMPLERS}
        names = deque(SAMPLERS)
        for number in range(rounds):
            progress(f"round {number + 1} of {rounds}")
            for name in names:
                found[name].append(await turns[name](Load(f"round-{number}", orders)))
            names.rotate(1)
        progress("")
    return found


def shares_of(rounds: dict[str, list[Figures]], idle: float) -> dict[str, Share]:
    """What traces cost, by the figures of each round."""
    shares = {OFF: Share.of([idle / without.cpu_us for without in rounds[OFF]])}
    for name in (TENTH, ALL):
        pairs = zip(rounds[name], rounds[OFF], strict=True)
        shares[name] = Share.of([one.cpu_us / without.cpu_us - 1 for one, without in pairs])
    return shares


def main() -> int:
    """Run the rounds, and print the figures."""
    chosen = arguments()
    try:
        with new_site(postgres=False) as site:
            rounds = asyncio.run(measured(chosen.rounds, chosen.orders, site))
    except Failed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    shares = shares_of(rounds, idle_us())
    tell(rounds, shares, as_json=chosen.json)
    return int(any(shares[name].median > limit for name, limit in SHARES_MAX.items()))


def tell(rounds: dict[str, list[Figures]], shares: dict[str, Share], *, as_json: bool) -> None:
    """Print the figures."""
    found = {name: medians(figures) for name, figures in rounds.items()}
    if as_json:
        rows = {
            name: {
                "cpu_us": one.cpu_us,
                "per_s": one.per_s,
                "share": shares[name].median,
                "range": [shares[name].low, shares[name].high],
                "rounds": [figures.cpu_us for figures in rounds[name]],
            }
            for name, one in found.items()
        }
        print(json.dumps(rows, indent=2))
        return
    print(f"{'traces':<10}{'CPU µs':>8}{'orders/s':>10}{'share':>9}{'range':>20}{'at most':>9}")
    for name, one in found.items():
        share = shares[name]
        within = f"{share.low:.2%} to {share.high:.2%}"
        cells = f"{one.cpu_us:>8,.0f}{one.per_s:>10,.0f}{share.median:>9.2%}{within:>20}{SHARES_MAX[name]:>9.1%}"
        print(f"{name:<10}{cells}")


if __name__ == "__main__":
    sys.exit(main())
