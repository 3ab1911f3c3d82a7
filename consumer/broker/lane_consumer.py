"""Lanes in, acknowledgements out: each lane is one queue, consumed on a channel of its own over the one link.

Deliveries are handed over synchronously, in queue order; a delivery belongs to its session (one channel), and dies with
it: after a loss the broker delivers it again, in order, and an acknowledgement of the old one is refused, which is
harmless.

A lane is never left by basic.cancel, nack or requeue: each of these lets newer intents overtake. It is left by closing
its channel (https://www.rabbitmq.com/docs/consumers#single-active-consumer).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from signalq.amqp.connection import CLOSE_TIMEOUT_S, CONNECTION_ERRORS, is_connection_error, open_channel
from signalq.amqp.header_table import held_bytes
from signalq.consumer.broker.connection import (
    RECONNECT_BASE_S,
    RECONNECT_MAX_S,
    BrokerConnection,
    SharedFailure,
    loop_s,
)
from signalq.consumer.broker.intake import BULKY_BYTES_MAX, Intake, Room, read_within
from signalq.consumer.ledger import Epoch
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders.delays import backoff_s
from signalq.consumer.orders.order import Message
from signalq.errors import BrokerError, BrokerUnreachable, SettingsError, SignalQError, TopologyError

WATCHDOG_PERIOD_S = 10.0
WATCHDOG_ANSWER_S = 10.0
# A moment that is nearer has come: a clock's rounding may leave a rest that is too short to wait for.
LOOK_TICK_S = 0.001
# With many lanes each asks more seldom, so that all of them together ask this often.
WATCHDOG_QUESTIONS_PER_S = 20.0
# A channel whose oldest unacknowledged message is older than this is given up and opened again. RabbitMQ does the same
# after 30 minutes unless it is told otherwise, some hosts' after 15, and the contract says 10: this leaves a minute.
UNACKED_MAX_S = 540.0
# How long the broker may take, at the end, to say that it has our acknowledgements, and the ledger to note it; else
# whoever comes next is in doubt of what has no message_id.
FLUSH_S = 0.5
# Messages are ready, we hold none and none has come for this long: the channel only looks alive.
SILENT_MAX_S = 30.0

log = structlog.get_logger()


class Session:
    """One channel consuming one queue, from its opening to its loss."""

    def __init__(self, channel: AbstractChannel, opened_s: float, room: Room | None = None) -> None:
        self._channel = channel
        self.epoch: Epoch | None = None
        # What of it is here, and what of that was handed over.
        self.room = room or Room(BULKY_BYTES_MAX)
        self.intake: Intake[Delivery] | None = None
        self.is_untouched = True
        # How many messages were ready, and since when nobody had been there, where it found the lane without consumers.
        self.waited_before = 0
        self.waited_unmarked = 0
        self.unattended_since_ms: int | None = None
        self.found_alone = False
        self.lost = asyncio.Event()
        # On its way to another replica: nothing more is taken in.
        self.leaving = False
        self.active_since_s: float | None = None
        self.why_lost = "closed by us"
        # On the loop's clock; nothing has been delivered yet.
        self.last_delivery_s = opened_s
        # When each message that is not acknowledged came, the oldest first.
        self._came_s: dict[int, float] = {}
        # Those whose ending may be recorded, and whose acknowledgement is not sent yet.
        self._owed: set[int] = set()

    @property
    def unacked(self) -> int:
        """How many messages are not acknowledged."""
        return len(self._came_s)

    @property
    def oldest_s(self) -> float | None:
        """When the oldest of them came, on the monotonic clock."""
        return next(iter(self._came_s.values()), None)

    def note_delivered(self, tag: int) -> None:
        """A message has come."""
        self.last_delivery_s = self._came_s[tag] = loop_s()
        self.active_since_s = self.active_since_s or self.last_delivery_s

    def owe(self, tag: int) -> None:
        """Its ending may be recorded from here on: until it is acknowledged, somebody would be in doubt of it."""
        self._owed.add(tag)

    async def ack(self, tag: int) -> bool:
        """Acknowledge; False where the channel is gone and the broker will deliver the message again."""
        self._came_s.pop(tag, None)
        self.let_go(tag)
        if self.lost.is_set():
            return False
        try:
            await self._channel.basic_ack(tag, wait=False)
        except CONNECTION_ERRORS:
            return False
        self._owed.discard(tag)
        return True

    async def flush(self, prefetch: int) -> bool:
        """Whether the broker has processed every acknowledgement of what has ended here: it answers, on this channel,
        what was asked behind them (the prefetch once more, which changes nothing).
        """
        if self.lost.is_set() or self._owed:
            return False
        try:
            async with asyncio.timeout(FLUSH_S):
                await self._channel.basic_qos(prefetch_count=prefetch)
        except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
            if not is_connection_error(error):
                raise
            return False
        return not self.lost.is_set()

    def let_go(self, tag: int) -> None:
        """There is room for others in its place."""
        self.room.give(tag)
        if self.intake is not None:
            self.intake.settled(tag)

    def note_closed(self, closing: asyncio.Future[Any]) -> None:
        """The channel has closed, for whatever reason."""
        error = None if closing.cancelled() else closing.exception()
        self.lose(told(error) if error else "the channel was closed")

    def lose(self, why: str) -> None:
        """What came on this session will come again on another."""
        if not self.lost.is_set():
            self.why_lost = why
        self._end()

    def _end(self) -> None:
        self.lost.set()
        self.room.close()
        if self.intake is not None:
            self.intake.close()

    async def close(self) -> None:
        """Close the channel: what is unacknowledged goes back to its place in the queue."""
        self._end()
        with suppress(Exception):  # aiormq ends what waits for an answer with a bare Exception, too
            await asyncio.wait_for(self._channel.close(), CLOSE_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and the session that it must be acknowledged on."""

    message: Message
    tag: int
    session: Session
    # About how much memory it takes: what is kept of its body, and its headers.
    held_bytes: int = 0

    @property
    def body_bytes(self) -> int:
        """How long its body was."""
        return self.message.body_bytes

    @property
    def epoch(self) -> Epoch:
        """The epoch of the lane that it came by."""
        if self.session.epoch is None:
            raise RuntimeError("a lane hands nothing over before it has its epoch")
        return self.session.epoch


