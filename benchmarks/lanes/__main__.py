"""How little lanes disturb each other, and what many of them cost, on one private broker.

    ./run bench-lanes                      both parts, with 1,000 own lanes
    ./run bench-lanes --part isolation     a webhook that hangs, and the latency of the others
    ./run bench-lanes --part many          start, memory and idle CPU of many own lanes

Absolute figures are this machine's, the ratios are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from benchmarks.lanes.isolation import SHARED_CONNECTORS, Isolation, own_lanes, shared_lane
from benchmarks.lanes.many import Cost, cost
from benchmarks.progress import progress
from signalq.local import PrivateRabbitMQ, ensure_installed
from signalq.settings.sections import OWN_LANES_MAX

ORDERS = 1_000
# The least of which a p99 means something.
ORDERS_MIN = 100
LANES = 1_000


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="./run bench-lanes", description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--part", choices=["all", "isolation", "many"], default="all", help="which part (default all)")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders measured in each half (default {ORDERS})")
    parser.add_argument("--lanes", type=int, default=LANES, help=f"own lanes (default {LANES})")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args()
    if chosen.orders < ORDERS_MIN or not 1 <= chosen.lanes <= OWN_LANES_MAX:
        parser.error(f"--orders must be at least {ORDERS_MIN}, and --lanes from 1 to {OWN_LANES_MAX}")
    return chosen


def main() -> None:
    """Run the parts and print their figures."""
    chosen = arguments()
    figures: dict[str, object] = {}
    with (
        PrivateRabbitMQ(ensure_installed(progress)) as broker,
        tempfile.TemporaryDirectory(prefix="signalq-bench-") as name,
    ):
        folder = Path(name)
        if chosen.part != "many":
            own = asyncio.run(own_lanes(broker.url, chosen.orders, folder, progress))
            shared = asyncio.run(shared_lane(broker.url, chosen.orders, folder, progress))
            figures["own"], figures["shared"] = _told(own), _told(shared)
            if not chosen.json:
                report_isolation(own, shared)
        if chosen.part != "isolation":
            new = asyncio.run(cost(broker.url, chosen.lanes, folder, progress, "queues to be made"))
            again = asyncio.run(cost(broker.url, chosen.lanes, folder, progress, "queues there"))
            figures["many"] = {"lanes": chosen.lanes, "new": asdict(new), "again": asdict(again)}
            if not chosen.json:
                report_many(chosen.lanes, new, again)
    if chosen.json:
        print(json.dumps(figures))


def _told(found: Isolation) -> dict[str, object]:
    return asdict(found) | {"p99_ratio": found.p99_ratio}


def report_isolation(own: Isolation, shared: Isolation) -> None:
    """Print the table."""
    progress("")
    print(
        f"{'latency of the others, in ms':<34}{'p50':>8}{'p99':>8}{'p50 beside':>12}{'p99 beside':>12}{'p99 ratio':>11}"
    )
    for name, found in (
        ("own lanes, one of two hangs", own),
        (f"shared lane, one beside {SHARED_CONNECTORS} hangs", shared),
    ):
        healthy, hanging = found.healthy, found.beside_hanging
        print(
            f"{name:<34}{healthy.p50_ms:>8.1f}{healthy.p99_ms:>8.1f}{hanging.p50_ms:>12.1f}{hanging.p99_ms:>12.1f}"
            f"{found.p99_ratio:>11.2f}"
        )


def report_many(lanes: int, new: Cost, again: Cost) -> None:
    """Print the table."""
    progress("")
    print(f"{f'{lanes:,} own lanes':<34}{'ready, s':>10}{'RSS, MB':>10}{'idle CPU, % of a core':>24}")
    for name, found in (("queues to be made", new), ("queues there before", again)):
        print(f"{name:<34}{found.ready_after_s:>10.1f}{found.rss_mb:>10.1f}{found.idle_cpu_percent:>24.2f}")


if __name__ == "__main__":
    main()
