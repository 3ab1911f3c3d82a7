"""A page that is open while what stands behind it is killed, and comes back: it says so, and goes on by itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import expect

from signalq.local import PrivatePostgres, PrivateRabbitMQ
from tests.support import prefixes
from tests.support.broker import written_down
from tests.support.desk import SETTINGS, Desk, desk, main_order
from tests.support.person import People, Person
from tests.support.postgres import fresh_database

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

# Of the streams and answers that the end of a server cuts.
CUT = "net::ERR_|status of 503"


@asynccontextmanager
async def mortal(broker: PrivateRabbitMQ, postgres: PrivatePostgres) -> AsyncIterator[Desk]:
    """A world whose broker and ledger may be killed."""
    prefix = await prefixes.lend(broker.url)
    async with (
        fresh_database(postgres) as url,
        desk(broker.url, prefix, settings={**SETTINGS, "ledger.url": url}) as world,
    ):
        yield world


async def test_the_broker_and_the_ledger_are_killed_under_an_open_page(
    people: People, mortal_broker: PrivateRabbitMQ, mortal_postgres: PrivatePostgres
) -> None:
    """One after the other; an order that is published after each is delivered, and told on the page."""
    async with mortal(mortal_broker, mortal_postgres) as world:
        alice = await people("alice", url=world.url)
        alice.expects(CUT)
        await alice.open("/orders")
        head = alice.page.locator("#head")
        await is_told(alice, world, "co-before")
        await written_down(mortal_broker, world.names.dead, world.names.orders)
        await asyncio.to_thread(mortal_broker.kill)
        await expect(head).to_contain_text("away since")
        await asyncio.to_thread(mortal_broker.start)
        await expect(head).not_to_contain_text("away since")
        await is_told(alice, world, "co-broker")
        await asyncio.to_thread(mortal_postgres.kill)
        await expect(head).to_contain_text("The ledger can't be read")
        await asyncio.to_thread(mortal_postgres.start)
        await expect(head).not_to_contain_text("can't be read")
        await is_told(alice, world, "co-ledger")
        await alice.must_be_in_order("a page whose broker and ledger were killed")
        await alice.page.goto("about:blank")


async def is_told(person: Person, world: Desk, client_order_id: str) -> None:
    """Publish an order: it is delivered, and its row comes by itself."""
    await world.publish(main_order(client_order_id=client_order_id))
    row = person.page.get_by_role("main").get_by_role("row").filter(has_text=client_order_id)
    await expect(row).to_contain_text("delivered")


async def test_a_consumer_is_killed_under_an_open_page(bob: Person, world: Desk) -> None:
    """It is named as silent, and the other one goes on."""
    second = world.new_consumer()
    second.start()
    try:
        await second.started()
        await bob.open("/")
        row = bob.page.locator("#consumers").get_by_role("row").filter(has_text=f"{socket.gethostname()}:{second.pid}")
        await expect(row).to_contain_text("✓")
        second.kill()
        await expect(row).to_contain_text("silent")
        await expect(bob.page.locator("#attention")).to_contain_text(str(second.pid))
        await bob.must_be_in_order("a consumer was killed")
        await world.order(main_order())
        await expect(bob.page.locator("#head")).to_contain_text("1 consumer")
    finally:
        second.close()