@dataclass(frozen=True, slots=True)
class ConsumeOptions:
    """How a queue is consumed; `prefetch` is a constant (changing it reorders).

    Without order (`has_order`), several consumers are active in it at once. A retired one is consumed until its queue
    is deleted. Of what was fetched, messages of `bytes_max` are handed over at a time. `make_room` makes the room for a
    session's messages, which its connection is read within.
    """

    prefetch: int
    bytes_max: int
    has_order: bool = True
    is_retired: bool = False
    watch_period_s: float = WATCHDOG_PERIOD_S
    unacked_max_s: float = UNACKED_MAX_S
    make_room: Callable[[], Room] = field(default=lambda: Room(BULKY_BYTES_MAX))


class Lane:
    """One queue, consumed for as long as the service runs."""

    def __init__(
        self,
        link: BrokerConnection,
        queue: str,
        manner: ConsumeOptions,
        *,
        ledger: Ledger,
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[Session], None],
        on_active: Callable[[Epoch], None] = lambda _epoch: None,
        jitter: Callable[[], float],
    ) -> None:
        self.queue = queue
        self.consuming = asyncio.Event()
        self._link = link
        self._manner = manner
        self._ledger = ledger
        self._on_delivery = on_delivery
        self._on_lost = on_lost
        self._on_active = on_active
        self._jitter = jitter
        self.has_order = manner.has_order
        self._session: Session | None = None
        self._activation: asyncio.Task[None] | None = None
        self._draining = False
        self._may_consume = asyncio.Event()
        self._may_consume.set()

    @property
    def active_since_s(self) -> float | None:
        """When the present session brought its first message; None while it stands by, or is idle."""
        return self._session.active_since_s if self._session is not None else None

    @property
    def unacked(self) -> int:
        """How many messages of the present session are here, unacknowledged."""
        return 0 if self._session is None or self._session.lost.is_set() else self._session.unacked

    async def run(self) -> None:
        """Consume, and after each loss consume again with backoff.

        Ends only by cancellation, by a SettingsError, by a TopologyError before it ever consumed (these are mistakes to
        tell at once), or when the queue of a retired lane is gone. No exception of a library ends it.
        """
        failures = 0
        consumed = False
        while True:
            await self._may_consume.wait()
            try:
                if self._manner.is_retired and await self._link.depth(self.queue) is None:
                    return
                async with self._link.places_to_open:
                    session = await self._open()
            except Exception as error:
                self.consuming.clear()
                if isinstance(error, SettingsError) or (isinstance(error, TopologyError) and not consumed):
                    raise
                failures += 1
                await self._back_off(failures, error)
                continue
            failures, consumed = 0, True
            try:
                await self._watch(session)
            except Exception as error:  # noqa: BLE001 - a library's own: the lane heals as after any loss
                session.lose(told(error))
            if not session.leaving:
                self.consuming.clear()
            if self._activation is not None:
                self._activation.cancel()
            self._ledger.leave_lane(self.queue)
            self._on_lost(session)
            if session.leaving:
                if session.active_since_s is not None:
                    log.info("broker.lane_handed_over", queue=self.queue, unacked=session.unacked)
            else:
                log.warning("broker.lane_lost", queue=self.queue, why=session.why_lost, unacked=session.unacked)
            await session.close()

    async def hand_over(self, finish: Callable[[Session], Awaitable[None]], timeout_s: float) -> None:
        """Leave the lane to whoever stands next in line, and stand behind: take in nothing more, let what is on the
        wire finish, for at most `timeout_s`, close the channel, open another.
        """
        session = self._session
        if session is None or session.lost.is_set() or self._draining:
            return
        session.leaving = True
        if session.epoch is None and self._activation is not None:
            self._activation.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await finish(session)
                await self._leave_settled(session)
        session.lose("handed over")

    def suspend(self, why: str) -> None:
        """Leave the lane, and stay away until resume."""
        self._may_consume.clear()
        if self._session is not None:
            self._session.lose(why)

    def resume(self) -> None:
        """Consume it again."""
        self._may_consume.set()

    def drain(self) -> None:
        """Take in nothing more; what was not begun stays with the broker."""
        self._draining = True
        if self._activation is not None:
            self._activation.cancel()

    async def leave_settled(self) -> None:
        """Drained, and nothing of it is in the consumer any more: nobody need be in doubt of what has ended."""
        if self._session is not None:
            await self._leave_settled(self._session)

    async def close(self) -> None:
        """Close the channel; what is unacknowledged goes back in order."""
        if self._session is not None:
            await self._session.close()

    async def _leave_settled(self, session: Session) -> None:
        """Before the channel closes: the next consumer may be there at once, and then asks the ledger. Where a lane has
        several active consumers, what came redelivered may be another's, and one of them can't say anything.
        """
        if session.epoch is None or not self.has_order:
            return
        if await session.flush(self._manner.prefetch):
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._ledger.leave_settled(session.epoch)

    async def hang_up(self) -> None:
        """Close the connection, if it is this lane's own."""
        if self._link.is_apart:
            await self._link.disconnect()

    async def _open(self) -> Session:
        connection = await self._link.connection()
        channel = await open_channel(connection, prefetch=self._manner.prefetch)
        session = Session(channel, loop_s(), self._manner.make_room())
        session.intake = Intake(self._hand_over, self._manner.bytes_max)
        read_within(channel, session.room)
        channel.closing.add_done_callback(session.note_closed)
        channel.on_consumer_cancel_callbacks.add(lambda _frame: session.lose("the broker canceled the consumer"))
        self._session = session
        try:
            await self._join(session)
        except BrokerError:
            await session.close()
            raise

        async def hand_over(message: DeliveredMessage) -> None:
            self._take(session, message)

        try:
            async with asyncio.timeout(WATCHDOG_ANSWER_S):
                await channel.basic_consume(self.queue, hand_over)
        except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
            await session.close()
            raise BrokerUnreachable(f"{self.queue} can't be consumed ({type(error).__name__}: {error})") from error
        self.consuming.set()
        return session

    async def _join(self, session: Session) -> None:
        """Look at the lane before consuming it: what waits there now, and since when nobody looked after it."""
        depth = await self._link.depth(self.queue)
        if depth is None and not self._manner.is_retired:
            await self._link.close()  # whoever connects sees to the topology
            raise BrokerUnreachable(f"the queue {self.queue} is not there any more")
        unattended_since_ms = await self._ledger.join_lane(self.queue)
        if depth is not None and depth.consumers == 0:
            session.found_alone = True
            session.waited_before = session.waited_unmarked = depth.ready
            session.unattended_since_ms = unattended_since_ms

    def _take(self, session: Session, message: DeliveredMessage) -> None:
        """Synchronous from the frame to the slot: this is what keeps queue order."""
        deliver = message.delivery
        if not isinstance(deliver, Basic.Deliver) or deliver.delivery_tag is None:
            return
        if not self._takes_in(session):
            session.room.give(deliver.delivery_tag)
            return
        session.note_delivered(deliver.delivery_tag)
        delivery = Delivery(
            Message(
                body=message.body,
                properties=message.header.properties,
                routing_key=deliver.routing_key or "",
                redelivered=bool(deliver.redelivered),
                queue=self.queue,
                exchange=deliver.exchange or "",
                sent_bytes=message.header.body_size,
            ),
            deliver.delivery_tag,
            session,
            len(message.body) + held_bytes(message.header.properties.headers),
        )
        if session.intake is not None:
            session.intake.take(self._aged(delivery))
        if session.room.is_crowded or delivery.message.is_cut:
            self._seclude(session)
        if session.is_untouched:
            session.is_untouched = False
            self._activation = asyncio.create_task(self._activate(session), name=f"activate {self.queue}")

    def _takes_in(self, session: Session) -> bool:
        return not (self._draining or session.leaving or session.lost.is_set())

    def _hand_over(self, delivery: Delivery) -> None:
        delivery.session.waited_before = max(delivery.session.waited_before - 1, 0)
        if self._takes_in(delivery.session):
            self._on_delivery(delivery)
        else:
            delivery.session.let_go(delivery.tag)

    def _seclude(self, session: Session) -> None:
        """Read it over a connection of its own: waiting for room would hold up other lanes. From the next session on;
        this one ends.
        """
        if not self._link.is_apart:
            self._link = self._link.apart()
            log.warning("broker.lane_secluded", queue=self.queue)
            session.lose("its connection is its own from now on")

    async def _activate(self, session: Session) -> None:
        """The first delivery says that we are the lane's active consumer: take its epoch, then go on in order.

        Between the two we may have stood still, and been replaced. The broker's answer afterwards says that our
        session lives, and so that nobody was active between.
        """
        try:
            epoch = await self._ledger.open_lane(self.queue, alone=self.has_order)
        except Exception:
            log.exception("broker.lane_not_taken", queue=self.queue)
            await asyncio.sleep(RECONNECT_BASE_S)
            session.lose("its epoch could not be taken")
            return
        try:
            async with asyncio.timeout(WATCHDOG_ANSWER_S):
                await self._link.depth(self.queue)
        except (BrokerError, TimeoutError):
            session.lose("the broker did not answer after the lane was taken")
        # Since we joined we keep the lane alive ourselves: what counts is how we found it.
        session.epoch = replace(epoch, alive_before_ms=session.unattended_since_ms) if session.found_alone else epoch
        self._on_active(epoch)
        if session.intake is not None and self._takes_in(session):
            session.room.begin()
            session.intake.begin()

    def _aged(self, delivery: Delivery) -> Delivery:
        """Note on what had waited when we came since when nobody had been there."""
        session = delivery.session
        if session.waited_unmarked <= 0:
            return delivery
        session.waited_unmarked -= 1
        return replace(delivery, message=replace(delivery.message, unattended_since_ms=session.unattended_since_ms))

    async def _watch(self, session: Session) -> None:
        """Return when the session is lost, only looks alive, or holds a message for too long."""
        # Somewhere within the second half of a period: lanes that were opened together don't ask together.
        look_s = loop_s() + self._manner.watch_period_s * (1 + self._jitter()) / 2
        while not session.lost.is_set():
            now_s = loop_s()
            oldest_s = session.oldest_s if session.oldest_s is not None else now_s
            give_up_s = oldest_s + self._manner.unacked_max_s
            if give_up_s - now_s < LOOK_TICK_S:
                session.lose(f"a message was unacknowledged for {self._manner.unacked_max_s:g} s")
            elif look_s - now_s >= LOOK_TICK_S:
                with suppress(TimeoutError):
                    await asyncio.wait_for(session.lost.wait(), min(look_s, give_up_s) - now_s)
            elif await self._alive(session):
                look_s = loop_s() + self._manner.watch_period_s
            elif not self._manner.is_retired:
                session.lose("the broker does not know this consumer any more, or does not answer")
                await self._link.disconnect()
            else:
                session.lose("the queue is gone, or the broker does not answer")

    async def _alive(self, session: Session) -> bool:
        """Ask the broker whether it still knows us: a channel can be dead without being closed."""
        try:
            async with asyncio.timeout(WATCHDOG_ANSWER_S):
                depth = await self._link.depth(self.queue)
        except (BrokerError, TimeoutError):
            return False
        if depth is None or depth.consumers == 0:
            return False
        silent_s = loop_s() - session.last_delivery_s
        # Standing by, silence is as it should be; and of a lane with order the broker counts the active consumer alone.
        is_ours = session.found_alone or session.active_since_s is not None if self.has_order else depth.consumers == 1
        starved = depth.ready > 0 and is_ours and session.unacked == 0
        return not (starved and silent_s > SILENT_MAX_S)

    async def _back_off(self, failures: int, error: Exception) -> None:
        wait_s = backoff_s(failures, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())
        if not isinstance(error, SharedFailure):
            log.warning("broker.unreachable", queue=self.queue, why=told(error), retry_in_s=round(wait_s, 2))
        await asyncio.sleep(wait_s)


def told(error: BaseException) -> str:
    """What went wrong: our own sentence, or a library's with its name."""
    return str(error) if isinstance(error, SignalQError) else f"{type(error).__name__}: {error}"
