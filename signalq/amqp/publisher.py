"""Publish so that the broker confirms each message, on a connection that is opened when needed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic

from signalq.amqp.confirming_channel import ConfirmingChannel
from signalq.amqp.connection import CLOSE_TIMEOUT_S, HEARTBEAT_S, connect, is_connection_error, open_channel
from signalq.errors import BrokerUnreachable

CLOSED = "the publisher is closed"
FORKED = "the publisher was entered in another process, before a fork: make and enter one in this process"


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
        self._is_closed = False
        # The process of its connection: after a fork the socket is the parent's, and bytes from here would garble it.
        self._process: int | None = None
        self._same_id: dict[str, _Turn] = {}

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True
    ) -> None:
        """Return once the broker has the message in every queue it belongs to; without `mandatory` that may be none.

        It waits as long as the connection lives, also while a broker in need blocks it: giving up sooner would leave
        a message that may still arrive. Bound it with asyncio.timeout where needed.

        Raises BrokerUnreachable (nothing was sent), Unroutable (it is in no queue), Unconfirmed (it may be).
        """
        await self.publish_on(await self.channel(), exchange, routing_key, body, properties, mandatory=mandatory)

    async def publish_on(
        self,
        channel: ConfirmingChannel,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = True,
    ) -> None:
        """Publish on a channel that `channel()` returned, and on no later one. Raises Unconfirmed once that is closed.

        So no message overtakes those that a broken connection left behind.
        """
        # The broker's returns are told apart by message_id alone. Without `mandatory` nothing is returned.
        async with channel.in_use(), self._alone(properties.message_id if mandatory else None):
            await channel.publish(exchange, routing_key, body, properties, mandatory=mandatory)

    async def channel(self) -> ConfirmingChannel:
        """The open channel, opened now if there is none. Raises BrokerUnreachable, also after `close`."""
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
            try:
                await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)
            except Exception as error:
                if not is_connection_error(error):
                    raise

    @asynccontextmanager
    async def _alone(self, message_id: str | None) -> AsyncIterator[None]:
        """Publish one at a time of each message_id."""
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


class _Turn:
    """The lock of one message_id, kept while a publish holds it or waits for it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
