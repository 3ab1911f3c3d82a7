"""One browser and one world a worker, on one event loop; each test has a fresh profile of the browser.

What a test in here changes in the world, it changes in a corner of its own: orders of its own connector, or it puts the
switch back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.tour import Places, prepare
from tests.support import planted, prefixes
from tests.support.broker import Broker
from tests.support.chromium import chromium, find_chromium
from tests.support.desk import OPS_TOKEN, Desk, desk
from tests.support.person import LOOK_S, People, Person, met
from tests.support.profiling import spent
from tests.support.skipping import skip_outside_ci

expect.set_options(timeout=LOOK_S * 1000)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser. Skips (in CI: fails) where there is none."""
    path = find_chromium()
    if path is None:
        skip_outside_ci("there is no Chromium here: ./run setup installs it")
    async with chromium(path) as running:
        yield running


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def world(broker: Broker) -> AsyncIterator[Desk]:
    """The world, in which the usual orders have had their way."""
    prefix = await prefixes.lend(broker.url)
    async with desk(broker.url, prefix) as made:
        with spent("making the world of the browser"):
            await made.begin()
        yield made
    await prefixes.give_back(broker.url, prefix, [])


@pytest_asyncio.fixture(loop_scope="session")
async def people(browser: Browser, world: Desk) -> AsyncIterator[People]:
    """Meets people at the world's console, or at another `url`; without a name, nobody is signed in."""
    async with AsyncExitStack() as there:

        async def meet(name: str | None = "bob", *, token: str = OPS_TOKEN, url: str = "", **options: object) -> Person:
            return await there.enter_async_context(met(browser, url or world.url, name, token, **options))

        yield meet


@pytest_asyncio.fixture(loop_scope="session")
async def bob(people: People) -> Person:
    """A person who may act."""
    return await people()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def places(browser: Browser, world: Desk) -> Places:
    """One of each thing that has a page of its own; its person has a name as an attacker would choose it."""
    async with met(browser, world.url, planted.IMAGE, OPS_TOKEN) as person:
        return await prepare(person, world)


@pytest.fixture
def tasks_checked() -> None:
    """Here nothing is compared: the tasks of the browser and of the world go on, and end with these."""
