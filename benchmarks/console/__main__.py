"""How fast the console's pages are over a large ledger, what they cost the consumer, and what they ask the broker.

    ./run bench-console                              all three, about fifteen minutes
    ./run bench-console --part cost --rounds 5       one of them
    ./run bench-console --orders 20000 --letters 1000 --lanes 100 --rounds 1        a short try
    ./run bench-console --json                       one JSON object

parts:
    pages   each page 200 times over 700,000 orders and 10,000 letters, on SQLite and on PostgreSQL: at most 200 ms for
            95 of 100
    cost    a burst of orders without a console; with `signalq console` and five viewers; and with the console in the
            consumer, and five viewers: at least 0.97 of the orders a second
    lanes   five viewers on 1,900 lanes: at most 50 questions a second to the broker

Each order of `cost` is accounted for. The run ends with status 1 where one is lost or repeated, or a bound is missed.
Absolute figures are this machine's, the ratios are what to quote.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from benchmarks.console import cost, many_lanes, pages, past
from benchmarks.console.running import console, environment
from benchmarks.contender import Failed
from benchmarks.contenders import POSTGRESQL, SIGNALQ, SIGNALQ_POSTGRESQL, Contender, present
from benchmarks.figures import Figures, ratios
from benchmarks.progress import progress
from benchmarks.site import Site, new_site
from benchmarks.track import track
from signalq.settings.sections import OWN_LANES_MAX

PARTS = ["pages", "cost", "lanes"]
ORDERS, LETTERS, REQUESTS = 700_000, 10_000, 200
ROUNDS, BURST, LANES, SECONDS = 5, 10_000, OWN_LANES_MAX, 60.0
# Of fewer, a p95 means nothing.
REQUESTS_MIN = 20
PAGE_MS_MAX, THROUGHPUT_MIN, QUESTIONS_PER_S_MAX = 200.0, 0.97, 50.0
CONNECTORS = [f"connector-{number}" for number in range(20)]


@dataclass
class Found:
    """The figures of the parts that were measured."""

    pages: dict[str, dict[str, pages.Answers]] = field(default_factory=dict)
    cost: dict[str, Figures] = field(default_factory=dict)
    lanes: many_lanes.Asked | None = None

    @property
    def throughput(self) -> Mapping[str, float]:
        """Orders a second beside those without a console."""
        without = self.cost.get(cost.WITHOUT)
        if without is None:
            return {}
        return {name: ratios(one, without)["per_s"] for name, one in self.cost.items() if one is not without}

    @property
    def missed(self) -> list[str]:
        """The bounds that were missed, a sentence each."""
        slow = [
            f"{name} takes {one.p95_ms:.0f} ms on {ledger}, of which {PAGE_MS_MAX:g} are allowed"
            for ledger, found in self.pages.items()
            for name, one in found.items()
            if one.p95_ms > PAGE_MS_MAX
        ]
        dear = [
            f"with the console ({name}) the consumer has {ratio:.3f} of its throughput, and {THROUGHPUT_MIN} are due"
            for name, ratio in self.throughput.items()
            if ratio < THROUGHPUT_MIN
        ]
        curious = []
        if self.lanes is not None and self.lanes.depths_per_s > QUESTIONS_PER_S_MAX:
            curious = [f"the console asks {self.lanes.depths_per_s:.0f} times a second, not {QUESTIONS_PER_S_MAX:g}"]
        return [*slow, *dear, *curious]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run bench-console",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", action="append", choices=PARTS, help="this alone; may be repeated")
    parser.add_argument("--orders", type=int, default=ORDERS, help=f"orders in the ledger (default {ORDERS:,})")
    parser.add_argument("--letters", type=int, default=LETTERS, help=f"dead letters among them (default {LETTERS:,})")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"requests of a page (default {REQUESTS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of bursts (default {ROUNDS})")
    parser.add_argument("--burst", type=int, default=BURST, help=f"orders of a burst (default {BURST:,})")
    parser.add_argument("--lanes", type=int, default=LANES, help=f"lanes (default {LANES:,})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of the lanes (default {SECONDS:g})")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    chosen = parser.parse_args(given)
    if chosen.requests < REQUESTS_MIN or chosen.rounds < 1 or not 1 <= chosen.lanes <= OWN_LANES_MAX:
        parser.error(f"--requests must be at least {REQUESTS_MIN}, --rounds 1, and --lanes from 1 to {OWN_LANES_MAX:,}")
    if not 0 < chosen.letters <= chosen.orders or chosen.burst < 1 or chosen.seconds <= 0:
        parser.error("--letters must be some of --orders, and --burst and --seconds more than 0")
    return chosen


def main() -> int:
    """Measure, and print the figures."""
    chosen = arguments()
    found = Found()
    failure = None
    try:
        _measure(chosen, found)
    except Failed as error:
        failure = error
    progress("")
    print(json.dumps(_told(found), indent=2) if chosen.json else "\n".join(_lines(found)))
    for sentence in [*found.missed, *([str(failure)] if failure else [])]:
        sys.stderr.write(f"{sentence}\n")
    return 1 if failure or found.missed else 0


def _measure(chosen: argparse.Namespace, found: Found) -> None:
    parts = chosen.part or PARTS
    if "pages" in parts:
        contenders = [SIGNALQ, *([SIGNALQ_POSTGRESQL] if present([SIGNALQ_POSTGRESQL.name]) else [])]
        with new_site(postgres=SIGNALQ_POSTGRESQL in contenders) as site:
            for contender in contenders:
                found.pages[str(contender.ledger)] = asyncio.run(_pages(site, contender, chosen))
    if "cost" in parts:
        with new_site(postgres=False) as site:
            found.cost = asyncio.run(cost.measure(site, chosen.burst, chosen.rounds))
    if "lanes" in parts:
        with new_site(postgres=False) as site:
            found.lanes = asyncio.run(many_lanes.measure(site, chosen.lanes, chosen.seconds))


async def _pages(site: Site, contender: Contender, chosen: argparse.Namespace) -> dict[str, pages.Answers]:
    """The pages over a past of its own, beside a consumer that has nothing to do."""
    url = site.ledger_urls.get(POSTGRESQL) if contender.ledger == POSTGRESQL else None
    variables = environment(site.broker_url, contender.prefix, site.folder, url)
    async with track(contender, site) as on, on.running():
        pass  # it has made the ledger
    # No connection waits meanwhile: to write so much stops this process for longer than the broker does without a sign.
    progress(f"{contender.ledger}: writing {chosen.orders:,} orders")
    made = past.Past(chosen.orders, chosen.letters, CONNECTORS, past.now_ms())
    await past.write(variables["SIGNALQ_LEDGER__URL"], made)
    async with track(contender, site) as on, on.running(), console(variables, site.folder) as address:
        return await pages.measure(address, CONNECTORS[0], chosen.requests)


def _told(found: Found) -> dict[str, object]:
    return asdict(found) | {"throughput": found.throughput, "missed": found.missed}


def _lines(found: Found) -> Iterator[str]:
    for ledger, times in found.pages.items():
        yield f"{f'pages, {ledger}, in ms':<34}{'p50':>10}{'p95':>10}{'max':>10}"
        for name, one in times.items():
            yield f"{name:<34}{one.p50_ms:>10.1f}{one.p95_ms:>10.1f}{one.most_ms:>10.1f}"
        yield ""
    if found.cost:
        yield f"{'the consumer':<34}{'orders/s':>10}{'ratio':>10}{'CPU µs':>10}"
        for name, figures in found.cost.items():
            ratio = f"{found.throughput[name]:.3f}" if name in found.throughput else ""
            yield f"{name:<34}{figures.per_s:>10,.0f}{ratio:>10}{figures.cpu_us:>10,.0f}"
        yield ""
    if found.lanes is not None:
        yield f"{'many lanes, a second':<34}{'depths':>10}{'methods':>10}{'refreshes':>10}{'p95, ms':>10}"
        asked = found.lanes
        yield (
            f"{f'{many_lanes.VIEWERS} viewers':<34}{asked.depths_per_s:>10.1f}{asked.methods_per_s:>10.1f}"
            f"{asked.refreshes_per_s:>10.1f}{asked.overview.p95_ms:>10.1f}"
        )


if __name__ == "__main__":
    sys.exit(main())
