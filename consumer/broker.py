"""Lanes in, dispositions out: the only aio-pika in the consumer, and the only place that acknowledges.

A Link is one connection that is opened again after each loss; a Lane is one queue consumed over it. Deliveries are
handed over synchronously, in queue order; a delivery belongs to its session (one channel), and dies with it: after a
loss the broker delivers it again, in order, and an acknowledgement of the old one is refused, which is harmless.

A lane is never left by basic.cancel, nack or requeue: each of these lets newer intents overtake. It is left by closing
its channel (https://www.rabbitmq.com/docs/consumers#single-active-consumer).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from consumer.delays import backoff_s, park_seconds
from consumer.ledger import Epoch, Ledger
from consumer.order import Message
from consumer.outcomes import Event
from consumer.settings import Settings
from signalq.amqp.asking import Asker, QueueDepth
from signalq.amqp.connection import CONNECTION_ERRORS, connect, masked, open_channel
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.publisher import CLOSE_TIMEOUT_S, ConfirmedPublisher
from signalq.amqp.topology import Topology, ladder_entry, unbind_lane
from signalq.errors import BrokerError, BrokerUnreachable, PublishError, SettingsError, SignalQError, TopologyError
from signalq.names import Names

RECONNECT_BASE_S = 0.5
RECONNECT_MAX_S = 15.0
WATCHDOG_PERIOD_S = 10.0
WATCHDOG_ANSWER_S = 10.0
# A moment that is nearer has come: a clock's rounding may leave a rest that is too short to wait for.
LOOK_TICK_S = 0.001
# With many lanes each asks more seldom, so that all of them together ask this often.
WATCHDOG_QUESTIONS_PER_S = 20.0
# A channel whose oldest unacknowledged message is older than this is given up and opened again. RabbitMQ does the same
# after 30 minutes unless it is told otherwise, some hosts' after 15, and the contract says 10: this leaves a minute.
UNACKED_MAX_S = 540.0
# More lanes than this are not opened at a time: each asks the broker and the ledger several things.
LANES_OPENING_MAX = 32
# A connection that could not be made is not tried again within so long, however many lanes ask.
FAILURE_SHARED_S = 0.1
# Messages are ready, we hold none and none has come for this long: the channel only looks alive.
SILENT_MAX_S = 30.0
# A delay is cut to whole seconds just before it is sent; more on the way at once would wait in the socket meanwhile,
# and come back late (300 at once: up to 0.2 s, seen).
PARKING_MAX = 32

log = structlog.get_logger()


class Session:
    """One channel consuming one queue, from its opening to its loss."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self.epoch: Epoch | None = None
        self.held_back: list[Delivery] = []
        # How many messages were ready, and since when nobody had been there, where it found the lane without consumers.
        self.waited_before = 0
        self.nobody_since_ms: int | None = None
        self.found_alone = False
        self.lost = asyncio.Event()
        # On its way to another replica: nothing more is taken in.
        self.leaving = False
        self.active_since_s: float | None = None
        self.why_lost = "closed by us"
        self.last_delivery_s = _now_s()
        # When each message that is not acknowledged came, the oldest first.
        self._came_s: dict[int, float] = {}

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
        self.last_delivery_s = self._came_s[tag] = _now_s()
        self.active_since_s = self.active_since_s or self.last_delivery_s

    async def ack(self, tag: int) -> bool:
        """Acknowledge; False where the channel is gone and the broker will deliver the message again."""
        self._came_s.pop(tag, None)
        if self.lost.is_set():
            return False
        try:
            await self._channel.basic_ack(tag, wait=False)
        except CONNECTION_ERRORS:
            return False
        return True

    def note_closed(self, closing: asyncio.Future[Any]) -> None:
        """The channel has closed, for whatever reason."""
        error = None if closing.cancelled() else closing.exception()
        self.lose(f"{type(error).__name__}: {error}" if error else "the channel was closed")

    def lose(self, why: str) -> None:
        """What came on this session will come again on another."""
        if not self.lost.is_set():
            self.why_lost = why
        self.lost.set()

    async def close(self) -> None:
        """Close the channel: what is unacknowledged goes back to its place in the queue."""
        self.lost.set()
        with suppress(*CONNECTION_ERRORS):
            await asyncio.wait_for(self._channel.close(), CLOSE_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message and the session that it must be acknowledged on."""

    message: Message
    tag: int
    session: Session


class SharedFailure(BrokerUnreachable):
    """Another lane has just tried to connect in vain, and said so."""


class Link:
    """The consuming connection: opened when a lane asks, topology seen to first."""

    def __init__(self, settings: Settings, topology: Topology, ledger: Ledger) -> None:
        self._settings = settings
        self._topology = topology
        self._ledger = ledger
        self._connection: AbstractConnection | None = None
        self._asker: Asker | None = None
        self._opening = asyncio.Lock()
        self._opened_before = False
        self._failed_s = float("-inf")
        self._why = ""
        # Held by a lane while it opens.
        self.places_to_open = asyncio.Semaphore(LANES_OPENING_MAX)

    @property
    def is_up(self) -> bool:
        """Whether the connection is there, as far as we know."""
        return self._connection is not None and self._connection.connected.is_set()

    async def connection(self) -> AbstractConnection:
        """The open connection. Many lanes may ask: one of them tries, and those that waited meanwhile share what comes
        of it.

        Raises BrokerUnreachable, TopologyError, or SettingsError where the lanes belong to another ledger.
        """
        asked_s = _now_s()
        async with self._opening:
            if self._connection is None or not self.is_up:
                if self._failed_s >= asked_s - FAILURE_SHARED_S:
                    raise SharedFailure(self._why)
                await self._close()
                try:
                    self._connection = await self._open()
                except BrokerUnreachable as error:
                    self._failed_s, self._why = _now_s(), str(error)
                    raise
            return self._connection

    async def depth(self, queue: str) -> QueueDepth | None:
        """How full a queue is, None where there is none; all lanes ask over one channel. Raises BrokerError."""
        connection = await self.connection()
        if self._asker is None:
            self._asker = Asker(connection)
        return await self._asker.depth(queue)

    async def unbind(self, connector: str) -> bool:
        """Let nothing more be routed into what was a connector's own lane; False where that is not ours to change.

        Raises BrokerError.
        """
        if self._settings.broker.topology != "declare":
            return False
        await unbind_lane(await self.connection(), self._topology.names, connector)
        return True

    async def close(self) -> None:
        """Close the connection, at most CLOSE_TIMEOUT_S long."""
        async with self._opening:
            await self._close()

    async def _open(self) -> AbstractConnection:
        broker = self._settings.broker
        url = broker.url.get_secret_value()
        connection = await connect(url, name="signalq consumer", heartbeat_s=broker.heartbeat_s)
        try:
            await self._see_to_topology(connection)
            await self._see_to_ledger(connection)
        except SignalQError:
            await _abandon(connection)
            raise
        log.info("broker.reconnected" if self._opened_before else "broker.connected", url=masked(url))
        self._opened_before = True
        return connection

    async def _see_to_topology(self, connection: AbstractConnection) -> None:
        if self._settings.broker.topology == "declare":
            await self._topology.declare(connection)
            return
        missing = await self._topology.missing(connection)
        if missing:
            raise TopologyError(f"missing on the broker: {', '.join(missing)}; run `signalq topology apply`")

    async def _see_to_ledger(self, connection: AbstractConnection) -> None:
        """Refuse lanes that belong to another ledger: it knows what was POSTed, ours does not."""
        mine = LedgerMark(self._ledger.ledger_id, self._ledger.name)
        holds = await claim_mark(connection, self._topology.names, mine)
        if holds.ledger_id != mine.ledger_id:
            raise SettingsError(
                f"the lanes on this broker belong to the ledger {holds.ledger} ({holds.ledger_id}), and ledger.url is "
                f"{mine.ledger} ({mine.ledger_id}): use the former, or run `signalq topology adopt-ledger` if this is "
                "meant"
            )

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        self._asker = None
        if connection is not None:
            await _abandon(connection)


async def _abandon(connection: AbstractConnection) -> None:
    with suppress(*CONNECTION_ERRORS):
        await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a queue is consumed; `prefetch` is a constant (changing it reorders).

    Without order (`has_order`), several consumers are active in it at once. A retired one is consumed until its queue
    is deleted.
    """

    prefetch: int
    has_order: bool = True
    is_retired: bool = False
    watch_period_s: float = WATCHDOG_PERIOD_S
    unacked_max_s: float = UNACKED_MAX_S


class Lane:
    """One queue, consumed for as long as the service runs."""

    def __init__(
        self,
        link: Link,
        queue: str,
        manner: Manner,
        *,
        ledger: Ledger | None,
        on_delivery: Callable[[Delivery], None],
        on_lost: Callable[[Session], None],
        jitter: Callable[[], float],
    ) -> None:
        self.queue = queue
        self.consuming = asyncio.Event()
        self._link = link
        self._manner = manner
        self._ledger = ledger
        self._on_delivery = on_delivery
        self._on_lost = on_lost
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

        Ends only by cancellation, by a TopologyError before it ever consumed (that is a mistake to tell at once), or
        when the queue of a retired lane is gone.
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
            except BrokerError as error:
                self.consuming.clear()
                if isinstance(error, TopologyError) and not consumed:
                    raise
                failures += 1
                await self._back_off(failures, error)
                continue
            failures, consumed = 0, True
            await self._watch(session)
            if not session.leaving:
                self.consuming.clear()
            if self._activation is not None:
                self._activation.cancel()
            if self._ledger is not None:
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

    async def close(self) -> None:
        """Close the channel; what is unacknowledged goes back in order."""
        if self._session is not None:
            await self._session.close()

    async def _open(self) -> Session:
        connection = await self._link.connection()
        channel = await open_channel(connection, prefetch=self._manner.prefetch)
        session = Session(channel)
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
        if self._ledger is None:
            return
        depth = await self._link.depth(self.queue)
        if depth is None and not self._manner.is_retired:
            await self._link.close()  # whoever connects sees to the topology
            raise BrokerUnreachable(f"the queue {self.queue} is not there any more")
        nobody_since_ms = await self._ledger.join_lane(self.queue)
        if depth is not None and depth.consumers == 0:
            session.found_alone = True
            session.waited_before, session.nobody_since_ms = depth.ready, nobody_since_ms

    def _take(self, session: Session, message: DeliveredMessage) -> None:
        """Synchronous from the frame to the slot: this is what keeps queue order."""
        if self._draining or session.leaving or session.lost.is_set():
            return
        deliver = message.delivery
        if not isinstance(deliver, Basic.Deliver) or deliver.delivery_tag is None:
            return
        session.note_delivered(deliver.delivery_tag)
        if self.has_order:  # without, several are active, and nobody has it to pass on
            session.active_since_s = session.active_since_s or session.last_delivery_s
        delivery = Delivery(
            Message(
                body=message.body,
                properties=message.header.properties,
                routing_key=deliver.routing_key or "",
                redelivered=bool(deliver.redelivered),
                queue=self.queue,
            ),
            deliver.delivery_tag,
            session,
        )
        if session.epoch is not None or self._ledger is None:
            self._on_delivery(self._aged(delivery))
            return
        session.held_back.append(delivery)
        if len(session.held_back) == 1:
            work = self._activate(session, self._ledger)
            self._activation = asyncio.create_task(work, name=f"activate {self.queue}")

    async def _activate(self, session: Session, ledger: Ledger) -> None:
        """The first delivery says that we are the lane's active consumer: take its epoch, then go on in order.

        Between the two we may have stood still, and been replaced. The broker's answer afterwards says that our
        session lives, and so that nobody was active between.
        """
        try:
            epoch = await ledger.open_lane(self.queue, alone=self.has_order)
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
        session.epoch = replace(epoch, alive_before_ms=session.nobody_since_ms) if session.found_alone else epoch
        if self._draining or session.leaving or session.lost.is_set():
            return
        for delivery in session.held_back:
            self._on_delivery(self._aged(delivery))

    def _aged(self, delivery: Delivery) -> Delivery:
        """Note on what had waited when we came since when nobody had been there."""
        session = delivery.session
        if session.waited_before <= 0:
            return delivery
        session.waited_before -= 1
        return replace(delivery, message=replace(delivery.message, nobody_since_ms=session.nobody_since_ms))

    async def _watch(self, session: Session) -> None:
        """Return when the session is lost, only looks alive, or holds a message for too long."""
        # Somewhere within the second half of a period: lanes that were opened together don't ask together.
        look_s = _now_s() + self._manner.watch_period_s * (1 + self._jitter()) / 2
        while not session.lost.is_set():
            now_s = _now_s()
            oldest_s = session.oldest_s if session.oldest_s is not None else now_s
            give_up_s = oldest_s + self._manner.unacked_max_s
            if give_up_s - now_s < LOOK_TICK_S:
                session.lose(f"a message was unacknowledged for {self._manner.unacked_max_s:g} s")
            elif look_s - now_s >= LOOK_TICK_S:
                with suppress(TimeoutError):
                    await asyncio.wait_for(session.lost.wait(), min(look_s, give_up_s) - now_s)
            elif await self._alive(session):
                look_s = _now_s() + self._manner.watch_period_s
            elif not self._manner.is_retired:
                session.lose("the broker does not know this consumer any more, or does not answer")
                await self._link.close()
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
        silent_s = _now_s() - session.last_delivery_s
        # Standing by, silence is as it should be; and of a lane with order the broker counts the active consumer alone.
        is_ours = session.found_alone or session.active_since_s is not None if self.has_order else depth.consumers == 1
        starved = depth.ready > 0 and is_ours and session.unacked == 0
        return not (starved and silent_s > SILENT_MAX_S)

    async def _back_off(self, failures: int, error: BrokerError) -> None:
        wait_s = backoff_s(failures, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())
        if not isinstance(error, SharedFailure):
            log.warning("broker.unreachable", queue=self.queue, why=str(error), retry_in_s=round(wait_s, 2))
        await asyncio.sleep(wait_s)


class Dispositions:
    """Where messages go from here: onto the ladder, back to their lane, into the dead letters; and who is told."""

    def __init__(self, settings: Settings, names: Names, jitter: Callable[[], float]) -> None:
        broker = settings.broker
        self._names = names
        self._jitter = jitter
        self._parking = asyncio.Semaphore(PARKING_MAX)
        url, heartbeat_s = broker.url.get_secret_value(), broker.heartbeat_s
        self._publisher = ConfirmedPublisher(url, name="signalq consumer publishing", heartbeat_s=heartbeat_s)
        # Apart: an event for each order would queue before what is parked, whose delay is cut when it is sent; and what
        # the broker refuses an event must not close the channel of a dead letter.
        self._teller = ConfirmedPublisher(url, name="signalq consumer outcomes", heartbeat_s=heartbeat_s)

    async def park(self, due_ms: int, now_ms: Callable[[], int], body: bytes, properties: Basic.Properties) -> None:
        """Onto the ladder for the whole seconds that remain when it is sent; return once the broker has it."""
        async with self._parking:
            await self._confirmed(lambda: ladder_entry(park_seconds(due_ms, now_ms()), self._names), body, properties)

    async def hand_to_lane(self, queue: str, body: bytes, properties: Basic.Properties) -> None:
        """Into the queue of a lane, straight: by the exchange a missing binding would send it round in circles.

        Returns once the broker has it.
        """
        await self._confirmed(lambda: ("", queue), body, properties)

    async def bury(self, body: bytes, properties: Basic.Properties) -> None:
        """Into the dead-letter queue; return once the broker has it."""
        await self._confirmed(lambda: ("", self._names.dead), body, properties)

    async def tell(self, event: Event) -> None:
        """To whoever listens for outcomes, be it nobody; return once the broker has it."""
        await self._confirmed(
            lambda: (self._names.outcomes, event.routing_key), event.body, event.properties, mandatory=False
        )

    async def ack(self, delivery: Delivery) -> None:
        """The one place that acknowledges; call it when what is due has happened and is recorded."""
        if not await delivery.session.ack(delivery.tag):
            log.info("broker.ack_too_late", tag=delivery.tag)

    async def close(self) -> None:
        """Close the publishing connections."""
        await self._publisher.close()
        await self._teller.close()

    async def _confirmed(
        self,
        destination: Callable[[], tuple[str, str]],
        body: bytes,
        properties: Basic.Properties,
        *,
        mandatory: bool = True,
    ) -> None:
        """Publish until confirmed: the message stays unacknowledged meanwhile, so it can't be lost, only repeated."""
        publisher = self._publisher if mandatory else self._teller
        failures = 0
        while True:
            exchange, routing_key = destination()
            try:
                return await publisher.publish(exchange, routing_key, body, properties, mandatory=mandatory)
            except (BrokerUnreachable, PublishError) as error:
                failures += 1
                wait_s = backoff_s(failures, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())
                log.warning("broker.publish_failed", to=exchange or routing_key, why=str(error))
                await asyncio.sleep(wait_s)


def _now_s() -> float:
    """The loop's own clock, which its waits go by."""
    return asyncio.get_running_loop().time()
