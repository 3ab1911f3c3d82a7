"""The ledger's side of a replay: on SQLite and on PostgreSQL, both real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from sqlalchemy import Connection, select, text

from signalq.consumer.ledger import Conflict, client
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.consumer.ledger.database import clock_ms, database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries.events import DISCARDED, REPLAYED
from signalq.consumer.ledger.queries.replays import Standing, admit, begin, find, note_discarded, renew, take_back
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.decisions import Deliver, Park
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.rules import before
from signalq.consumer.orders.state import IntentState
from signalq.errors import SettingsError
from tests.support.graveyard import Dead, dead, record
from tests.support.orders import body, new_id, order
from tests.support.postgres import fresh_database
from tests.support.stores import ledger_at

LANE = "signalq.orders"
BY = "by a test"

T = TypeVar("T")


@dataclass
class Desk:
    """A ledger with a consumer on it, and a command that visits it."""

    url: str
    ledger: Ledger
    visit: LedgerClient

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run one of the functions of replays.py, with the ledger's clock."""
        return await self.visit.transact(lambda connection: work(connection, clock_ms(connection), *arguments))

    async def find(self, one: Order) -> Standing:
        """How it stands."""
        found = await self.visit.transact(lambda connection: find(connection, one.strategy, one.intent_id))
        assert found is not None
        return found

    async def steps(self) -> list[tuple[str, int, str | None]]:
        """What the commands noted: what, generation, by whom."""

        def ask(connection: Connection) -> list[tuple[str, int, str | None]]:
            asked = select(events.c.what, events.c.generation, events.c.detail).order_by(events.c.number)
            asked = asked.where(events.c.what.in_([REPLAYED, DISCARDED]))
            return [(row.what, row.generation, row.detail) for row in connection.execute(asked)]

        return await self.visit.transact(ask)


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """A fresh ledger of each kind."""
    async with AsyncExitStack() as stack:
        url = f"sqlite+aiosqlite:///{tmp_path}/{new_id()}.db"
        if request.param == "postgresql":
            url = await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres")))
        ledger = ledger_at(url)
        await stack.enter_async_context(ledger)
        yield Desk(url, ledger, await stack.enter_async_context(LedgerClient(url)))


def again(one: Dead, **given: Any) -> Order:
    """The message that a replay publishes, as the consumer reads it."""
    return order(one.content, message_id=one.order.intent_id, headers={"signalq-intent-id": "x"}, **given)


