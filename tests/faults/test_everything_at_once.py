"""Several faults at the same time: the short form of tests/chaos."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.broker import through, written_down
from tests.support.intents import make_intents
from tests.support.proxy import Proxy
from tests.support.scene import Scene, scene
from tests.support.waiting import elapsed
from tests.support.webhook import Answer, Behaviour, CutOff, Garbage, Order

CONNECTORS = 8
UNSETTLED = 0.1


@pytest.mark.timeout(180)
async def test_kills_of_both_cut_links_and_a_moody_webhook_together_break_no_law(
    mortal_broker: PrivateRabbitMQ,
) -> None:
    """The consumer killed while the broker is down, the link cut while a consumer starts, and a webhook of moods."""
    names = Names("storm")
    async with Proxy(mortal_broker.port) as link, scene(mortal_broker.url, names, seed=61) as play:
        play.accountant.answer(_moods(play))
        by_the_link = through(link, mortal_broker.url)
        await play.consumer(url=by_the_link)
        await written_down(mortal_broker, *(queue.name for queue in Topology(names).queues()))
        intents = make_intents(play.rng, 600, connectors=CONNECTORS)
        play.publish(intents)
        kills = 0
        for round_ in range(3):
            await elapsed(play.rng.uniform(0.3, 0.8))
            await asyncio.to_thread(play.living[0].kill)
            consumer = play.begin_consumer(url=by_the_link)
            await elapsed(play.rng.uniform(0.3, 1.5))
            await link.cut()
            kills += 1
            if round_ == 1:
                await asyncio.to_thread(mortal_broker.kill)
                await asyncio.to_thread(consumer.kill)
                kills += 1
                consumer = play.begin_consumer(url=by_the_link)
                await asyncio.to_thread(mortal_broker.start)
            await consumer.started()
        account = await play.account()
        without_id = sum(intent.message_id is None for intent in intents)
        most = play.accountant.unknown_answers + kills * CONNECTORS + without_id // 4
        account.check(doubts_max=most, reasons={"rejected"})


def _moods(play: Scene) -> Callable[[Order], Behaviour]:
    def mood(order: Order) -> Behaviour:
        chance = play.rng.random()
        if chance < UNSETTLED:
            return play.rng.choice((Answer(429, headers={"Retry-After": "0"}), Answer(500), CutOff(), Garbage()))
        return play.well(order)

    return mood
