"""Publishing so that it counts: persistent, confirmed, and mandatory where somebody has to get it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel
from pamqp.commands import Basic

from signalq.amqp.connection import HEARTBEAT_S, connect, is_connection_error, open_channel, somebody_cancelled
from signalq.errors import BrokerUnreachable, PublishError, Unconfirmed, Unroutable

CLOSE_TIMEOUT_S = 5.0

CLOSED = "the publisher is closed"
FORKED = "the publisher was entered in another process, before a fork: make and enter one in this process"


class ConfirmedPublisher:
    """A connection of its own and one confirming channel; both are opened when needed, and again after a loss.

    Publishers get a connection apart from consumers: a broker in need (memory, disk) stops reading from connections
    that publish, and would stop their acknowledgements with them. Messages leave in the order of the calls.
    """

    def __init__(self, url: str, *, name: str, heartbeat_s: int = HEARTBEAT_S) -> None:
        self._url = url
        self._name = name
        self._heartbeat_s = heartbeat_s
        self._connection: AbstractConnection | None = None
        self._open: OpenChannel | None = None
        self._opening = asyncio.Lock()
        self._is_closed = False
        # Where its connection is: after a fork it is the parent's, and whoever used it here would garble it there.
        self._process: int | None = None
        self._same_id: dict[str, _Turn] = {}

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True
    ) -> None:
        """Return once the broker has the message in every queue it belongs to; without `mandatory` that may be none.

        It waits as long as the connection lives, also while a broker in need blocks it: giving up sooner would leave
        a message that may still arrive. Bound it with asyncio.timeout where that is wanted.

        Raises BrokerUnreachable (nothing was sent), Unroutable (it is in no queue), Unconfirmed (it may be).
        """
        await self.publish_on(await self.channel(), exchange, routing_key, body, properties, mandatory=mandatory)

    async def publish_on(
        self,
        channel: OpenChannel,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = True,
    ) -> None:
        """The same on this channel, which `channel` gave, and on no later one: it raises Unconfirmed if that is closed.

        So nothing overtakes what a broken connection left behind.
        """
        async with _in_use(channel):
            if not mandatory:
                # Nothing comes back, so nothing can be confused.
                await _send(channel, exchange, routing_key, body, properties, mandatory=False)
                return
            async with self._alone(properties.message_id):
                await _send(channel, exchange, routing_key, body, properties, mandatory=True)

    async def channel(self) -> OpenChannel:
        """The open channel, opened now if there is none. Raises BrokerUnreachable, also once it is closed for good."""
        if self.why_closed is not None:
            raise BrokerUnreachable(self.why_closed)
        if self._open is not None and self._open.is_good:
            return self._open
        async with self._opening:
            if self._is_closed:
                raise BrokerUnreachable(CLOSED)
            self._process = os.getpid()
            if self._open is None or not self._open.is_good:
                if self._connection is None or self._connection.is_closed or not self._connection.connected.is_set():
                    await self._disconnect()
                    self._connection = await connect(self._url, name=self._name, heartbeat_s=self._heartbeat_s)
                self._open = OpenChannel(await open_channel(self._connection, confirms=True))
            return self._open

    @property
    def why_closed(self) -> str | None:
        """Why it opens no connection any more: `close` was called, or its connection is that of a parent process."""
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
            try:
                await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)
            except Exception as error:
                if not is_connection_error(error):
                    raise

    @asynccontextmanager
    async def _alone(self, message_id: str | None) -> AsyncIterator[None]:
        """One publish at a time per message_id: the broker's returns are told apart by it alone."""
        if message_id is None:
            yield
            return
        turn = self._same_id.setdefault(message_id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                yield
        finally:
            turn.users -= 1
            if not turn.users:
                del self._same_id[message_id]


@dataclass(slots=True)
class OpenChannel:
    """An open channel, and how many publishes are under way on it.

    Spent is one on which RabbitMQ has refused a message. A channel keeps the leader of each quorum queue that it has
    published to, and RabbitMQ 3.10 may keep one that is gone: it then refuses everything for that queue until the
    leader's node is back (10 s and more, seen), though another node leads it by now. A new channel looks it up.
    """

    channel: AbstractChannel
    in_flight: int = 0
    is_spent: bool = False

    @property
    def is_closed(self) -> bool:
        """Whether what is under way on it is lost."""
        return bool(self.channel.is_closed)

    @property
    def is_good(self) -> bool:
        """Whether to publish on it."""
        return not self.is_spent and not self.is_closed


@asynccontextmanager
async def _in_use(channel: OpenChannel) -> AsyncIterator[None]:
    """For one publish; a channel that is spent is closed by the last that leaves it."""
    channel.in_flight += 1
    try:
        yield
    finally:
        channel.in_flight -= 1
        if channel.is_spent and not channel.in_flight:
            with suppress(Exception):  # it is spent: whatever goes wrong with it, another one takes its place
                await asyncio.wait_for(channel.channel.close(), CLOSE_TIMEOUT_S)


async def _send(
    channel: OpenChannel,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: Basic.Properties,
    *,
    mandatory: bool,
) -> None:
    """Publish and wait for the confirm; what went wrong, in our words."""
    message_id = properties.message_id
    try:
        # For an event nobody waits until it is written: its confirm says so, and the next one need not queue for that.
        await cast("aiormq.Channel", channel.channel).basic_publish(
            body,
            exchange=exchange,
            routing_key=routing_key,
            properties=properties,
            mandatory=mandatory,
            wait=mandatory,
        )
    except aiormq.exceptions.PublishError as error:
        raise Unroutable(f"no queue takes messages for {exchange or routing_key}", message_id) from error
    except aiormq.exceptions.DeliveryError as error:
        channel.is_spent = True
        raise Unconfirmed(f"RabbitMQ refused the message for {exchange or routing_key}", message_id) from error
    except (aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ChannelAccessRefused) as error:
        raise _refusal(error, exchange, message_id) from error
    except (Exception, asyncio.CancelledError) as error:
        is_ours = isinstance(error, asyncio.CancelledError) and not somebody_cancelled()
        if not is_ours and not is_connection_error(error):
            raise
        raise Unconfirmed("the connection broke before RabbitMQ confirmed the message", message_id) from error


def _refusal(error: aiormq.exceptions.AMQPChannelError, exchange: str, message_id: str | None) -> PublishError:
    """What a refusal means for one of the messages in flight: it closes the channel for all of them.

    Only those for the exchange that it names are refused; the others may have arrived before it.
    """
    if f"exchange '{exchange or 'amq.default'}'" not in str(error):
        return Unconfirmed("the channel was closed over another message before RabbitMQ confirmed this one", message_id)
    if isinstance(error, aiormq.exceptions.ChannelAccessRefused):
        where = f"exchange {exchange}" if exchange else "queues directly"
        return Unroutable(f"this user may not publish to {where}: ask for the write permission", message_id)
    return Unroutable(
        f"there is no exchange {exchange}: start the consumer once, or run `signalq topology apply`", message_id
    )


class _Turn:
    """The lock of one message_id, kept while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
