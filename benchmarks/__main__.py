"""signalq beside its peers, phase by phase, in one run.

    ./run bench                                     all phases, 3 rounds
    ./run bench --phase burst --rounds 5            one of them
    ./run bench --phase calm-100 --phase calm-500 --seconds 30
    ./run bench --contender signalq --contender naive --orders 1000 --rounds 1
    ./run bench --json --plot bench.svg             one JSON object, and a plot

phases:
    burst      orders as fast as the SDK publishes them, over 20 connectors
    backlog    orders that wait when the consumer starts, over 20 connectors
    calm-100   100 orders a second, over 20 connectors
    calm-500   500 orders a second, over 20 connectors
    one        50 orders a second, for one connector
    sdk        the SDK's publish, 256 at a time, beside aiormq's
    lines      signalq publish FILE beside a naive loop over the lines

contenders:
    signalq      the consumer as it is, its ledger in SQLite
    postgresql   the same with PostgreSQL (burst and backlog)
    naive        aio-pika and aiohttp in a loop, without any promise
    faststream   FastStream with pydantic and aiohttp
    node         amqplib and undici, bare

A round has a broker and ledgers of its own; in each phase the contenders take turns, each in a new process. The figures
are medians over the rounds, ratios are to naive. Each order is accounted for: the run ends with status 1 where a
contender loses an order, POSTs one twice or does not acknowledge it, or where signalq breaks the order of a connector.
Absolute figures are this machine's, the ratios are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contender import Failed
from benchmarks.contenders import CONTENDERS, SIGNALQ_POSTGRESQL, present
from benchmarks.load import Load
from benchmarks.phases import Delivery, deliveries
from benchmarks.plots import plot_of
from benchmarks.progress import progress
from benchmarks.publishing.phases import Lines, Sdk
from benchmarks.results import Results
from benchmarks.site import new_site

ROUNDS, ORDERS, SECONDS, LINES = 3, 4_000, 10.0, 20_000
# Of fewer, a p99 means nothing.
ORDERS_MIN, SECONDS_MIN = 100, 2.0
PHASES = ["burst", "backlog", "calm-100", "calm-500", "one", "sdk", "lines"]

Phase = Delivery | Sdk | Lines


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run bench", description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--phase", action="append", choices=PHASES, metavar="NAME", help="this phase alone; may be repeated"
    )
    parser.add_argument(
        "--contender", action="append", choices=list(CONTENDERS), metavar="NAME", help="these alone; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds (default {ROUNDS})")
    parser.add_argument(
        "--orders", type=int, default=ORDERS, help=f"orders in burst, backlog and sdk (default {ORDERS})"
    )
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"length of a phase with a rate (default {SECONDS:g})"
    )
    parser.add_argument("--lines", type=int, default=LINES, help=f"lines of the file in lines (default {LINES})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot, as SVG")
    chosen = parser.parse_args(given)
    if chosen.rounds < 1 or chosen.orders < ORDERS_MIN or chosen.lines < 1 or chosen.seconds < SECONDS_MIN:
        parser.error(f"--rounds and --lines must be at least 1, --orders {ORDERS_MIN}, and --seconds {SECONDS_MIN:g}")
    if chosen.plot:
        chosen.plot.parent.mkdir(parents=True, exist_ok=True)
    return chosen


def main() -> int:
    """Run the rounds, and print the figures."""
    chosen = arguments()
    names = present(chosen.contender or list(CONTENDERS))
    every: list[Phase] = [
        *deliveries(chosen.orders, chosen.seconds),
        Sdk(Load("sdk", chosen.orders)),
        Lines(Load("lines", chosen.lines)),
    ]
    phases = [phase for phase in every if phase.name in (chosen.phase or PHASES)]
    turns = [(phase, name) for phase in phases for name in names if name in phase.contenders]
    results = Results({phase.name: phase.title for phase in phases})
    failure = _measured(turns, chosen.rounds, results)
    progress("")
    print(json.dumps(results.told(), indent=2) if chosen.json else results.table())
    if chosen.plot:
        chosen.plot.write_text(plot_of(results), encoding="utf-8")
    if failure:
        sys.stderr.write(f"{failure}\n")
    return 1 if failure else 0


def _measured(turns: Sequence[tuple[Phase, str]], rounds: int, results: Results) -> Failed | None:
    """Take all turns in each round; the first failure ends it, and the results so far stay."""
    postgres = any(name == SIGNALQ_POSTGRESQL.name for _, name in turns)
    try:
        for number in range(1, rounds + 1):
            with new_site(postgres=postgres) as site:
                for phase, name in turns:
                    progress(f"round {number} of {rounds}: {phase.name}, {name}")
                    results.add(phase.name, name, asyncio.run(phase.run(name, site)))
    except Failed as failure:
        return failure
    return None


if __name__ == "__main__":
    sys.exit(main())
