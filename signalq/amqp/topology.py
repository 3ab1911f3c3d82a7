"""What must be there on the broker, and the only place with queue arguments.

    producers -> [orders] --routing key = connectorName--> (orders.connectorName)    own lanes
                    | alternate
                [unrouted] -> (orders)                      the shared lane
    park  -> [delay.k] -> (delay.k, 2^k s) -dead-letter-> (due) -> a lane, or parked again

[exchange], (queue). The ladder is RabbitMQ's only durable delay without a plugin whose queues never block at the head:
every queue has one fixed TTL. A message is held at the highest set bit of its delay, comes back, and enters again with
what is left: so one level's error is never added to the next one's, and after an outage nothing that is overdue has
lower levels yet to go through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import CONNECTION_ERRORS, open_channel
from signalq.amqp.inspect import ANSWER_TIMEOUT_S, Inspector, QueueDepth
from signalq.errors import BrokerUnreachable, TopologyError
from signalq.names import LADDER_LEVELS, Names

# As good as none. RabbitMQ 4 would drop an order at its 20th return; -1 makes 3.10 drop it at the first; and a queue
# without a limit cannot be declared again with one.
DELIVERY_LIMIT = 1_000_000_000
# Own lanes are declared over so many channels at once: making a quorum queue takes the broker about 10 ms, most of it
# waiting for its disk.
DECLARING_CHANNELS = 8

Arguments = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange; `alternate` takes what no binding matches."""

    name: str
    kind: str
    arguments: Arguments = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What people call it."""
        return f"exchange {self.name}"


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue; `connector` is whose own lane it is, if it is one."""

    name: str
    arguments: Arguments
    connector: str | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"queue {self.name}"


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue."""

    source: str
    destination: str
    routing_key: str


@dataclass(frozen=True, slots=True)
class Differing:
    """What is there and is not as it should be, with a sentence for each; and what could not be compared, for lack of
    the right to declare it.
    """

    sentences: Mapping[str, str]
    uncompared: Sequence[str]


class MayNotDeclare(TopologyError):
    """The user lacks the right to declare it; whether it is as it should be is not known."""


@dataclass(frozen=True, slots=True)
class OwnLane:
    """A connector with a queue of its own; `strict` ones have one active consumer at a time, which keeps order."""

    connector: str
    strict: bool = True


def quorum(**extra: Any) -> Arguments:
    """The arguments of every queue, and `extra` ones with `_` for `-`."""
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    return arguments | {f"x-{name.replace('_', '-')}": value for name, value in extra.items()}


@dataclass(frozen=True, slots=True)
class Topology:
    """All objects under one prefix; `lanes` are the connectors that have one of their own."""

    names: Names
    lanes: tuple[OwnLane, ...] = ()

    def exchanges(self) -> Iterator[Exchange]:
        """Every exchange, alternates before those that name them."""
        yield Exchange(self.names.unrouted, "fanout")
        yield Exchange(self.names.orders, "direct", {"alternate-exchange": self.names.unrouted})
        for level in range(LADDER_LEVELS):
            yield Exchange(self.names.delay(level), "topic")
        yield Exchange(self.names.outcomes, "topic")

    def queues(self) -> Iterator[Queue]:
        """Every queue, own lanes last."""
        yield Queue(self.names.orders, quorum(single_active_consumer=True))
        for level in range(LADDER_LEVELS):
            yield Queue(self.names.delay(level), self._ladder_arguments(level))
        yield Queue(self.names.due, quorum(single_active_consumer=True))
        yield Queue(self.names.dead, quorum())
        yield Queue(self.names.ledger, quorum(single_active_consumer=True))
        yield from map(self._own_queue, self.lanes)

    def bindings(self) -> Iterator[Binding]:
        """Every binding, those of own lanes last."""
        yield Binding(self.names.unrouted, self.names.orders, "")
        for level in range(LADDER_LEVELS):
            yield Binding(self.names.delay(level), self.names.delay(level), "#")
        yield from map(self._own_binding, self.lanes)

    def _own_queue(self, lane: OwnLane) -> Queue:
        arguments = quorum(single_active_consumer=True) if lane.strict else quorum()
        return Queue(self.names.lane(lane.connector), arguments, lane.connector)

    def _own_binding(self, lane: OwnLane) -> Binding:
        return Binding(self.names.orders, self.names.lane(lane.connector), lane.connector)

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
            await _declare_exchange(channel, exchange)
        base = Topology(self.names)
        for queue in base.queues():
            await _declare_queue(channel, queue)
        for binding in base.bindings():
            await _bind(channel, binding)
        await channel.close()
        await self._declare_lanes(connection)

    async def _declare_lanes(self, connection: AbstractConnection) -> None:
        """Own lanes, side by side; the first that fails ends it."""
        shares = [self.lanes[start::DECLARING_CHANNELS] for start in range(DECLARING_CHANNELS)]
        tasks = [asyncio.create_task(self._declare_some(connection, share)) for share in shares if share]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _declare_some(self, connection: AbstractConnection, lanes: Sequence[OwnLane]) -> None:
        channel = await open_channel(connection)
        for lane in lanes:
            await _declare_queue(channel, self._own_queue(lane))
            await _bind(channel, self._own_binding(lane))
        await channel.close()

    async def missing(self, connection: AbstractConnection) -> list[str]:
        """What is not there, by kind and name; changes nothing (AMQP can't ask for bindings)."""
        asker = Inspector(connection)
        exchanges = [exchange.title for exchange in self.exchanges() if not await asker.has_exchange(exchange.name)]
        queues = [queue.title for queue in self.queues() if await asker.depth(queue.name) is None]
        await asker.close()
        return exchanges + queues

    async def differing(self, connection: AbstractConnection, missing: Collection[str]) -> Differing:
        """What of that which is there, so is not `missing`, is not as it should be; changes nothing.

        What is there RabbitMQ compares with a declaration, and leaves as it is; it does so for who may declare it.
        Raises BrokerUnreachable.
        """
        differing: dict[str, str] = {}
        uncompared: list[str] = []
        channel = await open_channel(connection)
        everything: list[Exchange | Queue] = [*self.exchanges(), *self.queues()]
        for declared in everything:
            if declared.title in missing:
                continue
            if channel.is_closed:  # by the refusal before
                channel = await open_channel(connection)
            try:
                if isinstance(declared, Exchange):
                    await _declare_exchange(channel, declared)
                else:
                    await _declare_queue(channel, declared)
            except MayNotDeclare:
                uncompared.append(declared.title)
            except TopologyError as error:
                differing[declared.title] = str(error)
        await channel.close()
        return Differing(differing, uncompared)

    async def depths(self, connection: AbstractConnection) -> dict[str, QueueDepth | None]:
        """How many messages are ready and how many consumers there are, by queue; None for one that is missing."""
        asker = Inspector(connection)
        found = {queue.name: await asker.depth(queue.name) for queue in self.queues()}
        await asker.close()
        return found


async def unbind_lane(connection: AbstractConnection, names: Names, connector: str) -> None:
    """Let the exchange put nothing more into an own lane. Raises BrokerUnreachable, TopologyError."""
    channel = await open_channel(connection)
    with _named(f"binding from {names.orders} to {names.lane(connector)}"):
        await channel.queue_unbind(names.lane(connector), names.orders, connector, timeout=ANSWER_TIMEOUT_S)
    await channel.close()


async def _declare_exchange(channel: AbstractChannel, exchange: Exchange) -> None:
    with _named(exchange.title):
        await channel.exchange_declare(
            exchange.name,
            exchange_type=exchange.kind,
            durable=True,
            arguments=exchange.arguments,
            timeout=ANSWER_TIMEOUT_S,
        )


async def _declare_queue(channel: AbstractChannel, queue: Queue) -> None:
    with _named(queue.title, queue.connector):
        await channel.queue_declare(queue.name, durable=True, arguments=queue.arguments, timeout=ANSWER_TIMEOUT_S)


async def _bind(channel: AbstractChannel, binding: Binding) -> None:
    with _named(f"binding from {binding.source} to {binding.destination}"):
        await channel.queue_bind(binding.destination, binding.source, binding.routing_key, timeout=ANSWER_TIMEOUT_S)


@contextmanager
def _named(what: str, connector: str | None = None) -> Iterator[None]:
    """Say in one sentence which object the broker refused, and why; `connector` is whose own lane it is."""
    advice = "delete it or use another broker.prefix"
    if connector is not None:
        advice = f"set connectors.{connector}.ordering back, or delete the queue once it is empty"
    try:
        yield
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise TopologyError(f"{what} is there with other arguments ({error}): {advice}") from error
    except aiormq.exceptions.ChannelAccessRefused as error:
        raise MayNotDeclare(
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
