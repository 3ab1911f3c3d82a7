"""The turn of an order: the door to all that it waits for. Read pipeline.py first.

A delayed order waits without a turn for the last ms before its due time. Then any order waits for the turn of its
connector, in order of arrival; and with the turn for its lane's backoff, its connector's pace, its own next attempt,
and the switch. An exit behind it may end its waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace

from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.backoff import Backoffs
from signalq.consumer.lanes.due_times import DueTimes
from signalq.consumer.lanes.queues import ConnectorQueue, ConnectorQueues, Ticket
from signalq.consumer.lanes.superseding import Superseding
from signalq.consumer.ledger import Epoch, Fenced, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import lanes
from signalq.consumer.orders.decisions import DeadLetter, Disposition, Waits
from signalq.consumer.orders.delays import park_seconds
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import renewed
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import SwitchedOff
from signalq.message.outcome import Outcome
from signalq.settings.reload import CurrentSettings


class WaitingRoom:
    """All orders that wait, and what their connectors wait for; hands out turns."""

    def __init__(
        self,
        current: CurrentSettings,
        *,
        ledger: Ledger,
        due_times: DueTimes,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self.current = current
        self.ledger = ledger
        self.clock = clock
        self.queues = ConnectorQueues()
        self.backoffs = Backoffs(current, ledger=ledger, queues=self.queues, clock=clock, jitter=jitter)
        self.superseding = Superseding(current, ledger=ledger, backoffs=self.backoffs)
        self.due_times = due_times
        self._last_rank = 0

    def turn(self, delivery: Delivery, order: Order) -> Turn:
        """The order's turn: `async with` waits for it, and passes it on at the end of the block."""
        return Turn(self, delivery, self._ranked(order))

    def remember(self, epoch: Epoch) -> None:
        """A lane is ours: what its consumer before us waited for, we wait for."""
        self.backoffs.remember(epoch)

    def close(self) -> None:
        """Nothing is waited for any more."""
        self.due_times.close()

    def _ranked(self, order: Order) -> Order:
        """Write down the place in the lane of what will be parked: µs, made to rise, also from replica to replica."""
        if order.timing.is_due or (order.provenance.is_own_copy and order.route.park_rank):
            return order
        self._last_rank = max(self._last_rank + 1, order.timing.received_ms * 1000)
        return replace(order, route=replace(order.route, park_rank=self._last_rank))

    def queues_of(self, order: Order) -> Iterator[tuple[Hashable, int]]:
        """The queues in which an order waits, one after the other, and how many of each have the turn at once."""
        if order.route.is_misrouted and order.route.forwards < lanes.FORWARDS_MAX:
            # A misrouted order keeps its order, but does not wait for this lane's backoff.
            yield (order.route.source_queue, order.connector), 1
        elif lanes.is_strict(self.current.settings, order.connector):
            yield order.connector, 1
        else:
            # A redelivery waits until the earlier delivery of the same bytes has ended, which alone can say how.
            yield (order.connector, order.strategy, order.identity.digest), 1
            yield order.connector, lanes.concurrency_of(self.current.settings, order.connector)