async def test_the_next_generation_begins_anew_and_the_consumer_recalls_it(desk: Desk) -> None:
    await record(desk.url, [one := dead(1, reason="outcome-unknown", created_ms=1_000_000_000_000)])
    assert await desk.do(begin, await desk.find(one.order), BY)
    epoch = await desk.ledger.open_lane(LANE)
    known = await desk.ledger.recall(again(one, created_ms=1_000_000_000_000), epoch)
    state = known.state
    assert state.replayed_ms is not None
    assert state == IntentState(
        one.order.intent_id, one.order.identity.digest, generation=2, version=3, replayed_ms=state.replayed_ms
    )
    assert abs(state.replayed_ms - time.time_ns() // 1_000_000) < 60_000
    assert known.order.timing.age_from_ms == state.replayed_ms
    assert known.order.timing.creation.age_ms == 1_000_000_000_000
    assert before(known.order, state, state.replayed_ms) == Deliver()
    assert (await desk.find(one.order)).ended_ms is None
    assert await desk.steps() == [("replayed", 2, BY)]


async def test_the_first_of_two_replays_or_of_a_replay_and_a_consumer_is_right(desk: Desk) -> None:
    await record(desk.url, [one := dead(1)])
    as_found = await desk.find(one.order)
    assert await desk.do(begin, as_found, BY)
    assert not await desk.do(begin, as_found, BY)
    begun = await desk.find(one.order)
    epoch = await desk.ledger.open_lane(LANE)
    known = await desk.ledger.recall(again(one), epoch)
    assert await desk.do(renew, begun), "a second run goes on"
    with pytest.raises(Conflict):
        await desk.ledger.claim(known.order, known.state.claimed(1), epoch)
    known = await desk.ledger.recall(again(one), epoch)
    await desk.ledger.claim(known.order, known.state.claimed(1), epoch)
    taken_up = await desk.find(one.order)
    assert not await desk.do(renew, replace(begun, version=begun.version + 1))
    assert not await desk.do(take_back, taken_up, "rejected", BY)
    assert (await desk.find(one.order)).status == "sending"
    assert await desk.steps() == [("replayed", 2, BY)]


async def test_a_replay_that_is_renewed_counts_its_deadline_from_then(desk: Desk) -> None:
    await record(desk.url, [one := dead(1)])
    await desk.do(begin, await desk.find(one.order), BY)
    await desk.visit.transact(lambda connection: connection.execute(text("UPDATE intents SET replayed_ms = 1")))
    assert await desk.do(renew, await desk.find(one.order))
    assert ((await desk.find(one.order)).replayed_ms or 0) > 1_000_000
    assert await desk.steps() == [("replayed", 2, BY)], "it is one replay"


async def test_a_replay_taken_back_is_dead_and_its_message_is_dropped(desk: Desk) -> None:
    await record(desk.url, [one := dead(1)])
    await desk.do(begin, await desk.find(one.order), BY)
    assert await desk.do(take_back, await desk.find(one.order), "rejected", BY)
    known = await desk.ledger.recall(again(one), await desk.ledger.open_lane(LANE))
    assert (known.state.status, known.state.reason, known.state.generation) == ("dead", "rejected", 2)
    assert (await desk.find(one.order)).ended_ms is not None
    assert await desk.steps() == [("replayed", 2, BY), ("discarded", 2, BY)]


async def test_an_intent_that_the_ledger_does_not_know_is_admitted_as_if_it_had_been_dead(desk: Desk) -> None:
    one = dead(1, created_ms=1_000_000_000_000, delaySeconds=60)
    assert await desk.do(admit, one.order, 3, BY)
    assert not await desk.do(admit, one.order, 3, BY), "somebody was quicker"
    known = await desk.ledger.recall(again(one, created_ms=1_000_000_000_000), await desk.ledger.open_lane(LANE))
    assert (known.state.generation, known.state.status) == (4, "received")
    assert known.order.timing.due_ms is None
    assert known.order.timing.age_from_ms == known.state.replayed_ms
    assert await desk.steps() == [("replayed", 4, BY)]


async def test_a_delay_that_is_over_is_not_served_again_and_one_that_is_not_is_kept(desk: Desk) -> None:
    now_ms = time.time_ns() // 1_000_000
    over, ahead = dead(1, created_ms=now_ms, delaySeconds=0.001), dead(2, created_ms=now_ms, delaySeconds=3600)
    await record(desk.url, [over, ahead])
    epoch = await desk.ledger.open_lane(LANE)
    for one in (over, ahead):
        assert await desk.do(begin, await desk.find(one.order), BY)
    received_ms = now_ms + 60_000
    known = await desk.ledger.recall(again(over, created_ms=now_ms, received_ms=received_ms), epoch)
    assert (known.order.timing.due_ms, (await desk.find(over.order)).due_ms) == (None, None)
    known = await desk.ledger.recall(again(ahead, created_ms=now_ms, received_ms=received_ms), epoch)
    due_ms = now_ms + 3_600_000
    assert before(known.order, known.state, received_ms) == Park(due_ms)
    assert (known.order.timing.age_from_ms, (await desk.find(ahead.order)).due_ms) == (due_ms, due_ms)


async def test_an_undated_message_that_seems_to_have_come_early_goes_round_by_the_ladder_and_takes_its_turn(
    desk: Desk,
) -> None:
    """It says nothing of its creation: read anew, its delay begins anew, and so it has no turn in its lane."""
    long_ago_ms = time.time_ns() // 1_000_000 - 60_000
    one = dead(1, delaySeconds=30)
    one = replace(one, order=order(one.content, message_id="id-1", received_ms=long_ago_ms))
    await record(desk.url, [one])
    await desk.do(begin, await desk.find(one.order), BY)
    epoch = await desk.ledger.open_lane(LANE)
    known = await desk.ledger.recall(again(one), epoch)
    assert known.order.timing.came_early
    assert before(known.order, known.state, long_ago_ms + 61_000) == Park(long_ago_ms + 30_000)
    is_own_copy = await desk.ledger.recall(again(one, created_ms=known.order.timing.creation.delay_ms), epoch)
    assert is_own_copy.order.timing.due_ms is None
    assert before(is_own_copy.order, is_own_copy.state, is_own_copy.order.timing.age_from_ms) == Deliver()


async def test_an_intent_without_an_id_is_replayed_under_its_given_id_and_no_other_intent_is_taken_for_it(
    desk: Desk,
) -> None:
    content = body(log="alike")
    one = Dead(order(content), content)
    await record(desk.url, [one])
    await desk.do(begin, await desk.find(one.order), BY)
    epoch = await desk.ledger.open_lane(LANE)
    alike = await desk.ledger.recall(order(content, redelivered=True), epoch)
    assert alike.order.intent_id != one.order.intent_id
    assert alike.state.maybe_second_delivery, "it may be the first message of the dead one, whose ack was lost"
    known = await desk.ledger.recall(again(one), epoch)
    assert (known.order.intent_id, known.state.generation) == (one.order.intent_id, 2)


async def test_a_discarded_letter_is_noted_once(desk: Desk) -> None:
    await record(desk.url, [one := dead(1)])
    for _ in range(2):
        await desk.do(note_discarded, await desk.find(one.order), 1, BY)
    assert await desk.steps() == [("discarded", 1, BY)]


async def test_a_replayed_intent_is_not_pruned_before_it_has_ended_again(desk: Desk) -> None:
    await record(desk.url, [one := dead(1)])
    await desk.visit.transact(lambda connection: connection.execute(text("UPDATE intents SET ended_ms = 1")))
    await desk.do(begin, await desk.find(one.order), BY)
    async with ledger_at(desk.url) as other:
        await other.recall(again(one), await other.open_lane(LANE))  # behind its first pruning
    assert (await desk.find(one.order)).status == "received"


async def test_names_with_a_nul_are_found(desk: Desk) -> None:
    content = body()
    one = Dead(order(content, message_id="a\x00b", strategy="c\x00d"), content)
    await record(desk.url, [one])
    assert await desk.do(begin, await desk.find(one.order), BY)


# --- the visit -------------------------------------------------------------------------------------------------------


async def test_a_ledger_client_names_the_place_where_there_is_no_ledger_or_an_older_one(
    tmp_path: Path, postgres_url: str
) -> None:
    missing = tmp_path / "missing.db"
    with pytest.raises(SettingsError, match=str(missing)):
        LedgerClient(f"sqlite+aiosqlite:///{missing}")
    assert not missing.exists()
    with pytest.raises(SettingsError, match="there is no ledger at postgresql"):
        async with LedgerClient(postgres_url):
            pass
    with pytest.raises(SettingsError, match="there is no ledger at") as refused:
        async with LedgerClient("postgresql+asyncpg://signalq:s3cret@127.0.0.1:1/signalq"):
            pass
    assert "s3cret" not in str(refused.value)


async def test_a_ledger_client_refuses_a_ledger_of_an_older_schema(desk: Desk) -> None:
    await desk.visit.transact(events.drop)
    with pytest.raises(SettingsError, match="is of an older signalq"):
        async with LedgerClient(desk.url):
            pass


async def test_a_ledger_client_waits_for_a_locked_file_only_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TRY_FOR_S", 0.1)
    monkeypatch.setattr("signalq.consumer.ledger.database.SQLITE_BUSY_TIMEOUT_MS", 10)
    url = f"sqlite+aiosqlite:///{tmp_path}/signalq.db"
    await record(url, [dead(1)])
    locker, loop = database_at(url, create=False), asyncio.get_running_loop()
    async with LedgerClient(url) as visiting:

        def locked(_connection: Connection) -> None:
            work = visiting.transact(lambda connection: connection.execute(select(intents)).all())
            asyncio.run_coroutine_threadsafe(work, loop).result(10)

        with pytest.raises(LedgerUnavailable, match=r"another process holds it.*database is locked") as held:
            await locker.transact(locked)
        assert held.value.kind == "ledger-locked"
    await locker.close()
