"""What is parked when the broker dies: there again, once, and not a second later than it has to be."""

from __future__ import annotations

import asyncio
import time

import pytest

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.broker import written_down
from tests.support.intents import Intent
from tests.support.scene import Scene, scene
from tests.support.waiting import wait_until

CONNECTORS = 8
OPEN = {"connectorToken": "a-token", "action": "openLong", "percent": "25"}


def delayed(count: int, delays_s: tuple[float, float]) -> list[Intent]:
    """So many opens, their delays spread evenly."""
    shortest_s, longest_s = delays_s
    return [
        Intent(
            key=f"delayed-{at}",
            connector=f"c{at % CONNECTORS}",
            number=at // CONNECTORS + 1,
            fields=OPEN,
            message_id=f"id-{at}",
            is_dated=True,
            delay_s=round(shortest_s + (longest_s - shortest_s) * at / count, 2),
        )
        for at in range(count)
    ]


async def parked(play: Scene, count: int) -> None:
    """Wait until so many are on the ladder."""
    consumer = play.consumers[0]
    await wait_until(lambda: len(consumer.events("intent.scheduled")) >= count, what=f"{count} to be parked")


async def test_a_thousand_parked_orders_survive_a_kill_of_the_broker(mortal_broker: PrivateRabbitMQ) -> None:
    names = Names("parked")
    async with scene(mortal_broker.url, names, seed=31) as play:
        await play.consumer()
        await written_down(mortal_broker, *(queue.name for queue in Topology(names).queues()))
        play.publish(delayed(1000, (14, 18)))
        await parked(play, 1000)
        assert not play.hook.orders, "the broker dies while all of them are parked"
        await asyncio.to_thread(mortal_broker.kill)
        await asyncio.to_thread(mortal_broker.start)
        account = await play.account()
        account.check(doubts_max=0)
        assert account.delivered == len(play.hook.orders) == 1000


@pytest.mark.long
async def test_an_order_that_is_overdue_after_an_outage_of_the_broker_comes_back_at_once(
    mortal_broker: PrivateRabbitMQ,
) -> None:
    """15 s are 8 and 4 and 2 and 1: what was held for the first of them has not the others before it still."""
    names = Names("overdue")
    async with scene(mortal_broker.url, names, seed=32) as play:
        await play.consumer()
        await written_down(mortal_broker, *(queue.name for queue in Topology(names).queues()))
        play.publish(delayed(20, (15.2, 15.4)))
        await parked(play, 20)
        await asyncio.to_thread(mortal_broker.kill)
        due_s = max(intent.due_ms for intent in play.producer.intents) / 1000
        await wait_until(lambda: time.time() > due_s, what="all of them to be overdue")
        await asyncio.to_thread(mortal_broker.start)
        back_s = time.time()
        account = await play.account()
        account.check(doubts_max=0)
        lower_levels_s = 4 + 2 + 1
        assert max(order.at_ns for order in play.hook.orders) / 1e9 - back_s < lower_levels_s
