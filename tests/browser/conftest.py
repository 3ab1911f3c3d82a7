"""One browser and one world a worker, on one event loop; each test has a fresh profile of the browser.

What a test in here changes in the world, it changes in a corner of its own: orders of its own connector, or it puts the
switch back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.support import prefixes
from tests.support.broker import Broker
from tests.support.chromium import chromium, find_chromium
from tests.support.desk import OPS_TOKEN, Desk, desk
from tests.support.person import Person, person_at
from tests.support.profiling import spent
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import PATIENCE_S

expect.set_options(timeout=PATIENCE_S * 1000)


class People(Protocol):
    """Makes a person at a console: the world's own, if no other `url` is given; signed in, if it has a name."""

    async def __call__(
        self, name: str | None = "bob", *, token: str = OPS_TOKEN, url: str = "", **options: object
    ) -> Person: ...


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser. Skips (in CI: fails) where there is none."""
    path = find_chromium()
    if path is None:
        skip_outside_ci("there is no Chromium here: ./run setup installs it")
    async with chromium(path) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
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
    """Makes people; at the end of the test none of them may have a complaint."""
    met: list[Person] = []

    async def meet(name: str | None = "bob", *, token: str = OPS_TOKEN, url: str = "", **options: object) -> Person:
        person = await person_at(browser, url or world.url, **options)
        met.append(person)
        if name is not None:
            await person.sign_in(name, token)
        return person

    yield meet
    for person in met:
        await person.context.close()
    for person in met:
        person.must_be_content()


@pytest_asyncio.fixture(loop_scope="session")
async def bob(people: People) -> Person:
    """A person who may act."""
    return await people()


@pytest.fixture
def tasks_checked() -> None:
    """Here nothing is compared: the tasks of the browser and of the world go on, and end with these."""
