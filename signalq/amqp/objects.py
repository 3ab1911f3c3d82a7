"""One exchange, one queue, one binding: what each is, and how it is declared.

A declaration creates what is missing, and leaves as it is what is there with the same arguments. It raises

- TopologyError for an object that is there with other arguments: it stays as it is;
- MayNotDeclare where the user lacks the right;
- BrokerUnreachable where the connection breaks. Each refusal closes the channel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import ANSWER_TIMEOUT_S, CONNECTION_ERRORS
from signalq.errors import BrokerUnreachable, TopologyError

Arguments = dict[str, Any]


class MayNotDeclare(TopologyError):
    """The user lacks the right to declare it, so RabbitMQ does not say whether it is as it should be."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange of a `kind`: direct, fanout or topic."""

    name: str
    kind: str
    arguments: Arguments = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its kind of object and its name, as people read it."""
        return f"exchange {self.name}"

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare it."""
        with _refusals(self.title):
            await channel.exchange_declare(
                self.name,
                exchange_type=self.kind,
                durable=True,
                arguments=self.arguments,
                timeout=ANSWER_TIMEOUT_S,
            )


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue; `connector` is that of an own lane, None for any other queue."""

    name: str
    arguments: Arguments
    connector: str | None = None

    @property
    def title(self) -> str:
        """Its kind of object and its name, as people read it."""
        return f"queue {self.name}"

    async def declare(self, channel: AbstractChannel) -> None:
        """Declare it."""
        with _refusals(self.title, self.connector):
            await channel.queue_declare(self.name, durable=True, arguments=self.arguments, timeout=ANSWER_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding from an exchange, the `source`, to a queue."""

    source: str
    destination: str
    routing_key: str

    @property
    def title(self) -> str:
        """Its kind of object and its ends, as people read it."""
        return f"binding from {self.source} to {self.destination}"

    async def declare(self, channel: AbstractChannel) -> None:
        """Bind the queue to the exchange."""
        with _refusals(self.title):
            await channel.queue_bind(self.destination, self.source, self.routing_key, timeout=ANSWER_TIMEOUT_S)

    async def remove(self, channel: AbstractChannel) -> None:
        """Unbind the queue from the exchange; no error where it is not bound."""
        with _refusals(self.title):
            await channel.queue_unbind(self.destination, self.source, self.routing_key, timeout=ANSWER_TIMEOUT_S)


@contextmanager
def _refusals(title: str, connector: str | None = None) -> Iterator[None]:
    """Translate a refusal to a sentence that names the object; `connector` is that of an own lane."""
    advice = "delete it or use another broker.prefix"
    if connector is not None:
        advice = f"set connectors.{connector}.ordering back, or delete the queue once it is empty"
    try:
        yield
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(f"{title} is there with other arguments ({error}): {advice}") from error
    except aiormq.exceptions.ChannelAccessRefused as error:
        raise MayNotDeclare(
            f"{title} may not be declared by this user: grant configure, or set broker.topology to passive"
        ) from error
    except CONNECTION_ERRORS as error:
        raise BrokerUnreachable(f"the connection broke while declaring {title} ({type(error).__name__})") from error
