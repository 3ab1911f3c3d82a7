"""What the console asks the broker while people look at very many lanes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from benchmarks.console.pages import Answers, spread, took_ms
from benchmarks.console.questions import DECLARE, Relay
from benchmarks.console.running import console, environment
from benchmarks.console.viewers import signed_in, viewers
from benchmarks.endpoint import Endpoint
from benchmarks.lanes.running import running
from benchmarks.progress import progress
from benchmarks.site import Site

VIEWERS = 5
PREFIX = "bench-console-lanes"
SETTLE_S = 5.0
# Of the requests whose time is taken meanwhile.
EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Asked:
    """Over so many seconds: the depths that were asked for and all methods, a second; how often a viewer's regions were
    fetched a second; and the time of the overview.
    """

    depths_per_s: float
    methods_per_s: float
    refreshes_per_s: float
    overview: Answers


async def measure(site: Site, lanes: int, seconds: float) -> Asked:
    """Start a consumer with so many lanes of its own, and a console with VIEWERS; then count."""
    endpoint = Endpoint()
    names = [f"c{number}" for number in range(lanes)]
    progress(f"{lanes:,} lanes: starting the consumer")
    async with (
        running(site.broker_url, PREFIX, await endpoint.start(), names, site.folder),
        Relay(site.broker_url) as relay,
    ):
        variables = environment(site.broker_url, PREFIX, site.folder)
        variables |= {"SIGNALQ_CONFIG": str(site.folder / f"{PREFIX}.toml"), "SIGNALQ_CONSOLE__BROKER_URL": relay.url}
        async with console(variables, site.folder) as url, viewers(url, VIEWERS) as people:
            await asyncio.sleep(SETTLE_S)
            progress(f"{lanes:,} lanes: {VIEWERS} people look for {seconds:g} s")
            before, refreshes = relay.asked.copy(), sum(one.refreshes for one in people)
            overview = await _looked(url, seconds)
            asked = relay.asked - before
            refreshes = sum(one.refreshes for one in people) - refreshes
    await endpoint.stop()
    return Asked(asked[DECLARE] / seconds, asked.total() / seconds, refreshes / seconds, overview)


async def _looked(url: str, seconds: float) -> Answers:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + seconds
    took = []
    async with signed_in(url) as session:
        while loop.time() < until_s:
            took.append(await took_ms(session, f"{url}/"))
            await asyncio.sleep(EVERY_S)
    return spread(took)
