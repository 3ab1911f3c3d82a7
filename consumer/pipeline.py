"""One message's way, from delivery to disposition. Read this first.

    broker (lane) -> service (slot) -> handle -> order.read -> [turn of its connector]
        -> ledger.recall -> rules.before -> ledger claim -> webhook.post -> rules.after -> ledger outcome
        -> settle (publish, confirm, ledger) -> one log line -> [the connector's next] -> outcome event -> ack

What to do is a value (rules.py); doing it is here; when a message may be interrupted is in slots.py. What happens if we
die after each step is in docs/delivery-semantics.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace

from pamqp.commands import Basic

from signalq.consumer.broker.intake import Room
from signalq.consumer.broker.outcome_publisher import OutcomePublisher
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.lanes.due_times import MAKE_ROOM_PART, DueTimes
from signalq.consumer.lanes.queues import Place, Turn, Turns
from signalq.consumer.lanes.superseding import Superseding, as_of_now, seen
from signalq.consumer.lanes.waits import Waits
from signalq.consumer.ledger import Conflict, Epoch, Fenced, Ledger, LedgerEntry, RateExceeded, SwitchedOff
from signalq.consumer.ledger.leases import CLAIM_MS_MAX
from signalq.consumer.orders import lanes, rules
from signalq.consumer.orders.delays import LANE_LEAD_MS, park_seconds
from signalq.consumer.orders.order import Order, Unreadable, read
from signalq.consumer.orders.rules import DeadLetter, Deliver, Hold, Retry, Wait
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import State
from signalq.consumer.settling import Settler, epoch_of, marks_of
from signalq.consumer.slots import Slot
from signalq.consumer.telemetry.intents import IntentTelemetry
from signalq.consumer.telemetry.metrics import Metrics
from signalq.consumer.webhook.client import Webhook
from signalq.message.envelope import republish_properties
from signalq.message.outcome import Outcome
from signalq.settings.reload import CurrentSettings

# Intents that fall due within the same second and wait here for their moment; more wait on the broker.
DUE_WINDOW = 10_000
# They hold so many bytes at most; what comes beyond that is left with the broker, and those due last go back to it.
DUE_BYTES = 24 * 1_048_576
# Messages that are no orders: of each queue so many are answered at a time, and so many bytes of them in a second. A
# flood of them leaves the loop, the disk and the broker to the orders.
REFUSED_AT_ONCE = 4
REFUSED_BYTES_PER_S = 8 * 1_048_576
REFUSED_REST_S_MIN = 0.002


@dataclass(frozen=True, slots=True)
class _Parcel:
    """An order on its way from the due queue to its lane, all but its body."""

    due_ms: int
    rank: int
    lane: str
    properties: Basic.Properties


class Pipeline:
    """Handles messages, each in a task of its own; holds no message itself."""

    def __init__(
        self,
        current: CurrentSettings,
        *,
        ledger: Ledger,
        webhook: Webhook,
        publisher: BrokerPublisher,
        metrics: Metrics,
        clock: Clock,
        jitter: Callable[[], float],
        skew: Skew | None = None,
    ) -> None:
        self._current = current
        self._ledger = ledger
        self._webhook = webhook
        self._publisher = publisher
        self._outcomes = OutcomePublisher(publisher)
        # What the ladder handed back, for up to its last second; and, in the lanes, for the last LANE_LEAD_MS of it.
        self._due_soon = DueTimes(clock, places_max=DUE_WINDOW, bytes_max=DUE_BYTES)
        self._due_now = DueTimes(clock, places_max=DUE_WINDOW, bytes_max=DUE_BYTES)
        self._telemetry = IntentTelemetry(metrics, clock)
        self._settler = Settler(ledger, publisher, self._telemetry, clock)
        self._clock = clock
        self._skew = skew or Skew()
        self._turns = Turns()
        self._waits = Waits(current, ledger=ledger, turns=self._turns, clock=clock, jitter=jitter)
        self._superseding = Superseding(current, ledger=ledger, turns=self._turns, waits=self._waits, clock=clock)
        # Of the shared lane alone: who has a lane of its own waits for nobody else.
        self._shared_posts = asyncio.Semaphore(current.settings.delivery.concurrency)
        self._refusing: dict[str, asyncio.Semaphore] = {}
        self._last_rank = 0

    def due_room(self) -> Room:
        """For what is read of the due queue: all of it leaves within its last second, so all of it counts."""
        return Room(DUE_BYTES + DUE_BYTES // MAKE_ROOM_PART, lambda _bytes: True)

    async def handle(self, delivery: Delivery, slot: Slot) -> None:
        """A message of a lane: read it, wait for its connector's turn, POST it, settle it."""
        order = self._read(delivery)
        if isinstance(order, Unreadable):
            await self._refuse(delivery, order, slot)
            return
        order = self._ranked(order)
        recalling: asyncio.Task[LedgerEntry] | None = None
        judging: asyncio.Task[None] | None = None
        try:
            if self._is_about_due(order) or order.creation.is_ahead:
                recalling = self._begin_to_recall(delivery, order)
            if self._is_about_due(order):
                order = await self._at_its_time(order)
            place = Place(order, delivery.message, self._clock.even_ms())
            judging = self._superseding.begin_to_judge(delivery, place, recalling)
            async with self._turn(order, place) as turn:
                ended = await self._deliver(delivery, order, recalling, turn, place, slot)
            if ended is not None:
                # Since the ledger knows, nothing has been waited for: nobody can have come between.
                await self._let_go(delivery, ended, slot)
        except Fenced:
            delivery.session.lose("another consumer has become the active one")
        finally:
            for task in (recalling, judging):
                if task is not None:
                    task.cancel()
            self._ledger.release(order)

    def remember(self, epoch: Epoch) -> None:
        """A lane is ours: what its consumer before us waited for, we wait for."""
        self._waits.remember(epoch)

    async def told(self) -> None:
        """Return once nothing is told beside the messages any more; see OutcomePublisher."""
        await self._outcomes.drained()

    async def close(self) -> None:
        """Nothing is waited for any more."""
        self._due_soon.close()
        self._due_now.close()
        await self._outcomes.close()

    async def give_up(self, delivery: Delivery, slot: Slot) -> None:
        """A message whose handling failed unexpectedly `delivery.crashes_max` times: nobody can deliver it."""
        detail = f"handling it failed unexpectedly {self._current.settings.delivery.crashes_max} times, see the log"
        order = self._read(delivery)
        if isinstance(order, Unreadable):
            await self._refuse(delivery, order, slot)
            return
        try:
            with slot.busy():
                known = await self._ledger.recall(order, epoch_of(delivery))
                disposition = rules.given_up(known.order, known.state, detail, self._clock.now_ms())
                ended = await self._settler.settle(delivery, known, disposition)
            await self._let_go(delivery, (*known.maybe_unpublished, *ended), slot)
        except Conflict:
            delivery.session.lose("handling a message failed, and the ledger has moved on meanwhile")
        finally:
            self._ledger.release(order)

    async def _refuse(self, delivery: Delivery, unreadable: Unreadable, slot: Slot) -> None:
        async with self._refusing.setdefault(delivery.message.queue, asyncio.Semaphore(REFUSED_AT_ONCE)):
            with slot.busy():
                ended = await self._settler.refuse(delivery, unreadable)
            await self._let_go(delivery, ended, slot)
            rest_s = delivery.held_bytes * REFUSED_AT_ONCE / REFUSED_BYTES_PER_S
            if rest_s >= REFUSED_REST_S_MIN:
                await asyncio.sleep(rest_s)

    async def _let_go(self, delivery: Delivery, ended: Sequence[Outcome], slot: Slot) -> None:
        """Tell what has ended, then acknowledge: whoever dies between has its message come again, and tells again."""
        delivery.session.owe(delivery.tag)
        with slot.telling():
            await self._outcomes.publish(ended)
            await delivery.ack()

    async def handle_due(self, delivery: Delivery, slot: Slot) -> None:
        """A message that the ladder handed back: park it for what is left, or hold it for its last second; then give
        it to its lane, just before it is due.
        """
        parcel = self._packed(delivery)
        if isinstance(parcel, Unreadable):
            await self._refuse(delivery, parcel, slot)
            return
        if parcel is None:
            await self.handle(delivery, slot)
            return
        due_ms, body = parcel.due_ms, delivery.message.body
        held = park_seconds(due_ms, self._clock.now_ms()) == 0 and await self._due_soon.wait_until(
            due_ms - LANE_LEAD_MS, rank=parcel.rank, session=delivery.session, held_bytes=delivery.held_bytes
        )
        with slot.busy():
            if held:
                await self._publisher.forward(parcel.lane, body, parcel.properties)
            else:
                await self._publisher.park(due_ms, self._clock.now_ms, body, parcel.properties)
            await delivery.ack()

    def _packed(self, delivery: Delivery) -> _Parcel | Unreadable | None:
        """What is needed of an order while it waits here: read, it may take five times its bytes.

        None where it came beside the ladder: only the ledger knows whether it is one copy too many.
        """
        order = self._read(delivery)
        if isinstance(order, Unreadable):
            return order
        if order.came_beside:
            return None
        given = replace(order, creation=order.creation.as_given())
        properties = republish_properties(delivery.message.properties, marks_of(given), order.intent_id)
        return _Parcel((order.due_ms or 0) + order.creation.ahead_ms, order.park_rank, order.lane, properties)

    def _read(self, delivery: Delivery) -> Order | Unreadable:
        order = read(delivery.message, self._current.settings, self._clock.now_ms(), self._skew.known())
        if isinstance(order, Order):
            self._telemetry.received(order)
            if order.stamped_ms is not None:  # it can't have come before it was taken: more than that it does not say
                self._skew.note("broker", 0, order.received_ms - order.stamped_ms)
        return order

    def _ranked(self, order: Order) -> Order:
        """Write down the place in the lane of what will be parked: µs, made to rise, also from replica to replica."""
        if order.is_due or (order.is_own_copy and order.park_rank):
            return order
        self._last_rank = max(self._last_rank + 1, order.received_ms * 1000)
        return replace(order, park_rank=self._last_rank)

    @asynccontextmanager
    async def _turn(self, order: Order, place: Place) -> AsyncIterator[Turn]:
        """The connector's turn. An order that is not due waits for none and holds up none, unless the ladder has handed
        it back: then the clock was set back, and it may have been tried. A misrouted order has turns of its own: it
        keeps its order, but does not wait for this lane's backoff.
        """
        if not order.is_due and not order.is_own_copy:
            yield Turn()
            return
        if order.is_misrouted and order.forwards < lanes.FORWARDS_MAX:
            async with self._turns.take((order.source_queue, order.connector), place) as turn:
                yield turn
            return
        async with self._alone(order), self._turns.take(order.connector, place, places=self._places(order)) as turn:
            yield turn

    def _places(self, order: Order) -> int:
        return lanes.concurrency_of(self._current.settings, order.connector)

    @asynccontextmanager
    async def _alone(self, order: Order) -> AsyncIterator[None]:
        """Where order does not see to it: the same message again, from a later session, waits for the end of what an
        earlier one began, which alone can say how it ended.
        """
        if lanes.is_strict(self._current.settings, order.connector):
            yield
            return
        async with self._turns.take((order.connector, order.strategy, order.digest)):
            yield

    def _is_about_due(self, order: Order) -> bool:
        """Whether it was put into its lane shortly before it is due: the ladder handed it back."""
        early = order.is_own_copy and not order.is_due and order.due_ms is not None
        return early and park_seconds(order.due_ms or 0, self._clock.now_ms()) == 0

    def _begin_to_recall(self, delivery: Delivery, order: Order) -> asyncio.Task[LedgerEntry]:
        """Look it up while it waits for its moment: when that comes, only the claim is left to do."""
        recalling = asyncio.create_task(self._ledger.recall(order, epoch_of(delivery)), name="recall")
        recalling.add_done_callback(seen)
        return recalling

    def _decide(
        self, known: LedgerEntry, turn: Turn, place: Place, switched: State, over_rate: str | None
    ) -> rules.Before:
        """Ask the rules. An exit behind that ends the waiting of this one goes at once, when its turn comes."""
        by = self._superseding.exit_behind(known.order, turn, place)
        kind = by.order.intent.kind if by is not None else None
        now_ms = self._waits.now_ms(place)
        decision = rules.before(
            known.order,
            self._waits.put_off(known.state, place, now_ms),
            now_ms + self._waits.lane_ms(turn, place),
            now_ms,
            paced_until_ms=now_ms + self._waits.pace_ms(known.order),
            superseded_by=kind,
            over_rate=over_rate,
            switched=switched,
        )
        if by is not None and isinstance(decision, DeadLetter) and decision.reason == "superseded":
            by.has_superseded = True
            by.wake()
        return decision

    async def _at_its_time(self, order: Order) -> Order:
        """Wait without a turn. It takes its place in the lane at its due time, however long the look-up takes."""
        is_time = await self._due_now.wait_until(order.due_ms or 0, rank=order.park_rank)
        return order.fallen_due(self._clock.now_ms()) if is_time else order

    async def _deliver(
        self,
        delivery: Delivery,
        order: Order,
        recalling: asyncio.Task[LedgerEntry] | None,
        turn: Turn,
        place: Place,
        slot: Slot,
    ) -> Sequence[Outcome] | None:
        """Ask the rules and do as they say, until the message is settled: what has ended with it, None where it is no
        longer ours.
        """
        known = place.known or await self._known_so_far(order, recalling)
        unpublished: tuple[Outcome, ...] = ()
        switched: State = "open"
        over_rate: str | None = None
        while not slot.withdrawn:
            order = as_of_now(order, delivery.message, self._current)
            known = known or await self._ledger.recall(order, epoch_of(delivery))
            known = replace(known, order=as_of_now(known.order, delivery.message, self._current))
            order = replace(order, recorded=known.order.recorded)
            unpublished = unpublished or known.maybe_unpublished
            decision = self._decide(known, turn, place, switched, over_rate)
            # Only a claim says what the switch forbids: nothing that was heard of it before is good for a dead letter.
            switched = "open"
            try:
                match decision:
                    case Hold(until_ms):
                        switched = await self._held(known.order, until_ms - self._waits.now_ms(place))
                        continue
                    case Wait(until_ms):
                        await place.sleep(self._clock.sleep(until_ms - self._waits.now_ms(place)))
                    case Deliver():
                        ended = await self._attempt_in_time(delivery, known, turn, place, slot)
                        if ended is not None:
                            return *unpublished, *ended
                    case disposition:
                        with slot.busy():
                            return *unpublished, *await self._settler.settle(delivery, known, disposition)
            except Fenced:
                raise
            except SwitchedOff as off:
                switched = off.state
            except RateExceeded as full:
                over_rate = full.rate.exceeded.detail
            except Conflict:
                self._telemetry.moved_on(known.order)
            known = None
        return None

    async def _known_so_far(self, order: Order, recalling: asyncio.Task[LedgerEntry] | None) -> LedgerEntry | None:
        """What is known without asking anew; None where the ledger has to be asked."""
        if order.is_first_delivery and recalling is None:
            # Most likely unknown: the claim's own insert finds out, and spares a look-up.
            return LedgerEntry(order, IntentState(order.intent_id, order.digest))
        if recalling is None:
            return None
        known = await recalling
        # The ledger's due time counts, whatever the message says: what is not due by that is parked again.
        return replace(known, order=known.order.fallen_due(self._clock.now_ms())) if order.is_due else known

    async def _held(self, order: Order, wait_ms: int) -> State:
        """Wait while it is paused; what the ledger was last heard to say spares asking it until it is resumed."""
        await self._clock.sleep(wait_ms)
        return "paused" if self._ledger.switched(order.connector) == "paused" else "open"

    async def _attempt_in_time(
        self, delivery: Delivery, known: LedgerEntry, turn: Turn, place: Place, slot: Slot
    ) -> Sequence[Outcome] | None:
        """One attempt, in the shared lane once one of the `delivery.concurrency` places is free, and what follows.

        Returns what has ended with it; None where it is not settled.
        """
        async with nullcontext() if self._has_own_lane(known.order) else self._shared_posts:
            order, has_expired = known.order, self._waits.now_ms(place) > known.order.expires_ms
            if has_expired or order.settings is not self._current.settings or self._waits.pace_ms(order) > 0:
                return None  # the rules are asked again: it has expired, the settings have changed, or it has to wait
            with slot.busy():
                known, after = await self._attempt(delivery, known, turn, place)
                place.has_superseded = False  # from here on it backs off as any other
                return None if isinstance(after, Retry) else await self._settler.settle(delivery, known, after)

    def _has_own_lane(self, order: Order) -> bool:
        return lanes.has_own_lane(self._current.settings, order.connector)

    async def _attempt(
        self, delivery: Delivery, known: LedgerEntry, turn: Turn, place: Place
    ) -> tuple[LedgerEntry, rules.After]:
        """Claim, POST, record: the claim is known before the first byte goes out, the outcome before anything else."""
        order, before, epoch = known.order, known.state, epoch_of(delivery)
        rates = () if before.attempts else order.rates()
        claim = known.state.claimed(self._waits.now_ms(place))
        self._waits.claims(order, epoch, turn)
        known = await self._ledger.save(order, claim, epoch, attempt=before.unconcluded, rates=rates)
        self._telemetry.claimed(known)
        self._outcomes.publish_in_background(known.canceled)
        failures_before = turn.failures
        if self._is_too_old(known.began_ms) or rules.too_late(order, before, self._waits.now_ms(place)):
            attempt = Attempt("not taken", sent=False, why="its claim took too long")
        else:
            self._waits.begins(order)  # its claim took a while
            claimed = known
            attempt = await self._webhook.post(order, lambda: self._may_begin(delivery, claimed, before, place))
        if attempt.clock_ahead_ms is not None:
            self._skew.note("webhook", *attempt.clock_ahead_ms)
        concluded = known.state.concluded(attempt, was_in_doubt=before.in_doubt)
        wait_s = self._waits.note_answer(order, attempt, epoch, turn, failures_before)
        now_ms = self._waits.now_ms(place)
        after = rules.after(order, concluded, attempt, wait_s, now_ms)
        if isinstance(after, Retry):
            put_off_ms = after.at_ms - now_ms
            after = Retry(self._clock.now_ms() + put_off_ms)
            concluded = concluded.retrying(after.at_ms, put_off_ms)
        elif isinstance(after, DeadLetter):
            concluded = concluded.dying(after.reason, after.detail)
        known = await self._ledger.save(order, concluded, attempt=attempt)
        self._telemetry.attempted(order, concluded, attempt, after)
        return known, after

    async def _may_begin(self, delivery: Delivery, claimed: LedgerEntry, before: IntentState, place: Place) -> bool:
        """The last look, with a connection in hand and nothing sent: getting one may have taken long (DNS, TLS), and
        what the claim has read of the lane and the switch holds for CLAIM_MS_MAX. `before` is how it stood before it.
        """
        began_ms = claimed.began_ms
        if self._is_too_old(began_ms):
            try:
                began_ms = await self._ledger.confirm(claimed.order, claimed.state, epoch_of(delivery))
            except Conflict:
                return False
        return not self._is_too_old(began_ms) and not rules.too_late(claimed.order, before, self._waits.now_ms(place))

    def _is_too_old(self, began_ms: int) -> bool:
        """Whether what a transaction has read that began then does not count any more; 0 where nobody knows when."""
        return began_ms > 0 and self._clock.even_ms() - began_ms > CLAIM_MS_MAX
