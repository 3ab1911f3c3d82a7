"""A lane: one queue, consumed on a channel of its own for as long as the service runs.

A lane is left by closing its channel (https://www.rabbitmq.com/docs/consumers#single-active-consumer), never by
basic.cancel, nack or requeue: each of these lets newer intents overtake older ones.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from signalq.amqp.channel import Channel
from signalq.amqp.connection import open_channel
from signalq.amqp.port import Arrival
from signalq.consumer.broker.connection import RECONNECT_BASE_S, Backoff, BrokerConnection, described, loop_s
from signalq.consumer.broker.intake import Deliveries
from signalq.consumer.broker.session import FLUSH_S, Backlog, ConsumeOptions, Delivery, Session, State
from signalq.consumer.broker.watchdog import ANSWER_MAX_S, watch
from signalq.consumer.ledger import Epoch
from signalq.consumer.ledger.ledger import Ledger
from signalq.errors import BrokerError, BrokerUnreachable, SettingsError, TopologyError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LaneContext:
    """All that the lanes of a consumer share: where they consume, and the calls for their messages and sessions."""

    connection: BrokerConnection
    ledger: Ledger
    on_active: Callable[[Epoch], None]
    on_delivery: Callable[[Delivery], None]
    on_lost: Callable[[Session], None]
    jitter: Callable[[], float]


class Lane:
    """One queue, consumed for as long as the service runs: by one session after the other."""

    def __init__(self, options: ConsumeOptions, context: LaneContext) -> None:
        self.queue = options.queue
        self.has_order = options.has_order
        self.consuming = asyncio.Event()
        self._options = options
        self._context = context
        self._ledger = context.ledger
        self._connection = context.connection.apart() if options.is_apart else context.connection
        self._session: Session | None = None
        self._activation: asyncio.Task[None] | None = None
        self._is_draining = False
        self._may_consume = asyncio.Event()
        self._may_consume.set()

    @property
    def active_since_s(self) -> float | None:
        """When the present session got its first message; None while it stands by, or is idle."""
        return self._session.active_since_s if self._session is not None else None

    @property
    def unacked(self) -> int:
        """How many messages of the present session are here, unacknowledged."""
        return 0 if self._session is None or self._session.ended.is_set() else self._session.unacked

    async def run(self) -> None:
        """Consume, and after each loss consume again with backoff.

        It ends only by cancellation, by a SettingsError, by a TopologyError before it ever consumed (a person must mend
        these), or when the queue of a retired lane is gone. No exception of a library ends it.
        """
        backoff = Backoff(self._context.jitter)
        has_consumed = False
        while True:
            await self._may_consume.wait()
            try:
                if self._options.is_retired and await self._connection.depth(self.queue) is None:
                    return
                async with self._connection.places_to_open:
                    session = await self._open()
            except Exception as error:
                self.consuming.clear()
                if isinstance(error, SettingsError) or (isinstance(error, TopologyError) and not has_consumed):
                    raise
                await backoff.wait_for(self.queue, error)
                continue
            backoff.reset(self.queue)
            has_consumed = True
            try:
                await watch(session, self._connection, self._context.jitter)
            except Exception as error:  # noqa: BLE001 - a library's own: the lane heals as after any loss
                session.lose(described(error))
            await self._end(session)

    async def hand_over(self, finish: Callable[[Session], Awaitable[None]], timeout_s: float) -> None:
        """Leave the lane to the next consumer in line, and stand behind it, on another channel.

        Nothing more is taken in; POSTs that have begun get `timeout_s` to finish.
        """
        session = self._session
        if session is None or not session.takes_in:
            return
        if session.epoch is None:
            self._cancel_activation()
        session.leave()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await finish(session)
                await self._leave_settled(session)
        session.lose("handed over")

    def suspend(self, why: str) -> None:
        """Leave the lane, and stay away until `resume`."""
        self._may_consume.clear()
        if self._session is not None:
            self._session.lose(why)

    def resume(self) -> None:
        self._may_consume.set()

    def drain(self) -> None:
        """Take nothing more in; messages whose handling has not begun stay with the broker."""
        self._is_draining = True
        self._cancel_activation()
        if self._session is not None:
            self._session.drain()

    async def leave_settled(self) -> None:
        """Note in the ledger that all that has ended is acknowledged; call it once no message is in the consumer."""
        if self._session is not None:
            await self._leave_settled(self._session)

    async def close(self) -> None:
        """Close the channel, and a connection that is this lane's own; unacknowledged messages go back in order."""
        if self._session is not None:
            await self._session.close()
        if self._connection.is_apart:
            await self._connection.disconnect()

    async def _open(self) -> Session:
        """Consume the queue on a new channel."""
        channel = await open_channel(await self._connection.opened(), prefetch=self._options.prefetch)
        session = Session(channel, self._options, loop_s(), self._context.on_delivery)
        session.room.on_room = channel.read_on
        channel.closing.add_done_callback(session.note_closed)
        channel.on_consumer_cancel_callbacks.add(lambda _frame: session.lose("the broker canceled the consumer"))
        self._session = session
        if self._is_draining:
            session.drain()
        try:
            session.backlog = await self._join()
            await self._consume(channel, session)
        except Exception:
            await session.close()
            raise
        self.consuming.set()
        return session

    async def _join(self) -> Backlog | None:
        """Look at the lane before consuming it: at what waits there, and since when it had no consumer."""
        depth = await self._connection.depth(self.queue)
        if depth is None and not self._options.is_retired:
            await self._connection.close()  # the next one that connects declares or checks the topology
            raise BrokerUnreachable(f"the queue {self.queue} is not there any more")
        unattended_since_ms = await self._ledger.join_lane(self.queue)
        if depth is None or depth.consumers:
            return None
        return Backlog(depth.ready, unattended_since_ms)

    async def _consume(self, channel: Channel, session: Session) -> None:
        port = Deliveries(session.room, lambda arrival: self._take(session, arrival))
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                await channel.consume(self.queue, port)
        except Exception as error:  # aiormq ends what waits for an answer with a bare Exception, too
            raise BrokerUnreachable(f"{self.queue} can't be consumed ({type(error).__name__}: {error})") from error

    def _take(self, session: Session, arrival: Arrival) -> None:
        """Synchronous from the frame to the slot: this keeps the order of the queue."""
        delivery = session.take(arrival)
        if delivery is None:
            return
        if (session.room.is_crowded or delivery.message.is_cut) and not self._connection.is_apart:
            # To wait for room would hold up others: from the next session on the lane has a connection of its own.
            self._connection = self._connection.apart()
            log.warning("broker.lane_secluded", queue=self.queue)
            session.lose("its connection is its own from now on")
        if session.state is State.STANDING_BY:  # the first message says that this is the lane's active consumer
            session.state = State.TAKING
            self._activation = asyncio.create_task(self._activate(session), name=f"activate {self.queue}")

    async def _activate(self, session: Session) -> None:
        """Take the lane's epoch, then hand its messages over in order.

        Before the epoch is taken this process may have stood still, and been replaced. If the broker answers
        afterwards, the session lives, and no other consumer was active in between.
        """
        try:
            epoch = await self._ledger.open_lane(self.queue, alone=self.has_order)
        except Exception:
            log.exception("broker.lane_not_taken", queue=self.queue)
            await asyncio.sleep(RECONNECT_BASE_S)
            session.lose("its epoch could not be taken")
            return
        try:
            async with asyncio.timeout(ANSWER_MAX_S):
                await self._connection.depth(self.queue)
        except (BrokerError, TimeoutError):
            session.lose("the broker did not answer after the lane was taken")
        self._context.on_active(epoch)
        session.activate(epoch)

    def _cancel_activation(self) -> None:
        if self._activation is not None:
            self._activation.cancel()

    async def _end(self, session: Session) -> None:
        """Note everywhere that the session has ended, and close its channel."""
        self._cancel_activation()
        self._ledger.leave_lane(self.queue)
        self._context.on_lost(session)
        if session.state is not State.LEFT:
            self.consuming.clear()
            log.warning("broker.lane_lost", queue=self.queue, why=session.why_ended, unacked=session.unacked)
        elif session.active_since_s is not None:
            log.info("broker.lane_handed_over", queue=self.queue, unacked=session.unacked)
        await session.close()

    async def _leave_settled(self, session: Session) -> None:
        """Say in the ledger, before the channel closes, that nothing here is in doubt: the next consumer asks at once.

        Of several active consumers none can say so: a redelivered message may be another one's.
        """
        if session.epoch is None or not self.has_order:
            return
        if await session.flush():
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._ledger.leave_settled(session.epoch)
