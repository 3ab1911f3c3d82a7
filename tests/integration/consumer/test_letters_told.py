"""A consumer tells by its metrics how many dead letters wait, and how old the oldest is."""

from __future__ import annotations

import time

from signalq.names import Names
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.graveyard import DEAD_MS, bury, dead
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook


async def test_the_gauges_tell_of_the_letters_that_were_there_when_the_consumer_started(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    await bury(broker.url, names, [dead(number) for number in range(3)])
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()

        async def counted() -> bool:
            return await consumer.metric("signalq_letters") == 3

        await wait_until(counted, what="the gauge of the letters")
        oldest_s = await consumer.metric("signalq_oldest_letter_seconds")
    assert 0 < oldest_s <= time.time() - DEAD_MS / 1000
    assert oldest_s > time.time() - DEAD_MS / 1000 - 120
