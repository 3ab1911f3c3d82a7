"""What the console and its viewers cost the consumer: the same burst without them, and with them, in turns."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.console.running import console, environment, free_port
from benchmarks.console.viewers import TOKEN, viewers
from benchmarks.contenders import SQLITE, Contender
from benchmarks.figures import Figures, medians
from benchmarks.load import Load
from benchmarks.phases import WARM_UP_ORDERS
from benchmarks.progress import progress
from benchmarks.site import Site
from benchmarks.track import track

VIEWERS = 5
PREFIX = Contender("signalq", [], SQLITE).prefix
WITHOUT, OWN, MOUNTED = "without", "signalq console", "mounted"

# Given the address of the consumer's HTTP, whoever looks while the block runs.
Watching = Callable[[Site, str], AbstractAsyncContextManager[object]]


@dataclass(frozen=True, slots=True)
class Way:
    """Whether the consumer has the console mounted, and who looks on."""

    mounts: bool
    watching: Watching


@asynccontextmanager
async def _nobody(_site: Site, _url: str) -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def _in_a_process_of_its_own(site: Site, _url: str) -> AsyncIterator[None]:
    variables = environment(site.broker_url, PREFIX, site.folder)
    async with console(variables, site.folder) as url, viewers(url, VIEWERS):
        yield


@asynccontextmanager
async def _in_the_consumer(_site: Site, url: str) -> AsyncIterator[None]:
    async with viewers(url, VIEWERS):
        yield


WAYS: Mapping[str, Way] = {
    WITHOUT: Way(mounts=False, watching=_nobody),
    OWN: Way(mounts=False, watching=_in_a_process_of_its_own),
    MOUNTED: Way(mounts=True, watching=_in_the_consumer),
}


async def measure(site: Site, orders: int, rounds: int) -> dict[str, Figures]:
    """The medians over the rounds; in each of them the ways take turns, each with a new consumer."""
    found: dict[str, list[Figures]] = {name: [] for name in WAYS}
    for number in range(rounds):
        names = list(WAYS)
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            progress(f"cost, round {number + 1} of {rounds}: {name}")
            found[name].append(await _measured(site, WAYS[name], Load(f"{name} {number}", orders)))
    return {name: medians(figures) for name, figures in found.items()}


async def _measured(site: Site, way: Way, load: Load) -> Figures:
    port = free_port()
    contender = _contender(site.folder, port=port, mounts=way.mounts)
    async with track(contender, site) as on, on.running() as pid:
        await on.warm_up(WARM_UP_ORDERS)
        async with way.watching(site, f"http://127.0.0.1:{port}"):
            await on.warm_up(WARM_UP_ORDERS)
            return await on.burst(pid, load)


def _contender(folder: Path, *, port: int, mounts: bool) -> Contender:
    """The consumer, by its command, which alone knows of the console."""
    settings = folder / f"mounts-{mounts}.toml"
    settings.write_text(f'[ops]\ntoken = "{TOKEN}"\nconsole = {str(mounts).lower()}\n', encoding="utf-8")
    settings.chmod(0o600)
    # What is told to every contender has a port that is chosen when it starts.
    command = [sys.executable, "-m", "signalq", "--config", str(settings), "consume"]
    return Contender("signalq", ["env", f"SIGNALQ_OPS__PORT={port}", *command], SQLITE)
