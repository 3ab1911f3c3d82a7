"""A transaction on PostgreSQL: how often it goes to the server and back, and what is known where it is lost."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from yarl import URL

from signalq.consumer.ledger import Fenced, LedgerEntry
from signalq.consumer.ledger.database import Database, database_at, insert_new
from signalq.consumer.ledger.queries.look import look
from signalq.consumer.ledger.tables import lanes
from signalq.local import PrivatePostgres
from tests.integration.ledger.test_batches import LANE, claimed, delivered, new_orders
from tests.support.orders import unknown
from tests.support.postgres import connected
from tests.support.postgres_proxies import CountsTrips, CutsOnce, LosesTheAnswerToACommit
from tests.support.stores import Store
from tests.support.waiting import elapsed, wait_until

WAIT_FOR_LOCKS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_a_batch_is_begin_and_one_look_and_a_statement_for_each_kind_of_row_and_commit(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack
) -> None:
    """Whatever the number of orders; signs of life come between now and then, and so the fewest of a few count."""
    trips: dict[str, list[int]] = {"claims": [], "outcomes": [], "both": []}
    async with CountsTrips(postgres.port) as proxy:
        store = Store(str(URL(postgres_url).with_port(proxy.port)), stack)
        ledger = await store.ledger()
        epoch = await ledger.open_lane(LANE)

        def count(what: str) -> None:
            trips[what].append(proxy.trips)
            proxy.trips = 0

        for _ in range(6):
            proxy.trips = 0
            claims = await claimed(ledger, epoch, new_orders(3))
            count("claims")
            await asyncio.gather(*(delivered(ledger, one) for one in claims))
            count("outcomes")
            claims = await claimed(ledger, epoch, new_orders(3))
            proxy.trips = 0
            (last,) = new_orders(1)
            outcomes = [delivered(ledger, one) for one in claims]
            assert isinstance(await ledger.claim(last, unknown(last).claimed(1), epoch), LedgerEntry)
            assert all(one.done() for one in outcomes)
            count("both")
        await store.close(ledger)
    assert {what: min(counts) for what, counts in trips.items()} == {"claims": 4, "outcomes": 5, "both": 6}


async def test_a_claim_that_waited_for_a_new_consumer_of_its_lane_is_fenced_off(
    postgres_url: str, stack: AsyncExitStack
) -> None:
    """The look began before that one was known; what it finds is what holds once it has the lane's row."""
    strangers = Store(postgres_url, stack)
    ledger = await strangers.ledger()
    epoch = await ledger.open_lane(LANE)
    (met,) = new_orders(1)
    taking = await connected(postgres_url)
    stack.push_async_callback(taking.close)

    async def waits() -> bool:
        return await strangers.rows(WAIT_FOR_LOCKS) == [(1,)]

    async with taking.transaction():
        await taking.execute("SELECT * FROM lanes FOR UPDATE")
        await taking.execute("UPDATE lanes SET epoch = epoch + 1")
        claim = asyncio.ensure_future(ledger.claim(met, unknown(met).claimed(1), epoch))
        await wait_until(waits)
    with pytest.raises(Fenced):
        await claim
    assert await strangers.rows("SELECT count(*) FROM intents") == [(0,)]


class Work:
    """A work that writes a row each time it runs."""

    def __init__(self, *, looks: bool) -> None:
        self.ran = 0
        self._looks = looks

    def __call__(self, connection: Connection) -> int:
        if self._looks:
            look(connection, [LANE])
        self.ran += 1
        insert_new(connection, lanes, {"lane": f"lane {self.ran}", "epoch": 0, "owner": "me", "alive_ms": 1})
        return self.ran


def undone(connection: Connection) -> None:
    """A work that changes something, and fails."""
    look(connection, [LANE])
    insert_new(connection, lanes, {"lane": "undone", "epoch": 0, "owner": "me", "alive_ms": 1})
    raise LookupError


async def until_done(database: Database, work: Work) -> int:
    """Try until it succeeds, as a consumer does."""
    while True:
        with suppress(DBAPIError, OSError):
            return await database.transact(work)
        await elapsed(0.01)


@pytest.mark.parametrize("looks", [True, False], ids=["looks", "looks not"])
@pytest.mark.parametrize("arrives", [True, False], ids=["arrives", "arrives not"])
async def test_a_work_whose_commit_was_not_answered_runs_again_only_where_that_never_arrived(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack, *, arrives: bool, looks: bool
) -> None:
    """The number by which it asks what became of it is its own, also after a work that was undone."""
    strangers = Store(postgres_url, stack)
    await strangers.close(await strangers.ledger())
    work = Work(looks=looks)
    loses, cuts = LosesTheAnswerToACommit(postgres.port), CutsOnce(postgres.port, b"COMMIT", armed=False)
    async with loses if arrives else cuts as proxy:
        database = database_at(str(URL(postgres_url).with_port(proxy.port)), create=False)
        with pytest.raises(LookupError):
            await database.transact(undone)
        proxy.armed = True
        assert await until_done(database, work) == (1 if arrives else 2)
        assert (loses.lost, cuts.has_cut) == (arrives, not arrives)
        await database.close()
    assert work.ran == (1 if arrives else 2)
    assert await strangers.rows("SELECT lane FROM lanes") == [(f"lane {work.ran}",)]
