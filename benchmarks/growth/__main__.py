"""What an order costs signalq as there is more of everything, each on a private broker and a ledger of its own.

    ./run bench-growth                                   all four, up to the largest size; about ten minutes
    ./run bench-growth --dimension waiting               one of them
    ./run bench-growth --largest 10000 --orders 1000     a short try
    ./run bench-growth --json --plot growth.svg          one JSON object, and a plot

dimensions:
    connectors   1 to 1,000, in the shared lane
    waiting      1,000 to 500,000 orders that wait when the consumer starts
    ledger       0 to 1,000,000 rows in the ledger (SQLite)
    delayed      0 to 10,000 delayed orders parked on the broker

Measured: CPU an order, orders a second, and the memory of the consumer, at each size over as many orders. Each order is
accounted for, as in ./run bench. Absolute figures are this machine's; what to look at is how flat the lines are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks import svg
from benchmarks.contender import Failed
from benchmarks.figures import Figures, medians
from benchmarks.growth.dimensions import DIMENSIONS
from benchmarks.progress import progress
from benchmarks.site import new_site

ORDERS, ORDERS_MIN = 4_000, 100
SHOWN = {"cpu_us": "CPU µs", "per_s": "orders/s", "rss_mb": "RSS MB"}

# By dimension and size.
Sizes = dict[str, dict[int, Figures]]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run bench-growth",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--dimension", action="append", choices=list(DIMENSIONS), metavar="NAME", help="this alone; may be repeated"
    )
    parser.add_argument("--largest", type=int, help="leave out the sizes above this one")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders measured at each size (default {ORDERS})")
    parser.add_argument("--rounds", type=int, default=1, help="rounds, of which the medians are shown (default 1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a plot, as SVG")
    chosen = parser.parse_args(given)
    if chosen.rounds < 1 or chosen.orders < ORDERS_MIN:
        parser.error(f"--rounds must be at least 1, and --orders {ORDERS_MIN}")
    if chosen.plot:
        chosen.plot.parent.mkdir(parents=True, exist_ok=True)
    return chosen


def main() -> int:
    """Measure each size, and print the figures."""
    chosen = arguments()
    found: Sizes = {}
    failure = None
    try:
        for name in chosen.dimension or DIMENSIONS:
            rounds = [dict(_measured(name, chosen.largest, chosen.orders)) for _ in range(chosen.rounds)]
            found[name] = {size: medians([one[size] for one in rounds]) for size in rounds[0]}
    except Failed as error:
        failure = error
    progress("")
    print(json.dumps(_told(found), indent=2) if chosen.json else table(found))
    if chosen.plot:
        chosen.plot.write_text(plot_of(found), encoding="utf-8")
    if failure:
        sys.stderr.write(f"{failure}\n")
    return 1 if failure else 0


def _measured(name: str, largest: int | None, orders: int) -> Iterator[tuple[int, Figures]]:
    """One round of a dimension, on a site of its own: each size with its figures."""
    dimension = DIMENSIONS[name]
    with new_site(postgres=False) as site:
        for size in dimension.sizes:
            if largest is None or size <= largest:
                progress(f"{name}: {size:,}")
                yield size, asyncio.run(dimension.measure(site, size, orders))


def _told(found: Sizes) -> dict[str, dict[int, dict[str, float]]]:
    return {name: {size: asdict(figures) for size, figures in sizes.items()} for name, sizes in found.items()}


def table(found: Sizes) -> str:
    """For a terminal: a table a dimension."""
    return "\n\n".join("\n".join(_lines(name, sizes)) for name, sizes in found.items())


def _lines(name: str, sizes: dict[int, Figures]) -> Iterator[str]:
    yield f"{DIMENSIONS[name].title:<20}" + "".join(f"{heading:>12}" for heading in SHOWN.values())
    for size, figures in sizes.items():
        yield f"{size:<20,}" + "".join(f"{getattr(figures, key):>12,.0f}" for key in SHOWN)


def plot_of(found: Sizes) -> str:
    """A row of panels a dimension, a panel a figure."""
    return svg.lines(
        [
            [
                svg.Lines(f"{DIMENSIONS[name].title}: {heading}", [(x, getattr(y, key)) for x, y in sizes.items()])
                for key, heading in SHOWN.items()
            ]
            for name, sizes in found.items()
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
