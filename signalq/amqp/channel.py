"""aiormq's channel, for queues of every name that RabbitMQ takes.

RabbitMQ takes any UTF-8 of at most 255 bytes. In the name of a queue pamqp allows only letters, digits and
`-_.:@#,/+ `, and raises ValueError for any other; but a lane has the name of its connector, which may be any text. So
this channel sends pamqp's own frames without that check, and pamqp stays as it is for all other code in the process.
Exchanges don't need this: their names come from the prefix alone.
"""

from __future__ import annotations

from typing import Any, cast

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.tools import awaitable
from pamqp.commands import Basic, Queue


class _Declare(Queue.Declare):
    def validate(self) -> None:
        """Any name."""


class _Bind(Queue.Bind):
    def validate(self) -> None:
        """Any name."""


class _Unbind(Queue.Unbind):
    def validate(self) -> None:
        """Any name."""


class _Consume(Basic.Consume):
    def validate(self) -> None:
        """Any name."""


class AnyNameChannel(aiormq.Channel):
    """aiormq's calls that name a queue, for any name; `frame` holds the other fields of the frame."""

    async def queue_declare(self, queue: str = "", *, timeout: Any = None, **frame: Any) -> Any:
        """Declare a queue, or ask whether it is there."""
        return await self.rpc(_Declare(queue=queue, **frame), timeout=timeout)

    async def queue_bind(  # type: ignore[override]
        self, queue: str, exchange: str, routing_key: str = "", *, timeout: Any = None, **frame: Any
    ) -> Any:
        """Bind a queue to an exchange."""
        return await self.rpc(_Bind(queue=queue, exchange=exchange, routing_key=routing_key, **frame), timeout=timeout)

    async def queue_unbind(  # type: ignore[override]
        self, queue: str = "", exchange: str = "", routing_key: str = "", *, timeout: Any = None, **frame: Any
    ) -> Any:
        """Take a binding away."""
        unbind = _Unbind(queue=queue, exchange=exchange, routing_key=routing_key, **frame)
        return await self.rpc(unbind, timeout=timeout)

    async def basic_consume(
        self, queue: str, consumer_callback: Any, *, consumer_tag: str | None = None, timeout: Any = None, **frame: Any
    ) -> Any:
        """Consume a queue."""
        tag = consumer_tag or f"signalq.{self.number}.{len(self.consumers)}"
        self.consumers[tag] = awaitable(consumer_callback)
        return await self.rpc(_Consume(queue=queue, consumer_tag=tag, **frame), timeout=timeout)


def taking_any_name(channel: AbstractChannel) -> AbstractChannel:
    """Let a channel take any name from now on, and return it.

    aiormq's connection makes channels of its own class alone; AnyNameChannel adds no state to it, so the class of a
    channel can be changed.
    """
    cast("Any", channel).__class__ = AnyNameChannel
    return channel
