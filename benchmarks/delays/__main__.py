"""signalq's delays beside kombu's native delayed delivery (the ladder that Celery uses), in one run, on one broker.

    ./run bench-delays                   10,000 delays of 1 to 12 s each, and 10,000 of an hour parked
    ./run bench-delays --part lateness   only how late they are
    ./run bench-delays --part memory     only what parked orders cost

Both get the same delays at the same rate and take turns; lateness is from the due time to the first byte of the POST.
Absolute figures are this machine's, the ratios are what to quote, together with the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.delays import memory
from benchmarks.delays.course import Course
from benchmarks.delays.lateness import KOMBU, SIGNALQ, Lateness, from_asked, from_rounded, turn
from benchmarks.delays.memory import Memory
from benchmarks.delays.plan import Plan
from benchmarks.progress import progress
from signalq.local import PrivateRabbitMQ, ensure_installed

ORDERS = 10_000
# With room: two cores that have other work too sustain 150 a second; at 250 the lateness grows.
RATE_PER_S = 100.0
DELAY_S_MIN = 1.0
DELAY_S_MAX = 12.0
# The least of which a quarter still has a median, and 99 points between them a meaning.
ORDERS_MIN = 100


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="./run bench-delays", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--part", choices=["all", "lateness", "memory"], default="all", help="which part (default all)")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"delayed orders of each (default {ORDERS})")
    parser.add_argument(
        "--rate", type=float, default=RATE_PER_S, help=f"orders published per second (default {RATE_PER_S:g})"
    )
    parser.add_argument("--seed", type=int, default=1, help="the same delays again (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if chosen.orders < ORDERS_MIN or chosen.rate <= 0:
        parser.error(f"--orders must be at least {ORDERS_MIN}, and --rate above 0")
    return chosen


def main() -> None:
    """Run the parts and print their figures."""
    chosen = arguments()
    plan = Plan(chosen.orders, chosen.rate, DELAY_S_MIN, DELAY_S_MAX, chosen.seed)
    figures: dict[str, object] = {}
    with (
        PrivateRabbitMQ(ensure_installed(progress)) as broker,
        tempfile.TemporaryDirectory(prefix="signalq-bench-") as folder,
    ):
        if chosen.part != "memory":
            ours = asyncio.run(turn(SIGNALQ, broker.url, replace(plan, label="signalq "), Path(folder), progress))
            theirs = asyncio.run(turn(KOMBU, broker.url, replace(plan, label="kombu "), Path(folder), progress))
            figures["lateness"] = report_lateness(ours, theirs, quiet=chosen.json)
        if chosen.part != "lateness":
            costs = asyncio.run(memory.measure(broker.url, chosen.orders, Path(folder), progress))
            figures["memory"] = report_memory(costs, chosen.orders, quiet=chosen.json)
    if chosen.json:
        print(json.dumps(figures))


def report_lateness(ours: Course, theirs: Course, *, quiet: bool) -> dict[str, object]:
    """Print the table; return its figures."""
    signalq, asked, rounded = from_asked(ours), from_asked(theirs), from_rounded(theirs)
    ratio_asked, ratio_rounded = asked.p50_ms / signalq.p50_ms, rounded.p50_ms / signalq.p50_ms
    if not quiet:
        progress("")
        plan = ours.plan
        print(
            f"{plan.orders:,} delays of {plan.delay_s_min:g} to {plan.delay_s_max:g} s, seed {plan.seed}; published"
            f" per second: signalq {ours.published_per_s:.0f}, kombu {theirs.published_per_s:.0f}\n"
            f"{'late by, in ms':<32}{'p50':>9}{'p99':>9}{'max':>9}{'early':>8}{'lost':>8}{'p50 at the end':>17}"
        )
        _print_row("signalq", signalq)
        _print_row("kombu, from the asked time", asked)
        _print_row("kombu, from its rounded time", rounded)
        print(
            f"kombu / signalq at p50: {ratio_asked:.1f} from the asked time, {ratio_rounded:.1f} from its rounded time"
        )
    return {
        "plan": asdict(replace(ours.plan, label="")),
        "signalq": asdict(signalq) | {"published_per_s": ours.published_per_s},
        "kombu_from_asked": asdict(asked) | {"published_per_s": theirs.published_per_s},
        "kombu_from_rounded": asdict(rounded) | {"published_per_s": theirs.published_per_s},
        "p50_ratio_from_asked": ratio_asked,
        "p50_ratio_from_rounded": ratio_rounded,
    }


def _print_row(name: str, late: Lateness) -> None:
    print(
        f"{name:<32}{late.p50_ms:>9.1f}{late.p99_ms:>9.1f}{late.max_ms:>9.1f}{late.early:>8}{late.lost:>8}"
        f"{late.p50_at_end_ms:>17.1f}"
    )


def report_memory(costs: Memory, orders: int, *, quiet: bool) -> dict[str, object]:
    """Print what parked orders cost; return it."""
    growth_mb, ratio = costs.rss_with_mb - costs.rss_without_mb, costs.p99_with_ms / costs.p99_without_ms
    if not quiet:
        progress("")
        print(
            f"{orders:,} orders parked for {memory.PARKED_DELAY_S:g} s\n"
            f"memory of the consumer: {costs.rss_without_mb:.1f} MB before, {costs.rss_with_mb:.1f} MB after"
            f" ({growth_mb:+.1f} MB)\n"
            f"immediate orders, {memory.IMMEDIATE_PER_S:g} a second, without and beside the parked: p50"
            f" {costs.p50_without_ms:.1f} and {costs.p50_with_ms:.1f} ms, p99"
            f" {costs.p99_without_ms:.1f} and {costs.p99_with_ms:.1f} ms ({ratio:.2f} x)"
        )
    return asdict(costs) | {"orders": orders, "rss_growth_mb": growth_mb, "p99_ratio": ratio}


if __name__ == "__main__":
    main()
