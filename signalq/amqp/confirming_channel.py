"""One channel on which each publish waits for RabbitMQ's confirm, and what each refusal means for a message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import cast

import aiormq
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from signalq.amqp.connection import CLOSE_TIMEOUT_S, is_connection_error, this_task_was_cancelled
from signalq.errors import PublishError, Unconfirmed, Unroutable


@dataclass(slots=True)
class ConfirmingChannel:
    """An open channel with publisher confirms, and how many publishes are under way on it.

    It is spent once RabbitMQ has refused a message on it. A channel remembers the leader of each quorum queue that it
    has published to, and RabbitMQ 3.10 may remember one that is gone: it then refuses every message for that queue
    until that leader's node is back (10 s and more, seen), though another node leads it by now. A new channel looks the
    leader up.
    """

    channel: AbstractChannel
    in_flight: int = 0
    is_spent: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether the publishes under way on it are lost."""
        return bool(self.channel.is_closed)

    @property
    def is_good(self) -> bool:
        """Whether to publish on it."""
        return not self.is_spent and not self.is_closed

    @asynccontextmanager
    async def in_use(self) -> AsyncIterator[None]:
        """Hold it for one publish, its turn included; the last publish that leaves a spent channel closes it."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
            if self.is_spent and not self.in_flight:
                with suppress(Exception):  # it may fail in any way: another channel takes its place
                    await asyncio.wait_for(self.channel.close(), CLOSE_TIMEOUT_S)

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool
    ) -> None:
        """Publish and wait for the confirm. Raises Unroutable (the message is in no queue), Unconfirmed (it may be)."""
        with self._refusals(exchange, routing_key, properties.message_id):
            # An event is not waited for while it is written: its confirm says so, and the next one need not queue.
            await cast("aiormq.Channel", self.channel).basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=properties,
                mandatory=mandatory,
                wait=mandatory,
            )

    @contextmanager
    def _refusals(self, exchange: str, routing_key: str, message_id: str | None) -> Iterator[None]:
        """Translate what went wrong."""
        try:
            yield
        except aiormq.exceptions.PublishError as error:
            raise Unroutable(f"no queue takes messages for {exchange or routing_key}", message_id) from error
        except aiormq.exceptions.DeliveryError as error:
            self.is_spent = True
            raise Unconfirmed(f"RabbitMQ refused the message for {exchange or routing_key}", message_id) from error
        except (aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ChannelAccessRefused) as error:
            raise _refusal(error, exchange, message_id) from error
        except (Exception, asyncio.CancelledError) as error:
            is_aiormqs = isinstance(error, asyncio.CancelledError) and not this_task_was_cancelled()
            if not is_aiormqs and not is_connection_error(error):
                raise
            raise Unconfirmed("the connection broke before RabbitMQ confirmed the message", message_id) from error


def _refusal(error: aiormq.exceptions.AMQPChannelError, exchange: str, message_id: str | None) -> PublishError:
    """What a refusal means for one of the messages in flight: it closes the channel for all of them.

    Only messages for the exchange that it names are refused; the others may have arrived before it.
    """
    if f"exchange '{exchange or 'amq.default'}'" not in str(error):
        return Unconfirmed("the channel was closed over another message before RabbitMQ confirmed this one", message_id)
    if isinstance(error, aiormq.exceptions.ChannelAccessRefused):
        where = f"exchange {exchange}" if exchange else "queues directly"
        return Unroutable(f"this user may not publish to {where}: ask for the write permission", message_id)
    return Unroutable(
        f"there is no exchange {exchange}: start the consumer once, or run `signalq topology apply`", message_id
    )
