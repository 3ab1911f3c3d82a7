"""Asking RabbitMQ what is there, without changing anything: by passive declarations."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import CONNECTION_ERRORS, open_channel, somebody_cancelled
from signalq.errors import BrokerUnreachable

ANSWER_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages ready to be delivered, and consumers, of one queue."""

    ready: int
    consumers: int


class Inspector:
    """Asks the broker what is there, one question at a time on one channel; that is opened again after a 404."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._asking = asyncio.Lock()

    async def depth(self, queue: str) -> QueueDepth | None:
        """How full a queue is; None where there is no such queue. Raises BrokerUnreachable."""
        return await self._ask(queue=queue)

    async def has_exchange(self, exchange: str) -> bool:
        """Whether there is such an exchange. Raises BrokerUnreachable."""
        return await self._ask(exchange=exchange) is not None

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            with suppress(*CONNECTION_ERRORS):
                await channel.close()

    async def _ask(self, *, exchange: str = "", queue: str = "") -> QueueDepth | None:
        async with self._asking:
            if self._channel is None or self._channel.is_closed:
                self._channel = await open_channel(self._connection)
            channel = self._channel
            try:
                if exchange:
                    await channel.exchange_declare(exchange, passive=True, timeout=ANSWER_TIMEOUT_S)
                    return QueueDepth(0, 0)
                answer = await channel.queue_declare(queue, passive=True, timeout=ANSWER_TIMEOUT_S)
                return QueueDepth(answer.message_count or 0, answer.consumer_count or 0)
            except aiormq.exceptions.ChannelNotFoundEntity:
                self._channel = None
                return None
            except aiormq.exceptions.ChannelAccessRefused as error:
                self._channel = None
                # RabbitMQ 4.3 answers only who has some right there; 3.10 and 4.0 answer everybody.
                raise BrokerUnreachable(
                    f"RabbitMQ does not tell this user whether there is {exchange or queue}, for it has no right "
                    "there: grant it what docs/operate/rabbitmq.md lists under Rights"
                ) from error
            except asyncio.CancelledError as error:
                self._channel = None
                if somebody_cancelled():
                    raise
                raise BrokerUnreachable(f"RabbitMQ did not answer about {exchange or queue}") from error
            except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
                self._channel = None
                raise BrokerUnreachable(f"RabbitMQ did not answer about {exchange or queue}") from error


async def queue_depth(connection: AbstractConnection, queue: str) -> QueueDepth | None:
    """How full a queue is, asked once; None where there is no such queue. Raises BrokerUnreachable."""
    asker = Inspector(connection)
    try:
        return await asker.depth(queue)
    finally:
        await asker.close()
