"""The broker killed, and the broker in need of memory: what was confirmed comes back, what was POSTed does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.broker import written_down
from tests.support.intents import make_intents
from tests.support.scene import Scene, scene
from tests.support.waiting import elapsed, wait_until

CONNECTORS = 8


async def test_a_broker_killed_under_load_brings_back_all_that_it_confirmed_and_nothing_is_repeated(
    mortal_broker: PrivateRabbitMQ,
) -> None:
    """The consumer lives, finishes what is on the wire, and knows all of it when it comes again."""
    names = Names("killed")
    async with scene(mortal_broker.url, names, seed=21) as play:
        consumer = await play.consumer()
        await written_down(mortal_broker, *(queue.name for queue in Topology(names).queues()))
        intents = make_intents(play.rng, 500, connectors=CONNECTORS)
        play.publish(intents)
        for _ in range(2):
            before = len(play.hook.orders)
            await play.posted(before + play.rng.randrange(20, 120))
            await asyncio.to_thread(mortal_broker.kill)
            await elapsed(play.rng.uniform(0, 1))
            await asyncio.to_thread(mortal_broker.start)
        account = await play.account()
        assert len(consumer.events("broker.lane_lost")) >= 2
        # Acknowledgements that were under way died with the broker: who has a message_id is known again, and only
        # an open without one could be either. None was cut off on its way to the webhook.
        account.check(doubts_max=sum(intent.message_id is None for intent in intents) // 4)
        assert set(account.in_doubt) <= {"no message_id, came again"}, account.table()


async def test_the_broker_and_the_consumer_killed_together_lose_nothing(mortal_broker: PrivateRabbitMQ) -> None:
    """As when the machine under both of them fails."""
    names = Names("both")
    async with scene(mortal_broker.url, names, seed=22) as play:
        consumer = await play.consumer()
        await written_down(mortal_broker, *(queue.name for queue in Topology(names).queues()))
        intents = make_intents(play.rng, 400, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(100)
        await asyncio.to_thread(consumer.kill)
        await asyncio.to_thread(mortal_broker.kill)
        consumer = play.begin_consumer()
        await asyncio.to_thread(mortal_broker.start)
        await consumer.started()
        account = await play.account()
        account.check(doubts_max=CONNECTORS + sum(intent.message_id is None for intent in intents) // 4)


async def test_while_the_broker_is_short_of_memory_what_it_has_is_delivered_and_afterwards_the_rest(
    own_broker: PrivateRabbitMQ, names: Names
) -> None:
    """It reads from no connection that publishes: parking and dead letters wait, acknowledgements must not."""
    async with scene(own_broker.url, names, seed=23) as play:
        await play.consumer()
        play.publish(make_intents(play.rng, 60, connectors=CONNECTORS))
        await play.posted(60)
        play.publish(make_intents(play.rng, 150, connectors=CONNECTORS))
        async with _short_of_memory(own_broker):
            # However fast the others went: the broker takes these in only afterwards.
            play.publish(make_intents(play.rng, 150, connectors=CONNECTORS))
            held = await _steady(play)
        await play.posted(held + 1)
        account = await play.account()
        account.check(doubts_max=0)


@asynccontextmanager
async def _short_of_memory(broker: PrivateRabbitMQ) -> AsyncIterator[None]:
    await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        yield
    finally:
        await asyncio.to_thread(broker.ctl, "set_vm_memory_high_watermark", "0.4")


async def _steady(play: Scene) -> int:
    """Wait until the webhook has seen nothing new for half a second; how many POSTs it has seen by then."""
    seen = -1

    async def unchanged() -> bool:
        nonlocal seen
        before, seen = seen, len(play.hook.orders)
        await elapsed(0.5)
        return len(play.hook.orders) == seen == before

    await wait_until(unchanged, what="the broker to take in nothing more")
    return seen
