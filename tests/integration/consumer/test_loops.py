"""Nothing that signalq publishes becomes new work, whatever is bound or dead-lettered where (contract, section 2)."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from signalq import OrderIntent, OrderPublisher
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import Message, depth, drain, plain_channel, publish_all
from tests.support.broker import ExternalBroker
from tests.support.consumer import Consumer
from tests.support.outcomes import Heard
from tests.support.waiting import elapsed, wait_until
from tests.support.webhook import Webhook

# Bindings can't be listed over AMQP: where a test makes foreign ones, nobody is lent its topology afterwards.
pytestmark = pytest.mark.bare_prefix

Broker = PrivateRabbitMQ | ExternalBroker

SETTINGS = {"webhook.connect_timeout_s": 2, "webhook.timeout_s": 3, "delivery.drain_timeout_s": 8}
OPEN = OrderIntent(connector_name="other", connector_token="t", action="openLong", percent="50")
# A loop goes round some 300 times a second.
LOOK_S = 1.0


@pytest_asyncio.fixture
async def consumer(broker: Broker, names: Names, heard: Heard, webhook: Webhook) -> AsyncIterator[Consumer]:
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config="[connectors.main]\n") as running:
        await running.started()
        yield running


# --- events that come back -------------------------------------------------------------------------------------------


async def test_an_event_that_comes_back_makes_one_letter_each_way_and_no_event(
    broker: Broker, names: Names, orders: OrderPublisher, heard: Heard, webhook: Webhook, leftover_queues: list[str]
) -> None:
    async with plain_channel(broker.url) as channel:
        for queue in (names.orders, names.lane("main"), names.due, names.delay(0)):
            await channel.queue_bind(queue, names.outcomes, "#")
        await channel.exchange_bind(names.orders, names.outcomes, "#")
        await dead_lettering_listener(channel, names, names.outcomes, leftover_queues)
    await orders.publish(OPEN, message_id="id-1")
    # Both exchanges lead to the shared lane, and the broker gives a queue a message once.
    letters = await drain(broker.url, names.dead, 5)
    await elapsed(LOOK_S)
    assert await depth(broker.url, names.dead) == 0
    assert [fields["intent_id"] for _, _, fields in heard.events] == ["id-1"]
    assert {letter.headers["signalq-reason"] for letter in letters} == {"invalid"}
    assert all("it is an outcome event of signalq" in str(letter.headers["signalq-detail"]) for letter in letters)
    assert len(webhook.orders) == 1


async def dead_lettering_listener(channel: AbstractChannel, names: Names, source: str, leftover: list[str]) -> None:
    """A queue of somebody else's, whose messages expire at once and go on to the exchange of orders."""
    arguments = {"x-message-ttl": 0, "x-dead-letter-exchange": names.orders}
    leftover.append(f"{names.prefix}.listener")
    await channel.queue_declare(leftover[-1], durable=True, arguments=arguments)
    await channel.queue_bind(leftover[-1], source, "#")


# --- letters that come back ------------------------------------------------------------------------------------------


async def test_letters_that_were_moved_back_are_put_back_and_told_no_second_time(
    broker: Broker, names: Names, consumer: Consumer, heard: Heard, webhook: Webhook
) -> None:
    body = {"connectorName": "main", "connectorToken": "t", "action": "openLong", "percent": "50"}
    bodies = [json.dumps(body | {"log": log, "percent": percent}).encode() for log, percent in (("a", "1"), ("b", "x"))]
    # Expired; no intent; and one of other bytes under the first one's id.
    ids = ["id-1", "id-2", "id-1"]
    headers = {"signalq-created-ms": time.time_ns() // 1_000_000 - 3_600_000}
    sent = [Basic.Properties(delivery_mode=2, message_id=one, headers=headers) for one in ids]
    bodies.append(bodies[0].replace(b"50", b"51") + b" ")
    await publish_all(broker.url, names.orders, "main", list(zip(bodies, sent, strict=True)))
    first = await drain(broker.url, names.dead, 3)
    await heard.first(3)
    # As RabbitMQ's management moves messages, twice.
    for _ in range(2):
        await publish_all(broker.url, names.orders, "main", [(one.body, one.properties) for one in first])
    letters = await drain(broker.url, names.dead, 6)
    await elapsed(0.3)
    assert await depth(broker.url, names.dead) == 0
    assert len(heard.events) == 3
    assert webhook.orders == []
    assert sorted(map(said, letters)) == sorted([*map(said, first), *map(said, first)])


def said(letter: Message) -> tuple[object, ...]:
    """What a letter says that holds for as long as it lies there."""
    fields = ("reason", "detail", "attempts", "intent-id", "generation", "connector", "strategy")
    return letter.body, letter.properties.message_id, *(str(letter.headers[f"signalq-{name}"]) for name in fields)


async def test_letters_that_the_broker_itself_hands_back_go_round_and_neither_grow_in_number_nor_are_told(
    own_broker: PrivateRabbitMQ, names: Names, consumer: Consumer, heard: Heard
) -> None:
    async def expire(ttl_ms: int) -> None:
        policy = json.dumps({"message-ttl": ttl_ms, "dead-letter-exchange": names.orders})
        await asyncio.to_thread(own_broker.ctl, "set_policy", names.prefix, f"^{names.dead}$", policy)

    await expire(50)
    try:
        messages = [(b"no JSON %d" % number, Basic.Properties(delivery_mode=2)) for number in range(3)]
        await publish_all(own_broker.url, names.orders, "main", messages)
        await wait_until(lambda: len(consumer.events("intent.dead_lettered")) >= 12, what="each to go round")
        await expire(600_000)

        async def all_are_there() -> bool:
            return await depth(own_broker.url, names.dead) == 3

        await wait_until(all_are_there, what="three letters, and no more")
        await elapsed(0.3)
        assert await all_are_there()
        assert len(heard.events) == 3
    finally:
        await asyncio.to_thread(own_broker.ctl, "clear_policy", names.prefix)


# --- what is parked, and comes back beside the ladder ----------------------------------------------------------------


async def test_a_parked_order_that_comes_back_beside_the_ladder_is_parked_no_more_and_posted_once_in_time(
    broker: Broker,
    names: Names,
    orders: OrderPublisher,
    consumer: Consumer,
    heard: Heard,
    webhook: Webhook,
    leftover_queues: list[str],
) -> None:
    async with plain_channel(broker.url) as channel:
        for queue in (names.orders, names.lane("main"), names.due, names.delay(0)):
            await channel.queue_bind(queue, names.delay(1), "#")
        await channel.exchange_bind(names.orders, names.delay(1), "#")
        await dead_lettering_listener(channel, names, names.delay(1), leftover_queues)
    began_s = time.time()
    await orders.publish(OPEN.model_copy(update={"delay_seconds": 2.3}), message_id="id-1")
    await wait_until(lambda: webhook.orders, what="the POST")
    assert 2.25 <= time.time() - began_s < 4, "parked once more, it would come after 4.3 s"
    await elapsed(0.3)
    assert len(webhook.orders) == 1
    assert len(consumer.events("intent.scheduled")) <= 3
    assert {(fields["intent_id"], fields["status"]) for _, _, fields in heard.events} == {("id-1", "delivered")}
    for queue in (names.orders, names.due, names.delay(0), names.delay(1), names.dead):
        assert await depth(broker.url, queue) == 0, queue
