"""A session: one channel that consumes one queue, from its opening to its end.

A delivery belongs to its session and ends with it: the broker then delivers the message again, in order. It refuses a
late acknowledgement of the old delivery, which is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import structlog

from signalq.amqp.channel import Channel
from signalq.amqp.connection import CONNECTION_ERRORS, is_connection_error
from signalq.amqp.foreign_properties import held_bytes
from signalq.amqp.port import Arrival
from signalq.consumer.broker.connection import abandon, described, loop_s
from signalq.consumer.broker.intake import BULKY_BYTES_MAX, Intake, Room
from signalq.consumer.ledger import Epoch
from signalq.consumer.orders.message import Message
from signalq.consumer.steps import NO_STEPS, Steps
from signalq.message.identity import new_message_id

# How long the broker may take, at the end, to say that it has our acknowledgements, and the ledger to note it. After
# that the next consumer is in doubt of every intent without a message_id.
FLUSH_S = 0.5
WATCHDOG_PERIOD_S = 10.0
# With many lanes each asks more seldom: all of them together ask the broker this often.
WATCHDOG_QUESTIONS_PER_S = 20.0
# A channel whose oldest unacknowledged message is older than this is given up and opened again. RabbitMQ does the same
# after 30 minutes unless it is told otherwise, some hosts' after 15, and the contract says 10: this leaves a minute.
UNACKED_MAX_S = 540.0
GIVEN_CHARACTERS = 24

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConsumeOptions:
    """How a queue is consumed; `prefetch` is a constant (changing it reorders).

    Of the prefetched messages, `bytes_max` bytes are handed over at a time. Without order (`has_order`), several
    consumers are active in the queue at once. A retired queue is consumed until it is deleted. A queue that `is_apart`
    has a connection of its own. `make_room` makes the room that a session reads its messages into.
    """

    queue: str
    prefetch: int
    bytes_max: int
    has_order: bool = True
    is_retired: bool = False
    is_apart: bool = False
    watch_period_s: float = WATCHDOG_PERIOD_S
    unacked_max_s: float = UNACKED_MAX_S
    make_room: Callable[[], Room] = field(default=lambda: Room(BULKY_BYTES_MAX))


class State(Enum):
    """Where a session is in its life. The first three take messages in; the last two are its end."""

    STANDING_BY = "no message has come; another consumer may be the active one"
    TAKING = "the first message has come; the lane's epoch is being taken"
    ACTIVE = "messages are handed over"
    DRAINING = "the service stops: nothing more is taken in"
    LEAVING = "another replica gets the lane: nothing more is taken in"
    LEFT = "ended after it was leaving"
    LOST = "ended in any other way"


_TAKING_IN = (State.ACTIVE, State.TAKING, State.STANDING_BY)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The messages that a session found in a queue without consumers, and since when the queue had none, if known."""

    messages: int
    unattended_since_ms: int | None


