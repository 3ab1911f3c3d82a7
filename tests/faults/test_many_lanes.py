"""Many own lanes at once: each keeps its order, under load and over a kill."""

from __future__ import annotations

import asyncio
import json
import time
from collections import defaultdict

import pytest
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from signalq.names import Names
from tests.support.amqp import depth, drain, plain_channel
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.scene import SETTINGS
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

LANES = 200
ORDERS_EACH = 20
CONNECTORS = [f"lane-{number}" for number in range(LANES)]
CONFIG = "".join(f"[connectors.{name}]\n" for name in CONNECTORS)


async def publish(broker: Broker, names: Names) -> None:
    """ORDERS_EACH to each of them, in turn."""
    async with plain_channel(broker.url) as channel, asyncio.timeout(120):
        for number in range(ORDERS_EACH):
            await asyncio.gather(*(_publish_one(channel, names, connector, number) for connector in CONNECTORS))


async def _publish_one(channel: AbstractChannel, names: Names, connector: str, number: int) -> None:
    fields = {"connectorName": connector, "connectorToken": "t", "action": "buy", "percent": "1", "log": str(number)}
    properties = Basic.Properties(
        delivery_mode=2,
        message_id=f"{connector}-{number}",
        headers={"signalq-created-ms": time.time_ns() // 1_000_000},
    )
    await channel.basic_publish(
        json.dumps(fields).encode(), exchange=names.orders, routing_key=connector, properties=properties, mandatory=True
    )


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_200_own_lanes_under_load_keep_their_order_also_when_the_consumer_is_killed(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    webhook.behave(Answer(delay_s=0.01))
    consumers = [Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=CONFIG) for _ in range(2)]
    async with consumers[0] as first, consumers[1] as second:
        assert (await first.started())["lanes"] == LANES + 1
        await second.started()
        publishing = asyncio.create_task(publish(broker, names))
        await webhook.received(LANES, 60)
        await asyncio.to_thread(first.kill)
        await publishing

        def all_ended() -> bool:
            ended = {line["intent_id"] for one in consumers for line in one.events("intent.settled")}
            return len(ended) >= LANES * (ORDERS_EACH - 1)

        await wait_until(all_ended, 120, what="the end of all but what was on the wire")

        async def is_at_rest() -> bool:
            lanes = [await depth(broker.url, names.lane(connector)) for connector in CONNECTORS[:: LANES // 10]]
            return await second.metric("signalq_in_flight") == 0 and not any(lanes)

        await wait_until(is_at_rest, 60, what="rest")
    posted: dict[str, list[int]] = defaultdict(list)
    for order in webhook.orders:
        posted[order.connector].append(int(order.json["log"]))
    dead = {json.loads(letter.body)["connectorName"] for letter in await drain(broker.url, names.dead)}
    for connector in CONNECTORS:
        assert posted[connector] == sorted(set(posted[connector])), "in order, and none twice"
        assert len(posted[connector]) >= ORDERS_EACH - (connector in dead), "all but what may have been on the wire"
