"""Undated opens: their age is known only where a consumer was there when they came."""

from __future__ import annotations

import asyncio
import json

from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import depth, drain, publish, wait_until
from tests.support.broker import ExternalBroker
from tests.support.consumer import Consumer
from tests.support.webhook import Webhook

OPEN_MAX_AGE_S = 1.0
LONGER_S = 1.6
SETTINGS = {"delivery.open_max_age_s": OPEN_MAX_AGE_S}


def body(log: str) -> bytes:
    """An open; plain AMQP gives it no creation time."""
    order = {"connectorName": "main", "connectorToken": "t", "action": "openLong", "percent": "1", "log": log}
    return json.dumps(order).encode()


async def test_an_undated_open_that_comes_while_a_consumer_is_idle_is_taken_however_long_that_was(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook
) -> None:
    """Idle is not absent: nothing had waited when this consumer came."""
    for log in ("to a new ledger", "to a known one"):
        async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as consumer:
            await consumer.started()
            await asyncio.sleep(LONGER_S)  # the promise is about time that passes
            await publish(broker.url, names.orders, "main", body(log))
            await wait_until(lambda log=log: log in [order.json["log"] for order in webhook.orders], what=log)
        await asyncio.sleep(LONGER_S)
    assert await depth(broker.url, names.dead) == 0


async def test_an_undated_open_that_waited_too_long_without_a_consumer_is_dead_and_expired(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook
) -> None:
    """And one that comes after the consumer has come is not."""
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
    await publish(broker.url, names.orders, "main", body("waited"))
    await asyncio.sleep(LONGER_S)
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        (letter,) = await drain(broker.url, names.dead, 1)
        await publish(broker.url, names.orders, "main", body("fresh"))
        await webhook.received(1)
    assert letter.headers["signalq-reason"] == "expired"
    assert [order.json["log"] for order in webhook.orders] == ["fresh"]
