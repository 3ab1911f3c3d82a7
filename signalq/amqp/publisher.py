"""Publish so that the broker confirms each message, on a connection that is opened when needed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import aiormq
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic

from signalq.amqp.channel import Channel
from signalq.amqp.connection import HEARTBEAT_S, close_in_time, connect, is_connection_error, open_channel
from signalq.errors import BrokerUnreachable, PublishError, Unconfirmed, Unroutable

CLOSED = "the publisher is closed"
FORKED = "the publisher was entered in another process, before a fork: make and enter one in this process"

# Is told how a message ended: None, it is confirmed; Unroutable or Unconfirmed; or an error that nobody expects.
Ended = Callable[[BaseException | None], None]


class ConfirmedPublisher:
    """A connection of its own and one confirming channel; both are opened when needed, and again after a loss.

    Publishers and consumers have connections apart: a broker in need (memory, disk) stops reading from a connection
    that publishes, and would stop acknowledgements on it as well. Messages leave in the order of the calls.
    """

    def __init__(self, url: str, *, name: str, heartbeat_s: int = HEARTBEAT_S) -> None:
        self._url = url
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._connection: AbstractConnection | None = None
        self._open: ConfirmingChannel | None = None
        self._opening = asyncio.Lock()
        # How many wait for the channel, or open it. Whoever comes meanwhile goes behind them.
        self._queued = 0
        self._is_closed = False
        # The process of its connection: after a fork the socket is the parent's, and bytes from here would garble it.
        self._process: int | None = None

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True
    ) -> None:
        """Publish on the open channel, opened now if there is none; else as ConfirmingChannel does.

        Raises BrokerUnreachable (nothing was sent), Unroutable (it is in no queue), Unconfirmed (it may be).
        """
        channel = await self.channel()
        await channel.publish(exchange, routing_key, body, properties, mandatory=mandatory)

    async def channel(self) -> ConfirmingChannel:
        """The open channel, opened now if there is none. Raises BrokerUnreachable, also after `close`."""
        if self.why_closed is not None:
            raise BrokerUnreachable(self.why_closed)
        if self._open is not None and self._open.is_good and not self._queued:
            return self._open
        self._queued += 1
        try:
            async with self._opening:
                return await self._opened()
        finally:
            self._queued -= 1

    async def _opened(self) -> ConfirmingChannel:
        if self._is_closed:
            raise BrokerUnreachable(CLOSED)
        self._process = os.getpid()
        if self._open is None or not self._open.is_good:
            if self._connection is None or self._connection.is_closed or not self._connection.connected.is_set():
                await self._disconnect()
                self._connection = await connect(self._url, name=self._name, heartbeat_s=self._heartbeat_s)
            self._open = ConfirmingChannel(await open_channel(self._connection, confirms=True))
        return self._open

    @property
    def why_closed(self) -> str | None:
        """Why it opens no connection any more: `close` was called, or its connection belongs to a parent process."""
        if self.is_of_another_process:
            return FORKED
        return CLOSED if self._is_closed else None

    @property
    def is_of_another_process(self) -> bool:
        """Whether this process was forked after it was connected."""
        return self._process is not None and self._process != os.getpid()

    async def close(self) -> None:
        """Close the connection for good; publishes in flight raise Unconfirmed. In the child of a fork: do nothing."""
        self._is_closed = True
        if not self.is_of_another_process:
            await self.disconnect()

    async def disconnect(self) -> None:
        """Close the connection; the next publish opens another."""
        async with self._opening:
            await self._disconnect()

    async def _disconnect(self) -> None:
        connection, self._connection, self._open = self._connection, None, None
        if connection is not None and not connection.is_closed:
            await close_in_time(connection)


@dataclass(slots=True)
class ConfirmingChannel:
    """An open channel on which each publish waits for RabbitMQ's confirm.

    `in_flight` counts the publishes under way, also while they wait.

    It is spent once RabbitMQ has refused a message on it. A channel remembers the leader of each quorum queue that it
    has published to, and RabbitMQ 3.10 may remember one that is gone: it then refuses every message for that queue
    until that leader's node is back (10 s and more, seen), though another node leads it by now. A new channel looks the
    leader up.
    """

    channel: Channel
    in_flight: int = 0
    is_spent: bool = False
    _goodbye: asyncio.Task[None] | None = field(default=None, init=False)

    @property
    def is_good(self) -> bool:
        """Whether to publish on it."""
        return not self.is_spent and not self.channel.is_closed

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True
    ) -> None:
        """Return once the broker has the message in every queue it belongs to; without `mandatory` that may be none.

        It waits as long as the connection lives, also while a broker in need blocks it: giving up sooner would leave
        a message that may still arrive. Bound it with asyncio.timeout where needed. A closed channel is not opened
        again: so no message overtakes those that a broken connection left behind.

        Raises Unroutable (it is in no queue), Unconfirmed (it may be).
        """
        sent = self.channel.send(exchange, routing_key, body, properties, mandatory=mandatory)
        self.in_flight += 1
        try:
            await sent
        except (Exception, asyncio.CancelledError) as error:
            if (failure := self._failure(error, exchange, routing_key, properties.message_id)) is error:
                raise
            raise failure from error
        finally:
            self._one_less()

    def send(self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, ended: Ended) -> None:
        """Do as `publish` does, and return at once; `ended` is told later, once, what it would have raised."""
        sent = self.channel.send(exchange, routing_key, body, properties, mandatory=True)
        self.in_flight += 1
        sent.add_done_callback(partial(self._ended, exchange, routing_key, properties.message_id, ended))

    def _ended(
        self, exchange: str, routing_key: str, message_id: str | None, ended: Ended, sent: asyncio.Future[None]
    ) -> None:
        error = sent.exception()
        if error is not None and (failure := self._failure(error, exchange, routing_key, message_id)) is not error:
            failure.__cause__ = error
            error = failure
        self._one_less()
        ended(error)

    def _failure(self, error: BaseException, exchange: str, routing_key: str, message_id: str | None) -> BaseException:
        """The error to tell for a message; an unforeseen one as it is."""
        if isinstance(error, aiormq.exceptions.PublishError):
            return Unroutable(f"no queue takes messages for {exchange or routing_key}", message_id)
        if isinstance(error, aiormq.exceptions.DeliveryError):
            self.is_spent = True
            return Unconfirmed(f"RabbitMQ refused the message for {exchange or routing_key}", message_id)
        if isinstance(error, (aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ChannelAccessRefused)):
            return _refusal(error, exchange, message_id)
        if is_connection_error(error):
            return Unconfirmed("the connection broke before RabbitMQ confirmed the message", message_id)
        return error

    def _one_less(self) -> None:
        self.in_flight -= 1
        if self.is_spent and not self.in_flight and self._goodbye is None:
            self._goodbye = asyncio.create_task(close_in_time(self.channel), name="signalq spent channel")


def _refusal(error: aiormq.exceptions.AMQPChannelError, exchange: str, message_id: str | None) -> PublishError:
    """The meaning of a refusal for one of the messages in flight: it closes the channel for all of them.

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
