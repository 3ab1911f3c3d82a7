"""Who listens for outcomes, without a line of signalq: a queue of its own, bound for everything."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiormq.abc import DeliveredMessage

from tests.support.amqp import plain_channel
from tests.support.waiting import PATIENCE_S, wait_until


@dataclass
class Heard:
    """The events so far: routing key, headers and fields of each."""

    events: list[tuple[str, dict[str, Any], dict[str, Any]]] = field(default_factory=list)

    def of(self, intent_id: str) -> list[dict[str, Any]]:
        """The fields of the events of one intent."""
        return [fields for _, _, fields in self.events if fields["intent_id"] == intent_id]

    async def first(self, count: int, timeout_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Wait for this many events; the fields of all there are."""
        await wait_until(lambda: len(self.events) >= count, timeout_s, what=f"{count} outcome events")
        return [fields for _, _, fields in self.events]


@asynccontextmanager
async def hearing(url: str, exchange: str) -> AsyncIterator[Heard]:
    """Hear everything on the exchange, from now on; one that a consumer has yet to declare is declared."""
    heard = Heard()

    async def take(message: DeliveredMessage) -> None:
        headers = dict(message.header.properties.headers or {})
        heard.events.append((message.routing_key or "", headers, json.loads(message.body)))

    async with plain_channel(url) as channel:
        await channel.exchange_declare(exchange, exchange_type="topic", durable=True)
        queue = (await channel.queue_declare("", exclusive=True)).queue or ""
        await channel.queue_bind(queue, exchange, "#")
        await channel.basic_consume(queue, take, no_ack=True)
        yield heard
