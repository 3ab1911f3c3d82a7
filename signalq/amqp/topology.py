"""What must be there on the broker, and the only place with queue arguments.

    producers -> [orders] --routing key = connectorName--> own lanes (where bound)
                    | alternate
                [unrouted] -> (orders)                      the shared lane
    park  -> [delay.k] -> (delay.k, 2^k s) -dead-letter-> (due) -> [orders], or parked again

[exchange], (queue). The ladder is RabbitMQ's only durable delay without a plugin whose queues never block at the head:
every queue has one fixed TTL. A message is held at the highest set bit of its delay, comes back, and enters again with
what is left: so one level's error is never added to the next one's, and after an outage nothing that is overdue has
lower levels yet to go through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import CONNECTION_ERRORS, open_channel, somebody_cancelled
from signalq.errors import BrokerUnreachable, TopologyError
from signalq.names import LADDER_LEVELS, Names

# As good as none. RabbitMQ 4 would drop an order at its 20th return; -1 makes 3.10 drop it at the first; and a queue
# without a limit cannot be declared again with one.
DELIVERY_LIMIT = 1_000_000_000
ANSWER_TIMEOUT_S = 30.0

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange; `alternate` takes what no binding matches."""

    name: str
    kind: str
    arguments: Arguments = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue."""

    name: str
    arguments: Arguments


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue."""

    source: str
    destination: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """Messages ready to be delivered, and consumers, of one queue."""

    ready: int
    consumers: int


def quorum(**extra: Any) -> Arguments:
    """The arguments of every queue, and `extra` ones with `_` for `-`."""
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    return arguments | {f"x-{name.replace('_', '-')}": value for name, value in extra.items()}


@dataclass(frozen=True, slots=True)
class Topology:
    """All objects under one prefix."""

    names: Names

    def exchanges(self) -> Iterator[Exchange]:
        """Every exchange, alternates before those that name them."""
        yield Exchange(self.names.unrouted, "fanout")
        yield Exchange(self.names.orders, "direct", {"alternate-exchange": self.names.unrouted})
        for level in range(LADDER_LEVELS):
            yield Exchange(self.names.delay(level), "topic")
        yield Exchange(self.names.outcomes, "topic")

    def queues(self) -> Iterator[Queue]:
        """Every queue."""
        yield Queue(self.names.orders, quorum(single_active_consumer=True))
        for level in range(LADDER_LEVELS):
            yield Queue(self.names.delay(level), self._ladder_arguments(level))
        yield Queue(self.names.due, quorum(single_active_consumer=True))
        yield Queue(self.names.dead, quorum())
        yield Queue(self.names.ledger, quorum(single_active_consumer=True))

    def bindings(self) -> Iterator[Binding]:
        """Every binding."""
        yield Binding(self.names.unrouted, self.names.orders, "")
        for level in range(LADDER_LEVELS):
            yield Binding(self.names.delay(level), self.names.delay(level), "#")

    def _ladder_arguments(self, level: int) -> Arguments:
        """At-least-once dead-lettering needs the strategy and the overflow together, or it is at-most-once."""
        return quorum(
            message_ttl=1000 << level,
            dead_letter_strategy="at-least-once",
            overflow="reject-publish",
            dead_letter_exchange="",
            dead_letter_routing_key=self.names.due,
        )

    async def declare(self, connection: AbstractConnection) -> None:
        """Declare all of it; what is there already with the same arguments stays as it is.

        Raises TopologyError that names what is there with other arguments, or for which the right is missing.
        """
        channel = await open_channel(connection)
        for exchange in self.exchanges():
            with _named(f"exchange {exchange.name}"):
                await channel.exchange_declare(
                    exchange.name,
                    exchange_type=exchange.kind,
                    durable=True,
                    arguments=exchange.arguments,
                    timeout=ANSWER_TIMEOUT_S,
                )
        for queue in self.queues():
            with _named(f"queue {queue.name}"):
                await channel.queue_declare(
                    queue.name, durable=True, arguments=queue.arguments, timeout=ANSWER_TIMEOUT_S
                )
        for binding in self.bindings():
            with _named(f"binding from {binding.source} to {binding.destination}"):
                await channel.queue_bind(
                    binding.destination, binding.source, binding.routing_key, timeout=ANSWER_TIMEOUT_S
                )
        await channel.close()

    async def missing(self, connection: AbstractConnection) -> list[str]:
        """What is not there, by kind and name; changes nothing (AMQP can't ask for bindings or arguments)."""
        exchanges = [exchange.name for exchange in self.exchanges()]
        queues = [queue.name for queue in self.queues()]
        return [f"exchange {name}" for name in exchanges if await _depth(connection, exchange=name) is None] + [
            f"queue {name}" for name in queues if await _depth(connection, queue=name) is None
        ]

    async def depths(self, connection: AbstractConnection) -> dict[str, QueueDepth | None]:
        """How many messages are ready and how many consumers there are, by queue; None for one that is missing."""
        return {queue.name: await _depth(connection, queue=queue.name) for queue in self.queues()}


async def queue_depth(connection: AbstractConnection, queue: str) -> QueueDepth | None:
    """How full a queue is; None where there is no such queue. Raises BrokerUnreachable."""
    return await _depth(connection, queue=queue)


async def _depth(connection: AbstractConnection, *, exchange: str = "", queue: str = "") -> QueueDepth | None:
    """Ask passively, on a channel of its own: a 404 closes the channel that asked."""
    channel = await open_channel(connection)
    try:
        if exchange:
            await channel.exchange_declare(exchange, passive=True, timeout=ANSWER_TIMEOUT_S)
            return QueueDepth(0, 0)
        answer = await channel.queue_declare(queue, passive=True, timeout=ANSWER_TIMEOUT_S)
        return QueueDepth(answer.message_count or 0, answer.consumer_count or 0)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return None
    except asyncio.CancelledError as error:
        if somebody_cancelled():
            raise
        raise BrokerUnreachable(f"RabbitMQ did not answer about {exchange or queue}") from error
    except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
        raise BrokerUnreachable(f"RabbitMQ did not answer about {exchange or queue}") from error
    finally:
        await channel.close()


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say in one sentence which object the broker refused, and why."""
    try:
        yield
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(
            f"{what} is there with other arguments ({error}): delete it or use another broker.prefix"
        ) from error
    except aiormq.exceptions.ChannelAccessRefused as error:
        raise TopologyError(
            f"{what} may not be declared by this user: grant configure, or set broker.topology to passive"
        ) from error
    except CONNECTION_ERRORS as error:
        raise BrokerUnreachable(f"the connection broke while declaring {what} ({type(error).__name__})") from error


def ladder_entry(whole_seconds: int, names: Names) -> tuple[str, str]:
    """The exchange and the routing key that hold a message for the highest set bit of `whole_seconds`.

    From 0 to LADDER_MAX_S; with nothing left to wait the due queue itself is the entry, by the default exchange.
    """
    if whole_seconds == 0:
        return "", names.due
    return names.delay(whole_seconds.bit_length() - 1), names.due
