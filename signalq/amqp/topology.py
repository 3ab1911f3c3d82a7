"""The topology: every object that must be on the broker, and the only place with queue arguments.

    producers -> [orders] --routing key = connectorName--> (orders.connectorName)    own lanes
                    | alternate
                [unrouted] -> (orders)                      the shared lane
    park  -> [delay.k] -> (delay.k, 2^k s) -dead-letter-> (due) -> a lane, or parked again

[exchange], (queue). The ladder is RabbitMQ's only durable delay without a plugin whose queues never block at the head:
every queue has one fixed TTL. A message is held at the highest set bit of its delay, comes back, and enters again with
the rest of it. So the errors of two levels never add up, and after an outage no overdue message has lower levels yet to
go through.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiormq
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel

from signalq.amqp.connection import ANSWER_TIMEOUT_S, CONNECTION_ERRORS, open_channel
from signalq.amqp.inspect import Inspector, QueueDepth
from signalq.errors import BrokerUnreachable, TopologyError
from signalq.kinds import Kind
from signalq.names import LADDER_LEVELS, Names

# As good as no limit (decision 7). RabbitMQ 4 would drop an order at its 20th return; -1 makes 3.10 drop it at the
# first; and a queue without a limit cannot be declared again with one.
DELIVERY_LIMIT = 1_000_000_000
# Own lanes are declared over so many channels at once: a new quorum queue takes the broker about 10 ms, most of it
# waiting for its disk.
DECLARING_CHANNELS = 8

Arguments = dict[str, Any]


class MayNotDeclare(TopologyError):
    """The user lacks the right to declare it, so RabbitMQ does not say whether it is as it should be."""

    kind = Kind.NOT_PERMITTED


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange of a `kind`: direct, fanout or topic."""

    name: str
    kind: str
    arguments: Arguments = field(default_factory=dict)

    @property
    def title(self) -> str:
        return f"exchange {self.name}"

    async def declare(self, channel: AbstractChannel) -> None:
        with _refusals(self.title):
            await channel.exchange_declare(
                self.name, exchange_type=self.kind, durable=True, arguments=self.arguments, timeout=ANSWER_TIMEOUT_S
            )


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue; `connector` is that of an own lane, None for any other queue."""

    name: str
    arguments: Arguments
    connector: str | None = None

    @property
    def title(self) -> str:
        return f"queue {self.name}"

    async def declare(self, channel: AbstractChannel) -> None:
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
        return f"binding from {self.source} to {self.destination}"

    async def declare(self, channel: AbstractChannel) -> None:
        with _refusals(self.title):
            await channel.queue_bind(self.destination, self.source, self.routing_key, timeout=ANSWER_TIMEOUT_S)

    async def remove(self, channel: AbstractChannel) -> None:
        """Unbind the queue from the exchange; no error where it is not bound."""
        with _refusals(self.title):
            await channel.queue_unbind(self.destination, self.source, self.routing_key, timeout=ANSWER_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Differing:
    """Objects by title: how some differ from what they should be, and the ones that this user may not compare."""

    sentences: Mapping[str, str]
    uncompared: Sequence[str]


@dataclass(frozen=True, slots=True)
class OwnLane:
    """A connector with a queue of its own; a `strict` one has one active consumer at a time, which keeps order."""

    connector: str
    strict: bool = True


def quorum(**extra: Any) -> Arguments:
    """The arguments of every queue, with `extra` ones: `_` stands for `-`."""
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}
    return arguments | {f"x-{name.replace('_', '-')}": value for name, value in extra.items()}


@dataclass(frozen=True, slots=True)
class Topology:
    """All objects under one prefix; `lanes` are the connectors with a lane of their own."""

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
            arguments = quorum(
                message_ttl=1000 << level,
                dead_letter_strategy="at-least-once",  # dead-lettering is at-most-once without the overflow
                overflow="reject-publish",
                dead_letter_exchange="",
                dead_letter_routing_key=self.names.due,
            )
            yield Queue(self.names.delay(level), arguments)
        yield Queue(self.names.due, quorum(single_active_consumer=True))
        yield Queue(self.names.dead, quorum())
        yield Queue(self.names.ledger, quorum(single_active_consumer=True))
        yield from map(self._own_queue, self.lanes)

    def bindings(self) -> Iterator[Binding]:
        """Every binding, those of own lanes last."""
        yield Binding(self.names.unrouted, self.names.orders, "")
        for level in range(LADDER_LEVELS):
            yield Binding(self.names.delay(level), self.names.delay(level), "#")
        yield from (_own_binding(self.names, lane.connector) for lane in self.lanes)

    def _own_queue(self, lane: OwnLane) -> Queue:
        arguments = quorum(single_active_consumer=True) if lane.strict else quorum()
        return Queue(self.names.lane(lane.connector), arguments, lane.connector)

    async def declare(self, connection: AbstractConnection) -> None:
        """Declare every object; one that is there with the same arguments stays as it is.

        Raises TopologyError, which names an object that is there with other arguments, or that this user may not
        declare; and BrokerUnreachable.
        """
        channel = await open_channel(connection)
        shared = Topology(self.names)
        objects: list[Exchange | Queue | Binding] = [*shared.exchanges(), *shared.queues(), *shared.bindings()]
        for declared in objects:
            await declared.declare(channel)
        await channel.close()
        await self._declare_lanes(connection)

    async def _declare_lanes(self, connection: AbstractConnection) -> None:
        """Declare the own lanes, side by side; the first failure ends it."""
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
            await self._own_queue(lane).declare(channel)
            await _own_binding(self.names, lane.connector).declare(channel)
        await channel.close()

    async def missing(self, connection: AbstractConnection) -> list[str]:
        """The titles of the exchanges and queues that are missing; changes nothing (AMQP can't ask for bindings)."""
        inspector = Inspector(connection)
        exchanges = [exchange.title for exchange in self.exchanges() if not await inspector.has_exchange(exchange.name)]
        queues = [queue.title for queue in self.queues() if await inspector.depth(queue.name) is None]
        await inspector.close()
        return exchanges + queues

    async def differing(self, connection: AbstractConnection, missing: Collection[str]) -> Differing:
        """The objects, apart from the `missing` ones, that are not as they should be; changes nothing.

        RabbitMQ compares an object that is there with a declaration of it, and leaves it as it is, provided that the
        user has the right to declare it. Raises BrokerUnreachable.
        """
        differing: dict[str, str] = {}
        uncompared: list[str] = []
        channel = await open_channel(connection)
        objects: list[Exchange | Queue] = [*self.exchanges(), *self.queues()]
        for declared in objects:
            if declared.title in missing:
                continue
            if channel.is_closed:  # by the refusal before
                channel = await open_channel(connection)
            try:
                await declared.declare(channel)
            except MayNotDeclare:
                uncompared.append(declared.title)
            except TopologyError as error:
                differing[declared.title] = str(error)
        await channel.close()
        return Differing(differing, uncompared)

    async def depths(self, connection: AbstractConnection) -> dict[str, QueueDepth | None]:
        """The ready messages and the consumers of each queue, by its name; None for a queue that is missing."""
        inspector = Inspector(connection)
        found = {queue.name: await inspector.depth(queue.name) for queue in self.queues()}
        await inspector.close()
        return found


def _own_binding(names: Names, connector: str) -> Binding:
    return Binding(names.orders, names.lane(connector), connector)


async def unbind_lane(connection: AbstractConnection, names: Names, connector: str) -> None:
    """Let the exchange put no more messages into an own lane. Raises BrokerUnreachable, TopologyError."""
    channel = await open_channel(connection)
    await _own_binding(names, connector).remove(channel)
    await channel.close()


def ladder_entry(whole_seconds: int, names: Names) -> tuple[str, str]:
    """The exchange and the routing key that hold a message for the highest set bit of `whole_seconds`.

    `whole_seconds` is from 0 to LADDER_MAX_S. At 0 the entry is the due queue itself, by the default exchange.
    """
    if whole_seconds == 0:
        return "", names.due
    return names.delay(whole_seconds.bit_length() - 1), names.due


@contextmanager
def _refusals(title: str, connector: str | None = None) -> Iterator[None]:
    """Translate a refusal, which closes the channel, to a sentence that names the object.

    `connector` is that of an own lane.
    """
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
