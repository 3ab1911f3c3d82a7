"""The durable ledger, on SQLite or PostgreSQL: recall, claim, record, confirm; and the lanes."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Self

from signalq.consumer.clocks.skew import Skew
from signalq.consumer.kept_going import kept_going
from signalq.consumer.ledger import Conflict, Epoch, Fenced, LaneMemory, LedgerEntry, Live
from signalq.consumer.ledger.database import Database
from signalq.consumer.ledger.heartbeat import Heartbeat
from signalq.consumer.ledger.migrate import migrate
from signalq.consumer.ledger.pruning import Pruning
from signalq.consumer.ledger.queries import events, intents, lanes, recall
from signalq.consumer.ledger.queries.letters import Pile
from signalq.consumer.ledger.transaction import CANCELING, Save, TakesRates, Transaction, Work
from signalq.consumer.ledger.writer import Writer
from signalq.consumer.orders.delays import KnownSkew
from signalq.consumer.orders.letters import LetterRecord
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import State, SwitchedOff

# Due later than this, an intent is parked, and that is in no hurry.
HURRY_MS = 2_000


class Ledger:
    """Recalls, claims and records intents. Every later recall finds a claim or a record that has returned, also after a
    crash. Use it as an async context manager.
    """

    def __init__(
        self,
        database: Database,
        *,
        retention_days: float,
        observe_commit_s: Callable[[float], None],
        skew: Skew | None = None,
    ) -> None:
        self.ledger_id = ""
        self.name = database.shown
        self._database = database
        self._skew = skew or Skew()
        self._owner = uuid.uuid4().hex
        self._writer = Writer(database, observe_commit_s)
        self._heartbeat = Heartbeat(self._writer, self._owner, self._skew)
        self._pruning = Pruning(self._writer, database, retention_days=retention_days, machine=self._skew.machine)
        self._holds = recall.IdlessHolds()
        self._openings = count(1)
        # The intents that messages in our hands may have claimed, by the messages' receipts.
        self._claims: dict[str, Order] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # The say of others in the signs of life.
        self.watch_switch = self._heartbeat.watch_switch
        self.count_unacked = self._heartbeat.count_unacked
        self.describe_lanes = self._heartbeat.describe_lanes
        self.leave_lane = self._heartbeat.leave_lane

    async def __aenter__(self) -> Self:
        """Create or upgrade the tables. Raises SettingsError where that can't be done."""
        try:
            self.ledger_id = await migrate(self._database)
        except BaseException:
            await self._database.close()
            raise
        self._tasks = [
            asyncio.create_task(self._writer.run(), name="ledger writer"),
            asyncio.create_task(kept_going(self._heartbeat.run, "ledger alive"), name="ledger alive"),
            asyncio.create_task(kept_going(self._pruning.run, "ledger pruning"), name="ledger pruning"),
        ]
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *_exc: object) -> None:
        """Close it; what waits for a commit is canceled."""
        if exc_type is None:
            await self._heartbeat.leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.cancel_waiting()
        await self._database.close()

    @property
    def scheduled(self) -> int:
        """How many delayed intents are pending, as last counted."""
        return self._heartbeat.scheduled

    @property
    def letters(self) -> Pile:
        """The dead letters, as last counted."""
        return self._heartbeat.letters

    @property
    def why_not_writable(self) -> str | None:
        """None while saves succeed; else the reason why they wait."""
        return self._writer.why_not_writable

    @property
    def silent_s(self) -> float:
        """Seconds since the last commit; an idle ledger commits several times a second."""
        return self._writer.silent_s

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log, where that is a file of ours; else 0."""
        return self._database.wal_bytes

    @property
    def out(self) -> Counter[str]:
        """How many orders of each queue this consumer has claimed and not concluded: they are being POSTed."""
        return Counter(order.route.source_queue for order in self._claims.values())

    @property
    def live(self) -> Live | None:
        """The consumers that share the ledger and live, as last seen; None before the first look."""
        return self._heartbeat.live

    async def join_lane(self, lane: str) -> int | None:
        """Note that this consumer looks after a lane, active or standing by, until leave_lane.

        Returns when a consumer last looked after it before, in ms since the epoch; None where none ever did.
        """
        before_ms = await self._writer.ask(
            lambda now: lanes.join_lane(now.connection, now.now_ms, lane, self._owner), lane
        )
        self._heartbeat.join_lane(lane)
        return before_ms

    async def open_lane(self, lane: str, *, alone: bool = True) -> Epoch:
        """Become the active consumer of a lane: from now on no consumer before this one can claim on it.

        Not `alone`: one of several consumers, on a lane without order; they share the epoch.
        """
        self._heartbeat.join_lane(lane)
        of_this_machine = self._skew.known()

        def work(now: Transaction) -> Epoch:
            now.epochs.pop(lane, None)
            skew = of_this_machine if now.connection.dialect.name == "sqlite" else KnownSkew()
            return lanes.take_lane(now.connection, now.now_ms, lane, self._owner, alone=alone, skew=skew)

        opening = next(self._openings)
        return replace(await self._writer.ask(work, lane), opening=opening)

    async def leave_settled(self, epoch: Epoch) -> None:
        """Note that every message that ended in this epoch is acknowledged, and that no more will end in it."""
        await self._writer.ask(lambda now: lanes.leave_settled(now.connection, epoch), epoch.lane)

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """Keep a connector's memory for the lane's next consumer; the next commit saves it."""
        self._writer.enqueue(lambda now: now.remember(lane, memory), lane)

    async def known_lanes(self) -> list[str]:
        """The lanes that consumers ever looked after, without the forgotten ones."""
        return await self._writer.ask(lambda now: lanes.known_lanes(now.connection))

    async def forget_lane(self, lane: str) -> None:
        """Forget a lane whose queue is gone, once no consumer can mistake one of its epochs any more."""
        self.leave_lane(lane)
        await self._writer.ask(lambda now: lanes.forget_lane(now.connection, now.now_ms, lane), lane)

    async def recall(self, order: Order, epoch: Epoch) -> LedgerEntry:
        """Return what is known of the intent. An intent that is delayed, or that nobody dated, is recorded as well.

        Raises Fenced where an intent without a message_id would have to be recorded, and the lane is another's.
        """

        def work(now: Transaction) -> LedgerEntry | Fenced:
            # The lane's next consumer has the same message, and could not tell that it is the same.
            is_recorded = not order.timing.is_due or order.timing.creation.is_ahead
            if order.identity.message_id is None and is_recorded and not now.is_current(epoch):
                return Fenced()
            known = recall.recall(now.connection, now.now_ms, order, epoch, self._owner, self._holds)
            self._holds.hold(known.order, epoch)
            if known.order.provenance.recorded and not order.provenance.recorded:
                now.note(known.order, replace(known.state, version=0))
            return known

        in_hurry = order.provenance.is_own_copy or (order.timing.due_ms or 0) - order.timing.received_ms < HURRY_MS
        known: LedgerEntry = await self._writer.enqueue(work, epoch.lane, in_hurry=in_hurry)
        return known

    async def claim(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch,
        *,
        rates: Sequence[Rate] = (),
        attempt: Attempt | None = None,
    ) -> LedgerEntry | SwitchedOff | RateExceeded:
        """Save a claim before its POST; return it with its new version once it is durable.

        A refusal is a value; then nothing is saved. The same transaction takes a place in each of `rates`: over all
        consumers no more than there are. The claim of a `cancel` or `cancelAll` cancels the pending intents that it
        means. `attempt`: an earlier attempt that was never concluded, for the intent's timeline. The claim waits while
        the ledger can't be written. Raises Conflict; Fenced if the epoch is no longer the lane's.
        """
        claim = Save(order, state, epoch, attempt, self._owner)
        work: Work = claim
        if rates:
            work = TakesRates(Transaction.claim, claim=claim, rates_taken=rates)
        elif order.intent.kind in CANCELING:
            work = partial(Transaction.claim, claim=claim, rates_taken=())
        self._holds.hold(order, epoch)
        self._claims[order.provenance.receipt] = order
        try:
            answer: LedgerEntry | SwitchedOff | RateExceeded = await self._writer.enqueue(
                work, order.route.source_queue
            )
        except Conflict:  # another message's claim of the same intent is that one's business
            self._claims.pop(order.provenance.receipt, None)
            raise
        if not isinstance(answer, LedgerEntry):
            self._claims.pop(order.provenance.receipt, None)
        return answer

    def record(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch | None = None,
        *,
        attempt: Attempt | None = None,
        letter: LetterRecord | None = None,
    ) -> asyncio.Future[LedgerEntry]:
        """Save a history that is no claim; the answer has its new version, once it is durable.

        Its place is taken when this is called, not when the answer is awaited: a claim on the same queue that is asked
        for right behind it shares its transaction, or follows it. `attempt`: the attempt that ended with it, for the
        intent's timeline; `letter`: the one in which it was buried, if it is dead. The record waits while the ledger
        can't be written. Raises Conflict; with an epoch, Fenced if that is no longer the lane's.
        """
        if epoch is not None:
            self._holds.hold(order, epoch)
        save = Save(order, state, epoch, attempt, letter=letter)
        answer = self._writer.enqueue(save, order.route.source_queue, in_hurry=state.status != "scheduled")
        answer.add_done_callback(partial(self._concluded, order))
        return answer

    async def note_forwarded(self, order: Order, state: IntentState) -> None:
        """Note of an intent without a message_id that a copy that carries its id is in its own lane."""
        event = events.forwarded(order, state)
        await self._writer.ask(lambda now: now.events.append(event), order.route.source_queue)

    async def note_letter(self, letter: LetterRecord, lane: str) -> None:
        """Note that a letter is among the dead ones, or will be at once; in no hurry: no order waits for it."""
        await self._writer.enqueue(lambda now: now.letters.append(letter), lane, in_hurry=False)

    def _concluded(self, order: Order, answer: asyncio.Future[LedgerEntry]) -> None:
        """The message's claim, if it had one, is over: by this record, or by what it was in conflict with."""
        if not answer.cancelled() and isinstance(answer.exception(), Conflict | None):
            self._claims.pop(order.provenance.receipt, None)

    async def confirm(self, order: Order, claim: IntentState, epoch: Epoch) -> int | SwitchedOff:
        """Confirm that the lane, the intent and the switch still let the POST of a saved claim begin.

        Returns the beginning of the transaction that looked, on the clock that nobody sets. Raises Conflict and Fenced.
        """

        def work(now: Transaction) -> int | SwitchedOff | Conflict:
            if not now.is_current(epoch):
                return Fenced()
            row = intents.row_of(now.connection, order.strategy, order.intent_id)
            if row is None or row.version != claim.version or row.owner != self._owner:
                return Conflict()
            return now.switched_off(order) or now.began_ms

        answer: int | SwitchedOff = await self._writer.enqueue(work, order.route.source_queue)
        return answer

    def release(self, order: Order) -> None:
        """Let go of a message; the lease of a claim that it did not conclude ends."""
        self._holds.release(order)
        claimed = self._claims.pop(order.provenance.receipt, None)
        if claimed is not None:
            self._writer.enqueue(
                lambda now: intents.end_lease(now.connection, claimed, self._owner), order.route.source_queue
            )

    def switched(self, connector: str) -> State:
        """The connector's switch as last read, about a sign of life ago; a claim reads it anew."""
        return self._writer.switch.state_of(connector)
