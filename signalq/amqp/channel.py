"""aiormq's channel, amended: what is done for each order goes past its queues, and queues have names of every kind.

A message is published, confirmed, delivered and acknowledged by calls on the connection's Outbox and Incoming; all else
is aiormq's. The callers see aiormq's own methods and errors.

The channel takes queues of every name that RabbitMQ takes: any UTF-8 of at most 255 bytes. pamqp allows only letters,
digits and `-_.:@#,/+ ` there, and raises ValueError for any other; but a lane has the name of its connector, which may
be any text. So this channel sends pamqp's own frames without that check, and pamqp stays as it is for all other code in
the process. Exchanges don't need this: their names come from the prefix alone.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any, cast

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelInvalidStateError
from aiormq.tools import awaitable
from pamqp.base import Frame
from pamqp.commands import Basic, Queue

from signalq.amqp import wire
from signalq.amqp.confirms import Confirms
from signalq.amqp.incoming import Incoming
from signalq.amqp.outbox import Outbox
from signalq.amqp.port import Port
from signalq.errors import SettingsError
from signalq.kinds import Kind

ANOTHER_AIORMQ = (
    f"aiormq {version('aiormq')} passes its frames in another way than this version of signalq knows: "
    "install the version that signalq asks for"
)


def _unchecked(frame: type[Frame]) -> Any:
    """The frame without pamqp's check of its fields."""
    return type(frame.__name__, (frame,), {"validate": lambda _frame: None})


_Declare = _unchecked(Queue.Declare)
_Bind = _unchecked(Queue.Bind)
_Unbind = _unchecked(Queue.Unbind)
_Consume = _unchecked(Basic.Consume)


class Channel(aiormq.Channel):
    """A channel of aiormq whose class became this one; see `amend`."""

    _incoming: Incoming
    # From its first message on.
    _confirms: Confirms | None

    @classmethod
    def amend(cls, made: AbstractChannel, incoming: Incoming) -> Channel:
        """Amend a channel that aiormq's connection has made: it makes channels of its own class alone.

        Raises SettingsError where aiormq is a version that does not write, or read, as this class relies on.
        """
        cast("Any", made).__class__ = cls
        channel = cast("Channel", made)
        if not incoming.has_cut or channel.number not in channel._outbox.open_channels:
            raise SettingsError(ANOTHER_AIORMQ, kind=Kind.PACKAGE_MISSING)
        channel._incoming = incoming
        channel._confirms = None
        return channel

    async def basic_ack(self, delivery_tag: int, multiple: bool = False, wait: bool = True) -> None:  # noqa: FBT001, FBT002 - aiormq's
        """Acknowledge; without `wait` it leaves with all else that this turn of the loop brings."""
        if wait or multiple:
            return await super().basic_ack(delivery_tag, multiple=multiple, wait=wait)
        return self._send(wire.ack(self.number, delivery_tag))

    async def basic_publish(  # type: ignore[override]
        self,
        body: bytes,
        *,
        exchange: str = "",
        routing_key: str,
        properties: Basic.Properties,
        mandatory: bool = False,
    ) -> None:
        """Return once the broker has confirmed a message. It is sent in the first step, if there is room.

        Raises PublishError where it was returned, DeliveryError where it was refused, or whatever closed the channel.
        """
        await self.send(exchange, routing_key, body, properties, mandatory=mandatory)

    def send(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool
    ) -> asyncio.Future[None]:
        """Do as `basic_publish` does, and return at once: the future is done when it would have returned or raised."""
        frames = wire.publish(
            self.number,
            exchange,
            routing_key,
            body,
            properties,
            mandatory=mandatory,
            part_bytes_max=self.max_content_size,
        )
        address = (properties.message_id or None, exchange, routing_key) if mandatory else None
        return self._open_confirms().publish(frames, address)

    async def consume(self, queue: str, port: Port) -> None:
        """Let the port take the deliveries of a queue."""
        self._incoming.ports[self.number] = port
        await self.basic_consume(queue, _refuse)

    def read_on(self) -> None:
        """Read the connection on, where that waits for room in a port."""
        self._incoming.go_on()

    @property
    def _outbox(self) -> Outbox:
        return cast("Outbox", self.write_queue)

    def _open_confirms(self) -> Confirms:
        if self._confirms is None:
            if not self.publisher_confirms:
                raise ChannelInvalidStateError(f"channel {self.number} is not in confirm mode")
            self._confirms = Confirms(self._send)
            self.closing.add_done_callback(self._confirms.end)
            if self.number in self._outbox.open_channels:  # else the number may be another channel's soon
                self._incoming.ports[self.number] = self._confirms
        return self._confirms

    def _send(self, frames: bytes) -> None:
        if self.is_closed:
            raise ChannelInvalidStateError(f"channel {self.number} is closed")
        self._outbox.send(self.number, frames)

    async def queue_declare(self, queue: str = "", *, timeout: Any = None, **frame: Any) -> Any:
        return await self.rpc(_Declare(queue=queue, **frame), timeout=timeout)

    async def queue_bind(  # type: ignore[override]
        self, queue: str, exchange: str, routing_key: str = "", *, timeout: Any = None, **frame: Any
    ) -> Any:
        return await self.rpc(_Bind(queue=queue, exchange=exchange, routing_key=routing_key, **frame), timeout=timeout)

    async def queue_unbind(  # type: ignore[override]
        self, queue: str = "", exchange: str = "", routing_key: str = "", *, timeout: Any = None, **frame: Any
    ) -> Any:
        unbind = _Unbind(queue=queue, exchange=exchange, routing_key=routing_key, **frame)
        return await self.rpc(unbind, timeout=timeout)

    async def basic_consume(
        self, queue: str, consumer_callback: Any, *, consumer_tag: str | None = None, timeout: Any = None, **frame: Any
    ) -> Any:
        tag = consumer_tag or f"signalq.{self.number}.{len(self.consumers)}"
        self.consumers[tag] = awaitable(consumer_callback)
        return await self.rpc(_Consume(queue=queue, consumer_tag=tag, **frame), timeout=timeout)


def _refuse(_message: object) -> None:
    """Take what can't come: the port of the channel takes its deliveries."""
    raise SettingsError(ANOTHER_AIORMQ, kind=Kind.PACKAGE_MISSING)
