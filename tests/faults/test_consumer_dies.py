"""The consumer killed, and the consumer frozen: what was on the wire is in doubt, all else goes on (contract 3)."""

from __future__ import annotations

import asyncio

import pytest

from signalq.names import Names
from tests.support.broker import Broker
from tests.support.freezing import begun_before_the_freeze, freeze
from tests.support.intents import make_intents
from tests.support.scene import scene
from tests.support.waiting import elapsed, wait_until

CONNECTORS = 8
KILLS = 6


async def test_a_consumer_killed_at_random_moments_loses_nothing_and_repeats_nothing(
    broker: Broker, names: Names, any_ledger: str | None
) -> None:
    """Each kill leaves in doubt at most what each connector had on the wire, and what nobody can tell apart."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=11) as play:
        consumer = await play.consumer()
        intents = make_intents(play.rng, 400, connectors=CONNECTORS)
        play.publish(intents)
        for _ in range(KILLS):
            await elapsed(play.rng.uniform(0.1, 0.6))
            await asyncio.to_thread(consumer.kill)
            consumer = await play.consumer()
        account = await play.account()
        without_id = sum(intent.message_id is None for intent in intents)
        assert account.in_doubt["cut off while sending"] <= KILLS * CONNECTORS, account.table()
        account.check(doubts_max=KILLS * CONNECTORS + without_id)


async def test_a_consumer_killed_while_it_starts_leaves_nothing_behind(broker: Broker, names: Names) -> None:
    """The moments between opening the ledger, taking the lane's epoch and the first POST."""
    async with scene(broker.url, names, seed=12) as play:
        await play.consumer()
        play.publish(make_intents(play.rng, 150, connectors=CONNECTORS))
        for _ in range(5):
            await asyncio.to_thread(play.consumers[-1].kill)
            starting = play.begin_consumer()
            await wait_until(lambda: starting.lines, what="its first word")  # noqa: B023 - awaited right here
            await elapsed(play.rng.uniform(0.0, 0.1))
        await starting.started()
        account = await play.account()
        account.check(doubts_max=150)


@pytest.mark.long
async def test_a_frozen_consumer_is_replaced_and_after_it_thaws_repeats_nothing(
    broker: Broker, names: Names, any_ledger: str | None
) -> None:
    """The broker drops the frozen one after two heartbeats; what that one had claimed is not its to settle any more."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=13) as play:
        frozen = await play.consumer()
        intents = make_intents(play.rng, 600, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(40)
        standby = await play.consumer()
        assert not standby.events("delivery.attempted"), "one is active, the other stands by"
        await freeze(play, frozen, in_a_transaction=False)
        await wait_until(lambda: len(standby.events("delivery.attempted")) > CONNECTORS, what="the standby's POSTs")
        frozen.thaw()
        await wait_until(lambda: frozen.events("broker.lane_lost"), what="the thawed one to notice")
        await play.account()
        account = play.accountant.account(intents, may_overtake=begun_before_the_freeze(play))
        without_id = sum(intent.message_id is None for intent in intents)
        assert account.in_doubt["cut off while sending"] <= CONNECTORS, account.table()
        account.check(doubts_max=CONNECTORS + without_id)


@pytest.mark.long
async def test_a_consumer_frozen_in_mid_transaction_does_not_keep_the_lane_from_the_next(
    broker: Broker, names: Names, postgres_url: str
) -> None:
    """Its transaction holds the lane's row on the server; the server ends it after some seconds."""
    async with scene(broker.url, names, ledger_url=postgres_url, seed=15) as play:
        frozen = await play.consumer()
        intents = make_intents(play.rng, 600, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(40)
        standby = await play.consumer()
        await freeze(play, frozen, in_a_transaction=True)
        await wait_until(lambda: standby.events("delivery.attempted"), what="the standby's first POST")
        frozen.thaw()
        await play.account()
        account = play.accountant.account(intents, may_overtake=begun_before_the_freeze(play))
        assert account.in_doubt["cut off while sending"] <= CONNECTORS, account.table()
        account.check(doubts_max=CONNECTORS + sum(intent.message_id is None for intent in intents))


@pytest.mark.long
async def test_a_consumer_frozen_with_the_lock_of_its_file_stops_the_next_until_it_is_killed(
    broker: Broker, names: Names
) -> None:
    """SQLite's lock belongs to the process, and nobody can take it away: nothing is POSTed rather than too much."""
    async with scene(broker.url, names, seed=16) as play:
        frozen = await play.consumer()
        intents = make_intents(play.rng, 600, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(40)
        standby = await play.consumer()
        await freeze(play, frozen, in_a_transaction=True)
        await wait_until(lambda: standby.events("ledger.not_writable"), what="the standby to say why it waits")
        assert (await standby.get("/readyz"))[0] == 503
        assert not standby.events("delivery.attempted")
        await asyncio.to_thread(frozen.kill)
        account = await play.account()
        assert account.in_doubt["cut off while sending"] <= CONNECTORS, account.table()
        account.check(doubts_max=CONNECTORS + sum(intent.message_id is None for intent in intents))
