"""Plain AMQP, without a line of signalq: what any other program would send, and what it would find.

Each call opens a connection of its own (about 10 ms) and closes it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic, Queue

from tests.support.waiting import PATIENCE_S, wait_until

__all__ = ["Message", "RawProperties", "depth", "drain", "plain_channel", "publish", "publish_all", "wait_until"]

ANSWER_TIMEOUT_S = 10.0
PREFETCH = 500


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it lay in a queue."""

    body: bytes
    properties: Basic.Properties
    exchange: str
    routing_key: str
    redelivered: bool

    @property
    def headers(self) -> dict[str, object]:
        """Its header table, empty where it has none."""
        return dict(self.properties.headers or {})


class RawProperties(Basic.Properties):
    """Properties as the bytes that go over the wire: what a program in another language may send.

    `encoded` begins with the two bytes of flags (AMQP 0-9-1 specification, 4.2.6.1).
    """

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded

    def marshal(self) -> bytes:
        """The bytes, as they are."""
        return self.encoded


@asynccontextmanager
async def plain_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A confirming channel on a connection of its own."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        connection = await aiormq.connect(url)
    try:
        yield await connection.channel(publisher_confirms=True, on_return_raises=True)
    finally:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await connection.close()


async def publish(
    url: str, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties | None = None
) -> None:
    """Publish bytes and wait for the confirm; raises aiormq's error where no queue takes them."""
    await publish_all(url, exchange, routing_key, [(body, properties or Basic.Properties(delivery_mode=2))])


async def publish_all(
    url: str, exchange: str, routing_key: str, messages: Sequence[tuple[bytes, Basic.Properties]]
) -> None:
    """Publish several in this order, each confirmed before the next."""
    async with plain_channel(url) as channel, asyncio.timeout(ANSWER_TIMEOUT_S + 0.01 * len(messages)):
        for body, properties in messages:
            await channel.basic_publish(
                body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=True
            )


async def drain(url: str, queue: str, count: int | None = None, *, timeout_s: float = PATIENCE_S) -> list[Message]:
    """Take `count` messages (default: those ready now) out of a queue, in its order, acknowledging each.

    Raises AssertionError where fewer came within `timeout_s`: on a queue with a single active consumer none comes
    while another consumer is the active one.
    """
    async with plain_channel(url) as channel:
        wanted = count if count is not None else (await _declared(channel, queue)).message_count or 0
        return await _take(channel, queue, wanted, timeout_s) if wanted else []


async def _take(channel: AbstractChannel, queue: str, wanted: int, timeout_s: float) -> list[Message]:
    received: list[Message] = []
    acknowledged: list[int] = []
    window = min(wanted, PREFETCH)

    async def take(message: DeliveredMessage) -> None:
        received.append(_message(message))
        count = len(received)
        # Many at once: a channel of the broker keeps back what it can't tell the queue at once, beyond some thirty
        # acks, and forgets it when it is closed; then the queue gives back what they were for.
        if count == wanted or (count < wanted and count % window == 0):
            await channel.basic_ack(message.delivery_tag or 0, multiple=True)
            acknowledged.append(count)

    await channel.basic_qos(prefetch_count=window)
    await channel.basic_consume(queue, take, timeout=ANSWER_TIMEOUT_S)
    # Until the last ack is written, not only received: the connection is closed next.
    await wait_until(lambda: wanted in acknowledged, timeout_s, what=f"{wanted} messages in {queue}")
    # The broker answers this behind the acks.
    await channel.basic_qos(prefetch_count=1)
    return received[:wanted]


def _message(message: DeliveredMessage) -> Message:
    return Message(
        body=message.body,
        properties=message.header.properties,
        exchange=message.exchange or "",
        routing_key=message.routing_key or "",
        redelivered=bool(message.redelivered),
    )


async def depth(url: str, queue: str) -> int | None:
    """How many messages are ready in a queue; None where there is no such queue."""
    async with plain_channel(url) as channel:
        try:
            return (await _declared(channel, queue)).message_count or 0
        except aiormq.exceptions.ChannelNotFoundEntity:
            return None


async def _declared(channel: AbstractChannel, queue: str) -> Queue.DeclareOk:
    return await channel.queue_declare(queue, passive=True, timeout=ANSWER_TIMEOUT_S)
