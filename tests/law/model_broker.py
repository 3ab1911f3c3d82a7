"""A broker for the model of the law: queues with redelivery in order, one active consumer each, and the delay ladder.

What RabbitMQ does with a quorum queue: what a closed channel had not acknowledged goes back to its place and comes
again, marked; an acknowledgement under way when the channel closes is not processed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Protocol

from pamqp.commands import Basic

from signalq.amqp.port import Arrival, Port
from signalq.names import Names
from tests.law.model_scenario import BEFORE_AN_ACK

ACK_UNDER_WAY_S = 0.001
# The ladder hands back a little late (measured, see consumer/orders/delays.py).
LADDER_LATE_S = 0.02


class Member(Protocol):
    """Whoever consumes: a process of the model."""

    async def gate(self, label: str, local: tuple[str, ...] = ()) -> str | None: ...

    def passes(self, label: str, local: tuple[str, ...] = ()) -> str | None: ...


@dataclass(slots=True, eq=False)
class Stored:
    """A message in a queue; `place` is its place there, which it keeps until it is acknowledged."""

    place: int
    body: bytes
    properties: Basic.Properties
    routing_key: str
    redelivered: bool = False


@dataclass(slots=True, eq=False)
class Queue:
    """Ready messages in order, and the channels that consume: the first is the active one."""

    name: str
    ready: list[Stored] = field(default_factory=list)
    channels: list[Channel] = field(default_factory=list)


class Channel:
    """What `signalq.consumer.broker` needs of an aiormq channel."""

    def __init__(self, broker: ModelBroker, member: Member, prefetch: int) -> None:
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_consumer_cancel_callbacks: set[Any] = set()
        self.member = member
        self.prefetch = prefetch
        self.queue: Queue | None = None
        self.port: Port | None = None
        self.unacked: dict[int, Stored] = {}
        self.closed = False
        self._broker = broker
        self._tags = 0

    async def consume(self, queue: str, port: Port) -> None:
        await self.member.gate(f"consumes {queue}")
        self._check_open()
        self.queue, self.port = self._broker.queue(queue), port
        self.queue.channels.append(self)
        self._broker.pump(self.queue)

    def read_on(self) -> None:
        """Read what waits for room: nothing does here."""

    async def basic_ack(self, tag: int, *, wait: bool) -> None:
        assert not wait, "an ack has no answer to wait for"
        what = f"ack of {tag} in {self.queue and self.queue.name}"
        await self.member.gate(f"{what}: about to be sent", BEFORE_AN_ACK)
        self._check_open()
        self._broker.acks_under_way += 1
        asyncio.get_running_loop().call_later(ACK_UNDER_WAY_S, self._process_ack, tag, what)
        await self.member.gate(f"{what}: sent")

    async def basic_qos(self, *, prefetch_count: int) -> None:
        assert prefetch_count == self.prefetch, "it must not change: that reorders"
        await self.member.gate("asks whether its acks are processed")
        self._check_open()
        await asyncio.sleep(ACK_UNDER_WAY_S)
        self._check_open()

    async def close(self) -> None:
        if not self.closed:
            await self.member.gate("closes a channel")
        self._broker.close(self)
        self.tell_closed()

    def tell_closed(self) -> None:
        """The client learns that the channel is gone."""
        if not self.closing.done():
            self.closing.set_result(None)

    def deliver(self, stored: Stored) -> None:
        """Synchronously, as the step that reads the socket does it: this keeps the order of the queue."""
        self._tags += 1
        self.unacked[self._tags] = stored
        assert self.port is not None
        arrival = Arrival(
            tag=self._tags,
            redelivered=stored.redelivered,
            exchange="",
            routing_key=stored.routing_key,
            properties=stored.properties,
            body_bytes=len(stored.body),
            body=stored.body,
        )
        stored.redelivered = True
        self.port.on_arrival(arrival)

    def _process_ack(self, tag: int, what: str) -> None:
        self._broker.acks_under_way -= 1
        if self.closed:
            return
        assert tag in self.unacked, f"{what}: twice"
        del self.unacked[tag]
        assert self.queue is not None
        self._broker.pump(self.queue)
        self.member.passes(f"{what}: processed")

    def _check_open(self) -> None:
        if self.closed:
            raise ConnectionResetError("the channel is closed")


class ModelBroker:
    """All queues; every publish that arrives is durable."""

    def __init__(self, names: Names, own_lanes: frozenset[str]) -> None:
        self.names = names
        self._queues: dict[str, Queue] = {}
        self._own_lanes = own_lanes
        self._places = 0
        self._on_the_ladder = 0
        self.acks_under_way = 0
        self.came_to_lanes: list[tuple[int, bytes, Basic.Properties]] = []

    def queue(self, name: str) -> Queue:
        """A queue by its name."""
        return self._queues.setdefault(name, Queue(name))

    @property
    def letters(self) -> list[Stored]:
        """What lies in the dead-letter queue."""
        return self.queue(self.names.dead).ready

    @property
    def is_idle(self) -> bool:
        """Whether no message is anywhere but in the dead letters."""
        busy = [queue for queue in self._queues.values() if queue.name != self.names.dead]
        unacked = any(channel.unacked for queue in busy for channel in queue.channels)
        return not (self._on_the_ladder or self.acks_under_way or unacked or any(queue.ready for queue in busy))

    def publish(self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties) -> None:
        """A publish has arrived."""
        if exchange.startswith(self.names.delay(0)[:-1]):
            assert routing_key == self.names.due
            self._hold(1 << int(exchange.rpartition(".")[2]), body, properties)
        elif exchange == self.names.orders:
            own = f"{self.names.orders}.{routing_key}"
            self._store(own if own in self._own_lanes else self.names.orders, routing_key, body, properties)
        elif exchange != self.names.outcomes:  # to which nothing is bound
            assert exchange == "", exchange
            self._store(routing_key, routing_key, body, properties)

    def pump(self, queue: Queue) -> None:
        """Deliver what may be delivered."""
        while queue.ready and queue.channels and len(queue.channels[0].unacked) < queue.channels[0].prefetch:
            queue.channels[0].deliver(queue.ready.pop(0))

    def close(self, channel: Channel) -> None:
        """What the channel had not acknowledged goes back to its place; the next consumer becomes active."""
        if channel.closed:
            return
        channel.closed = True
        if channel.queue is None:
            return
        queue = channel.queue
        queue.channels.remove(channel)
        queue.ready = sorted([*channel.unacked.values(), *queue.ready], key=lambda stored: stored.place)
        channel.unacked.clear()
        asyncio.get_running_loop().call_soon(self.pump, queue)

    def channels_of(self, member: Member) -> list[Channel]:
        """The channels on which a process consumes."""
        return [channel for queue in self._queues.values() for channel in queue.channels if channel.member is member]

    def _store(self, queue: str, routing_key: str, body: bytes, properties: Basic.Properties) -> None:
        self._places += 1
        self.queue(queue).ready.append(Stored(self._places, body, properties, routing_key))
        if queue.startswith(self.names.orders):
            self.came_to_lanes.append((self._places, body, properties))
        self.pump(self.queue(queue))

    def _hold(self, seconds: int, body: bytes, properties: Basic.Properties) -> None:
        self._on_the_ladder += 1
        self._places += 1
        # Messages held equally long keep their order.
        late_s = seconds + LADDER_LATE_S + self._places * 1e-6
        asyncio.get_running_loop().call_later(late_s, self._hand_back, body, properties)

    def _hand_back(self, body: bytes, properties: Basic.Properties) -> None:
        self._on_the_ladder -= 1
        self._store(self.names.due, self.names.due, body, properties)
