"""The producer of these tests: what it says it published is what lies on the broker."""

from __future__ import annotations

import random

from signalq.amqp.topology import Topology
from tests.support.amqp import drain
from tests.support.broker import Broker
from tests.support.intents import Producer, make_intents


async def test_half_of_the_orders_come_without_a_message_id_and_some_of_those_are_equal(
    broker: Broker, topology: Topology
) -> None:
    """aiormq gives an id to every message that has none: it would make every test here an easy one."""
    names = topology.names
    intents = make_intents(random.Random(1), 200, connectors=4)
    async with Producer(broker.url, names) as producer:
        await producer.publish_all(intents)
    messages = await drain(broker.url, names.orders, len(intents))
    given = [message.properties.message_id for message in messages if message.properties.message_id is not None]
    assert sorted(given) == sorted(intent.message_id for intent in intents if intent.message_id is not None)
    assert 60 < len(given) < 140
    assert all(intent.confirmed and intent.sent == 1 for intent in intents)
    keys = [intent.key for intent in intents]
    assert len(keys) - len(set(keys)) > 8, "equal ones"
    assert {message.body for message in messages} == {intent.body for intent in intents}
