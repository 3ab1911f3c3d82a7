"""A clean end of a consumer: its lane's pace and backoff outlive it, and no intent is left in doubt."""

from __future__ import annotations

import json
import time

from pamqp.commands import Basic

from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import RawProperties, depth, publish_all
from tests.support.broker import ExternalBroker
from tests.support.consumer import Consumer
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

RATE_PER_S = 0.8
BACKOFF_S = 1.5
# As bytes: the library would give it an id.
WITHOUT_ID = RawProperties(Basic.Properties(delivery_mode=2).marshal())


def body(action: str = "openLong", **fields: str) -> bytes:
    order = {"connectorName": "main", "connectorToken": "t", "action": action, "percent": "1"} | fields
    return json.dumps(order).encode()


async def test_the_pace_of_a_connector_is_kept_over_a_restart(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook
) -> None:
    config = f"[connectors.main]\nlane = 'shared'\nrate_per_s = {RATE_PER_S}\n"
    messages = [(body(log=log), Basic.Properties(delivery_mode=2, message_id=log)) for log in ("one", "two")]
    async with Consumer(broker.url, names.prefix, webhook.url, config=config) as consumer:
        await consumer.started()
        published_ns = time.time_ns()
        await publish_all(broker.url, names.orders, "main", messages)
        await webhook.received(1)
    async with Consumer(broker.url, names.prefix, webhook.url, config=config):
        _, second = await webhook.received(2)
    assert second.at_ns - published_ns >= 1 / RATE_PER_S * 1e9


async def test_the_backoff_of_a_lane_is_kept_over_a_restart_for_the_next_consumer(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook
) -> None:
    """The first one is dead by then: it is the lane that waits, and goes on counting."""
    settings = {"delivery.attempts_max": 1, "delivery.retry_after_max_s": BACKOFF_S}
    webhook.behave(Answer(status=429, headers={"Retry-After": "60"}))
    messages = [(body(log=log), Basic.Properties(delivery_mode=2, message_id=log)) for log in ("one", "two")]
    async with Consumer(broker.url, names.prefix, webhook.url, settings) as consumer:
        await consumer.started()
        await publish_all(broker.url, names.orders, "main", messages)
        await wait_until(lambda: consumer.events("intent.dead_lettered"), what="the first one's letter")
    webhook.behave(Answer())
    async with Consumer(broker.url, names.prefix, webhook.url, settings):
        first, second = await webhook.received(2)
    assert (first.json["log"], second.json["log"]) == ("one", "two")
    assert second.at_ns // 1_000_000 - first.at_ns // 1_000_000 >= BACKOFF_S * 1_000


async def test_equal_opens_without_an_id_go_on_after_a_clean_restart(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook
) -> None:
    """What was delivered was acknowledged, and the ledger says so: none of the others can be a second delivery."""
    webhook.behave(Answer(delay_s=0.02))
    for posted in (4, 11):
        async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
            await consumer.started()
            if posted == 4:
                await publish_all(broker.url, names.orders, "main", [(body(), WITHOUT_ID)] * 20)
            await webhook.received(posted)
    async with Consumer(broker.url, names.prefix, webhook.url):
        await webhook.received(20)
    assert len(webhook.orders) == 20
    assert await depth(broker.url, names.dead) == 0