class Session:
    """One channel that consumes one queue. `backlog` is None where the queue had consumers when it was opened."""

    def __init__(
        self,
        channel: Channel,
        options: ConsumeOptions,
        opened_s: float,
        on_delivery: Callable[[Delivery], None] = lambda _delivery: None,
    ) -> None:
        self.options = options
        self.state = State.STANDING_BY
        self.ended = asyncio.Event()
        self.why_ended = ""
        self.epoch: Epoch | None = None
        self.backlog: Backlog | None = None
        self.room = options.make_room()
        # When the first and the latest message came, on the loop's clock; at first the latest is the opening.
        self.active_since_s: float | None = None
        self.last_delivery_s = opened_s
        self._channel = channel
        # The beginning of the ids of messages that bring none: with the number of its delivery each is unique.
        self._given = new_message_id()[:GIVEN_CHARACTERS]
        self._intake: Intake[Delivery] = Intake(self._hand_over, options.bytes_max)
        self._on_delivery = on_delivery
        self._handed_over = 0
        # When each unacknowledged message came, the oldest first.
        self._came_s: dict[int, float] = {}
        # Messages whose ending may be recorded, and whose acknowledgement is not sent yet.
        self._owed: set[int] = set()

    @property
    def takes_in(self) -> bool:
        return self.state in _TAKING_IN

    @property
    def unacked(self) -> int:
        return len(self._came_s)

    @property
    def oldest_s(self) -> float | None:
        """When the oldest unacknowledged message came, on the loop's clock."""
        return next(iter(self._came_s.values()), None)

    @property
    def backlog_left(self) -> int:
        """How many messages of the backlog are not handed over yet."""
        return max(self.backlog.messages - self._handed_over, 0) if self.backlog is not None else 0

    def take(self, arrival: Arrival) -> Delivery | None:
        """Take in a message; None where nothing is taken in any more."""
        tag = arrival.tag
        if not self.takes_in:
            self.room.give(tag)
            return None
        self.note_delivered(tag)
        # A channel numbers its deliveries from 1: the first ones are the backlog.
        backlog = self.backlog if self.backlog is not None and tag <= self.backlog.messages else None
        delivery = Delivery(
            Message(
                body=arrival.body,
                properties=arrival.properties,
                routing_key=arrival.routing_key,
                redelivered=arrival.redelivered,
                queue=self.options.queue,
                exchange=arrival.exchange,
                given_id=f"{self._given}{tag:08x}",
                sent_bytes=arrival.body_bytes,
                unattended_since_ms=backlog.unattended_since_ms if backlog is not None else None,
            ),
            tag,
            self,
            len(arrival.body) + held_bytes(arrival.properties.headers),
        )
        self._intake.take(delivery)
        return delivery

    def note_delivered(self, tag: int) -> None:
        self.last_delivery_s = self._came_s[tag] = loop_s()
        self.active_since_s = self.active_since_s or self.last_delivery_s

    def activate(self, epoch: Epoch) -> None:
        """The lane is ours: hand messages over from now on."""
        if self.backlog is not None:
            # As the lane was found: since this consumer joined, it keeps the lane alive itself.
            epoch = replace(epoch, alive_before_ms=self.backlog.unattended_since_ms)
        self.epoch = epoch
        if self.state is State.TAKING:
            self.state = State.ACTIVE
            self.room.begin()
            self._intake.begin()

    def drain(self) -> None:
        """Take nothing more in: the service stops."""
        if self.takes_in:
            self.state = State.DRAINING

    def leave(self) -> None:
        """Take nothing more in: another replica gets the lane."""
        self.state = State.LEAVING

    def owe(self, tag: int) -> None:
        """Note that the ending of a message may be recorded: until it is acknowledged, it would be in doubt."""
        self._owed.add(tag)

    async def ack(self, tag: int) -> bool:
        """Acknowledge; False where the channel is gone and the broker will deliver the message again."""
        self._came_s.pop(tag, None)
        self._let_go(tag)
        if self.ended.is_set():
            return False
        try:
            await self._channel.basic_ack(tag, wait=False)
        except CONNECTION_ERRORS:
            return False
        self._owed.discard(tag)
        return True

    async def flush(self) -> bool:
        """Return whether the broker has processed every acknowledgement of what has ended here.

        It is asked on this channel, behind the acknowledgements: for the same prefetch again, which changes nothing.
        """
        if self.ended.is_set() or self._owed:
            return False
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._channel.basic_qos(prefetch_count=self.options.prefetch)
        except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
            if not is_connection_error(error):
                raise
            return False
        return not self.ended.is_set()

    def note_closed(self, closing: asyncio.Future[Any]) -> None:
        """Note that the channel has closed, for whatever reason."""
        error = None if closing.cancelled() else closing.exception()
        self.lose(described(error) if error else "the channel was closed")

    def lose(self, why: str) -> None:
        """End the session: its messages will come again on another one."""
        if not self.ended.is_set():
            self.why_ended = why
            self.state = State.LEFT if self.state is State.LEAVING else State.LOST
            self.ended.set()
            self.room.close()
            self._intake.close()

    async def close(self) -> None:
        """Close the channel: unacknowledged messages go back to their places in the queue."""
        self.lose("closed by us")
        await abandon(self._channel)

    def _hand_over(self, delivery: Delivery) -> None:
        self._handed_over += 1
        if self.takes_in:
            self._on_delivery(delivery)
        else:
            self._let_go(delivery.tag)

    def _let_go(self, tag: int) -> None:
        """Make room for other messages in its place."""
        self.room.give(tag)
        self._intake.settled(tag)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and the session on which it must be acknowledged."""

    message: Message
    tag: int
    session: Session
    # About how much memory it takes: the kept part of its body, and its headers.
    held_bytes: int = 0
    # Its spans will be made of these.
    steps: Steps = NO_STEPS

    @property
    def body_bytes(self) -> int:
        return self.message.body_bytes

    def noted_by(self, steps: Steps) -> Delivery:
        """The same delivery, whose steps are noted; `replace` would take three times as long."""
        return Delivery(self.message, self.tag, self.session, self.held_bytes, steps)

    @property
    def epoch(self) -> Epoch:
        """The epoch of the lane that it came by."""
        if self.session.epoch is None:
            raise RuntimeError("a lane hands nothing over before it has its epoch")
        return self.session.epoch

    async def ack(self) -> None:
        """Acknowledge the message, here and nowhere else: once all that is due has happened and is recorded."""
        if not await self.session.ack(self.tag):
            log.info("broker.ack_too_late", tag=self.tag)
