"""Alerts to `signalq gateway` at a steady rate, beside a naive gateway, on one private broker.

    ./run bench-gateway                   both parts: 200 alerts a second for 30 s, of each gateway
    ./run bench-gateway --part load       latency from the intended time of sending to the answer
    ./run bench-gateway --part kill       the broker is killed and started in the middle; repeats as TradingView sends
    ./run bench-gateway --rate 50 --seconds 5 --json

Ends with status 1 where signalq's gateway broke a promise: an error under the steady load, an `ok` that is not in the
queue, an alert that became two orders, an answer later than 3 s. Absolute figures are this machine's, the ratios are
what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.gateway.parts import Kill, Load, kill, load
from benchmarks.gateway.running import MODULES, declared
from benchmarks.progress import progress
from signalq.local import PrivateRabbitMQ, ensure_installed
from signalq.names import Names

RATE_PER_S = 200.0
SECONDS = 30.0
# A kill takes a few seconds to be over, and RabbitMQ some to write a new queue's name down.
KILL_SECONDS_MIN = 12.0
OURS, PEER = MODULES


def arguments() -> argparse.Namespace:
    """What was asked for."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run bench-gateway",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=["all", "load", "kill"], default="all", help="which part (default all)")
    parser.add_argument("--rate", type=float, default=RATE_PER_S, help=f"alerts a second (default {RATE_PER_S:g})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"for so long (default {SECONDS:g})")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if chosen.rate <= 0 or chosen.rate * chosen.seconds < 100:
        parser.error("--rate times --seconds must be at least 100 alerts: a p99 of fewer means nothing")
    if chosen.part != "load" and chosen.seconds < KILL_SECONDS_MIN:
        parser.error(f"--seconds must be at least {KILL_SECONDS_MIN:g} for the part in which the broker dies")
    return chosen


def main() -> int:
    """Run the parts and print their figures."""
    chosen = arguments()
    installation = ensure_installed(progress)
    loads: dict[str, Load] = {}
    kills: dict[str, Kill] = {}
    if chosen.part != "kill":
        with PrivateRabbitMQ(installation) as broker, tempfile.TemporaryDirectory(prefix="signalq-bench-") as folder:
            queues = {kind: Names(f"load-{number}") for number, kind in enumerate(MODULES)}
            asyncio.run(declared(broker.url, *queues.values()))
            for kind, names in queues.items():
                work = load(kind, broker.url, names, chosen.rate, chosen.seconds, Path(folder), progress)
                loads[kind] = asyncio.run(work)
    if chosen.part != "load":
        for number, kind in enumerate(MODULES):
            with PrivateRabbitMQ(installation) as broker:
                work_ = kill(kind, broker, Names(f"kill-{number}"), chosen.rate, chosen.seconds, progress)
                kills[kind] = asyncio.run(work_)
    progress("")
    faults = [fault for found in (loads, kills) if found for fault in found[OURS].faults]
    if chosen.json:
        print(json.dumps(_told(loads, kills, faults)))
    else:
        report(loads, kills)
    for fault in faults:
        sys.stderr.write(f"{OURS}: {fault}\n")
    return 1 if faults else 0


def _told(loads: dict[str, Load], kills: dict[str, Kill], faults: list[str]) -> dict[str, object]:
    return {
        "load": {kind: asdict(found) for kind, found in loads.items()},
        "p99_ratio": loads[OURS].p99_ms / loads[PEER].p99_ms if loads else None,
        "kill": {kind: asdict(found) for kind, found in kills.items()},
        "faults": faults,
    }


def report(loads: dict[str, Load], kills: dict[str, Kill]) -> None:
    """Print the tables."""
    if loads:
        print(f"{'steady load':<28}{'ok':>8}{'messages':>10}{'errors':>8}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}")
        for kind, one in loads.items():
            errors = sum(one.errors.values())
            print(
                f"{kind:<28}{one.ok:>8,}{one.messages:>10,}{errors:>8,}"
                f"{one.p50_ms:>9.1f}{one.p99_ms:>9.1f}{one.max_ms:>9.1f}"
            )
        ours, peer = loads[OURS], loads[PEER]
        print(f"{'ratio':<28}{'':>26}{ours.p50_ms / peer.p50_ms:>9.2f}{ours.p99_ms / peer.p99_ms:>9.2f}")
    if kills:
        print(
            f"{'the broker dies':<28}{'ok':>8}{'lost':>10}{'twice':>8}{'repeats':>9}{'given up':>9}"
            f"{'slowest s':>11}  errors"
        )
        for kind, found in kills.items():
            errors_ = ", ".join(f"{count:,} x {error}" for error, count in found.errors.items()) or "none"
            print(
                f"{kind:<28}{found.ok:>8,}{found.lost:>10,}{found.twice:>8,}{found.repeats:>9,}{found.given_up:>9,}"
                f"{found.slowest_s:>11.2f}  {errors_}"
            )


if __name__ == "__main__":
    sys.exit(main())
