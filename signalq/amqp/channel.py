"""aiormq's channel, for queues of every name that RabbitMQ takes.

RabbitMQ takes every UTF-8 of at most 255 bytes. pamqp allows the name of a queue only letters, digits and
`-_.:@#,/+ `, and raises ValueError for any other; but a lane is named after its connector, whatever that is called. So
the frames of a queue are pamqp's own here, but for that check, and pamqp stays as it is for everybody else in the
process. Exchanges are not concerned: their names come from the prefix alone.
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
    """The calls that name a queue, as aiormq has them; `frame` is what else the frame holds."""

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
        """Have the messages of a queue handed over."""
        tag = consumer_tag or f"signalq.{self.number}.{len(self.consumers)}"
        self.consumers[tag] = awaitable(consumer_callback)
        return await self.rpc(_Consume(queue=queue, consumer_tag=tag, **frame), timeout=timeout)


def taking_any_name(channel: AbstractChannel) -> AbstractChannel:
    """The same channel, from now on for any name. aiormq's connection makes channels of its own class and no other;
    this one has no state beside that.
    """
    cast("Any", channel).__class__ = AnyNameChannel
    return channel