class Turn:
    """One order's turn: what is known of the order, what it has to wait for, and the waiting.

    `unpublished`: endings, met on the way, that an earlier consumer may have recorded and not told.
    """

    queue: ConnectorQueue
    _ticket: Ticket

    def __init__(self, room: WaitingRoom, delivery: Delivery, order: Order) -> None:
        self._is_passed_on = False
        self.unpublished: tuple[Outcome, ...] = ()
        self._room = room
        self._delivery = delivery
        self._order = order
        # The settings by which the order, and all that is known of it, was read.
        self._settings = room.current.settings
        self._recalling: asyncio.Task[LedgerEntry] | None = None
        self._joined: list[Hashable] = []
        self._known: LedgerEntry | None = None
        self._is_aside = False
        # The next look needs no ledger: what is known stands.
        self._stands = False
        # By the last look.
        self._backs_off = False
        self._exit_behind: Ticket | None = None
        self._failures_before: int | None = None

    async def __aenter__(self) -> Turn:
        try:
            await self._fall_due()
            await self._arrive()
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._leave()

    async def _fall_due(self) -> None:
        """Return at the due time, where the ladder has handed the order back just before it. The order is looked up
        meanwhile: then only the claim is left to do.
        """
        is_about_due = self._is_about_due()
        if is_about_due or self._order.timing.creation.is_ahead:
            recall = self._room.ledger.recall(self._order, self._delivery.epoch)
            self._recalling = asyncio.create_task(recall, name="recall")
            self._recalling.add_done_callback(_seen)
        due_ms, rank = self._order.timing.due_ms or 0, self._order.route.park_rank
        if is_about_due and await self._room.due_times.wait_until(due_ms, rank=rank):
            self._order = self._order.fallen_due(self._room.clock.now_ms())

    async def _arrive(self) -> None:
        """The order takes its place behind what has come before it, however long its look-up takes. An order that is
        not due stays aside: it waits for none and holds up none, unless its intent is found tried. One that the ladder
        has handed back does not: then the clock was set back, and it may have been tried.
        """
        self._ticket = Ticket(self._order, self._delivery, self._room.clock.even_ms(), self._settings)
        self._is_aside = not self._order.timing.is_due and not self._order.provenance.is_own_copy
        if self._is_aside:
            self.queue = ConnectorQueue()
        else:
            await self._line_up()

    def _leave(self) -> None:
        """Pass the turn on, where it is not passed on yet."""
        for whose in reversed(self._joined):
            self._room.queues.leave(whose, self._ticket)
        if self._recalling is not None:
            self._recalling.cancel()

    # With the turn.

    def now_ms(self) -> int:
        """The time, as the order's age goes on."""
        return self._room.backoffs.now_ms(self._ticket)

    async def known(self) -> LedgerEntry:
        """Return what is known of the order now, by the settings that hold now.

        Raises Fenced where the order has passed its turn on and has not ended: without a turn nothing is tried.
        """
        if not self._stands or self._known is None:
            self._known = self._noted(await self._look_up())
            if self._is_aside and self._known.state.attempts:
                # Another message has its intent tried: only the connector's queue tells when that has ended.
                self._is_aside = False
                await self._line_up()
                self._known = self._noted(await self._look_up())
        self._stands = False
        if self._is_passed_on and not self._known.state.ended:
            raise Fenced
        if self.is_outdated():
            settings, message = self._room.current.settings, self._delivery.message
            self._order = renewed(self._order, message, settings)
            self._known = replace(self._known, order=renewed(self._known.order, message, settings))
            self._settings = settings
        return self._known

    def waits(self, known: LedgerEntry) -> Waits:
        """Return what the order has to wait for."""
        backoffs, queue, ticket = self._room.backoffs, self.queue, self._ticket
        ticket.is_woken = False
        backoff_ms = max(backoffs.lane_ms(queue, ticket), backoffs.retry_ms(known.state, ticket))
        self._backs_off = backoff_ms > 0
        exit_behind = self._room.superseding.exit_behind(known.order, queue, ticket) if self._backs_off else None
        self._exit_behind = exit_behind
        superseded_by = exit_behind.order.intent.kind if exit_behind is not None else None
        return Waits(backoff_ms, backoffs.pace_ms(known.order), superseded_by)

    async def wait(self, until_ms: int) -> None:
        """Return at `until_ms`, or when an exit behind may end the waiting."""
        if self._backs_off:
            next_look_ms = await self._room.superseding.look_behind(self._order, self.queue, self._ticket)
            if next_look_ms is not None:
                until_ms = min(until_ms, self.now_ms() + next_look_ms)
        if (wait_ms := until_ms - self.now_ms()) > 0:
            with self._delivery.steps.waiting():
                await self._ticket.sleep(self._room.clock.sleep(wait_ms))

    async def hold(self, until_ms: int) -> SwitchedOff | None:
        """Return at `until_ms`, and say whether it is paused still: then no claim is needed to know, and no look-up."""
        self._stands = True
        await self._room.clock.sleep(until_ms - self.now_ms())
        state = self._room.ledger.switched(self._order.connector)
        return SwitchedOff(state) if state == "paused" else None

    def settled(self, disposition: Disposition) -> None:
        """Note that a decision is done: an exit behind that has ended the order's waiting goes at once."""
        if self._exit_behind is None or not isinstance(disposition, DeadLetter):
            return
        if disposition.reason == "superseded":
            self._exit_behind.has_superseded = True
            self._exit_behind.wake()

    # Around an attempt.

    def is_outdated(self) -> bool:
        """Whether the settings have changed since it was said what is known."""
        return self._settings is not self._room.current.settings

    def must_wait(self, order: Order) -> bool:
        """Whether the connector's pace lets no POST begin now."""
        return self._room.backoffs.pace_ms(order) > 0

    def claims(self, order: Order) -> None:
        """A POST is about to begin; that is kept with its claim."""
        self._room.backoffs.claims(order, self._delivery.epoch, self.queue)

    def begins(self, order: Order) -> None:
        """Note that the POST begins now: its claim took a while."""
        self._failures_before = self.queue.failures
        self._room.backoffs.begins(order)

    def answered(self, order: Order, attempt: Attempt) -> float:
        """Note that the POST has ended; return how long the lane waits for that at least, in seconds."""
        failures_before = self.queue.failures if self._failures_before is None else self._failures_before
        self._failures_before = None
        self._ticket.has_superseded = False  # from here on it backs off as any other
        return self._room.backoffs.note_answer(order, attempt, self._delivery.epoch, self.queue, failures_before)

    def pass_on(self) -> None:
        """Pass the turn on now: what the ledger is asked for in this step is in line before all that the next one asks.
        Not after the settings have changed: an order that has come by another queue has another line.
        """
        if self._joined and not self.is_outdated():
            self._is_passed_on = True
            self._room.queues.leave(self._joined.pop(), self._ticket)

    def _is_about_due(self) -> bool:
        """Whether the order was put into its lane shortly before it is due: the ladder handed it back."""
        timing = self._order.timing
        early = self._order.provenance.is_own_copy and not timing.is_due and timing.due_ms is not None
        return early and park_seconds(timing.due_ms or 0, self._room.clock.now_ms()) == 0

    def _noted(self, known: LedgerEntry) -> LedgerEntry:
        """Keep what only this look may find: that the first record is the order's own, which intent the bytes of an
        order without an id stand for (by the next look that may have ended), and what nobody may have told.
        """
        found = known.order
        if found.provenance.recorded and not self._order.provenance.recorded:
            self._order = self._order.as_recorded()
        if self._order.identity.message_id is None:
            self._order = self._order.named(found.strategy, found.intent_id)
        self.unpublished = self.unpublished or known.maybe_unpublished
        return known

    async def _line_up(self) -> None:
        """Wait for the turn in the connector's queue."""
        for whose, places in self._room.queues_of(self._order):
            self.queue = self._room.queues.of(whose, places=places)
            self._joined.append(whose)
            await self.queue.join(self._ticket)

    async def _look_up(self) -> LedgerEntry:
        """Return what a look ahead has found, or most likely would; after the first look, what the ledger says."""
        order, is_first = self._order, self._known is None
        if is_first and self._ticket.known is not None:
            return self._ticket.known
        if is_first and self._recalling is not None:
            known = await self._recalling
            # The ledger's due time counts, whatever the message says: what is not due by that is parked again.
            now_ms = self._room.clock.now_ms()
            return replace(known, order=known.order.fallen_due(now_ms)) if order.timing.is_due else known
        if is_first and order.is_first_delivery:
            # Most likely unknown: the claim's own insert finds out, and spares a look-up.
            return LedgerEntry(order, IntentState(order.intent_id, order.identity.digest))
        return await self._room.ledger.recall(order, self._delivery.epoch)


def _seen(task: asyncio.Task[object]) -> None:
    """Of a task that nobody may ask any more: how it failed is told by what asks the same itself."""
    if not task.cancelled():
        task.exception()
