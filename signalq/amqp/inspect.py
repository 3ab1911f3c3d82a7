"""Ask RabbitMQ for queues and exchanges without changing anything, by passive declarations."""

import asyncio
from dataclasses import dataclass
from typing import Any

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import ANSWER_TIMEOUT_S, close_in_time, is_connection_error, open_channel
from signalq.errors import BrokerUnreachable
from signalq.kinds import Kind


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages ready to be delivered, and consumers, of one queue."""

    ready: int
    consumers: int


class Inspector:
    """Asks the broker about its queues and exchanges, one question at a time, on one channel that a 404 closes."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._channel: AbstractChannel | None = None
        self._asking = asyncio.Lock()

    async def depth(self, queue: str) -> QueueDepth | None:
        """The depth of a queue; None where there is no such queue. Raises BrokerUnreachable."""
        answer = await self._ask("queue_declare", queue)
        return QueueDepth(answer.message_count or 0, answer.consumer_count or 0) if answer is not None else None

    async def has_exchange(self, exchange: str) -> bool:
        """Whether there is such an exchange. Raises BrokerUnreachable."""
        return await self._ask("exchange_declare", exchange) is not None

    async def close(self) -> None:
        """Close the channel."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await close_in_time(channel)

    async def _ask(self, declare: str, name: str) -> Any:
        """The answer to a passive declaration; None where there is no such object."""
        async with self._asking:
            channel, self._channel = self._channel, None
            if channel is None or channel.is_closed:
                channel = await open_channel(self._connection)
            try:
                answer = await getattr(channel, declare)(name, passive=True, timeout=ANSWER_TIMEOUT_S)
            except aiormq.exceptions.ChannelNotFoundEntity:
                return None
            except aiormq.exceptions.ChannelAccessRefused as error:
                # RabbitMQ 4.3 answers only a user with some right on it; 3.10 and 4.0 answer every user.
                raise BrokerUnreachable(
                    f"RabbitMQ does not tell this user whether there is {name}, for it has no right there: grant it "
                    "what docs/operate/rabbitmq.md lists under Rights",
                    kind=Kind.NOT_PERMITTED,
                ) from error
            except (Exception, asyncio.CancelledError) as error:  # aiormq ends a wait for an answer with either
                if isinstance(error, asyncio.CancelledError) and not is_connection_error(error):
                    raise
                raise BrokerUnreachable(f"RabbitMQ did not answer about {name}") from error
            self._channel = channel  # good for another question
            return answer


async def queue_depth(connection: AbstractConnection, queue: str) -> QueueDepth | None:
    """The depth of a queue, asked once; None where there is no such queue. Raises BrokerUnreachable."""
    inspector = Inspector(connection)
    try:
        return await inspector.depth(queue)
    finally:
        await inspector.close()
