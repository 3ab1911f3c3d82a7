"""The durable ledger: one writer, group commit.

Whatever waits when a transaction can begin goes into that one, of each lane a few: under load a commit is shared by
many intents, an idle ledger commits at once, and no lane waits for the flood of another. Only what is noted of an
intent while it is parked may wait for company, up to COMPANY_S: nobody waits for that, and the claims of others find
the disk idle more often. A transaction that fails (disk full, locked, read-only, database gone) is tried again as a
whole until it succeeds; whoever asked waits, so no POST begins meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count, islice
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from signalq.consumer.clocks.skew import Skew, since_start_ms
from signalq.consumer.kept_going import kept_going
from signalq.consumer.ledger import (
    Conflict,
    Epoch,
    Fenced,
    LaneMemory,
    LedgerEntry,
    Live,
    RateExceeded,
    SwitchedOff,
    SwitchWatcher,
    paces,
    replicas,
    schedule,
    statements,
    steps,
    switches,
)
from signalq.consumer.ledger import rates as rate_table
from signalq.consumer.ledger.causes import cause_of
from signalq.consumer.ledger.database import clock_ms, database_at, is_hopeless, machine_ms
from signalq.consumer.ledger.fair_queue import FairQueue
from signalq.consumer.ledger.leases import ALIVE_PERIOD_S, LEASE_MS
from signalq.consumer.ledger.migrate import migrate
from signalq.consumer.orders.delays import KnownSkew, backoff_s
from signalq.consumer.orders.limits import Rate
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import Change, State, Switch, stops

# Lanes that are noted as looked after with each sign of life; more take turns.
ALIVE_LANES_MAX = 100
COUNT_EVERY_BEATS = 12
# So many changes of the switch are told one by one where several were made since the last sign of life.
SWITCH_CHANGES_MAX = 20
PRUNE_PERIOD_S = 60.0
PRUNE_ROWS_MAX = 500
BATCH_MAX = 500
# How long what is in no hurry waits for others to share their commit with.
COMPANY_S = 0.01
# Due later than this, an intent is parked, and that is in no hurry.
HURRY_MS = 2_000
# How long it is tried, at the end, to say so; else it is noticed by its silence.
LEAVE_S = 1.0
RETRY_BASE_S = 0.1
RETRY_MAX_S = 2.0

T = TypeVar("T")


@dataclass(slots=True)
class Transaction:
    """What the works of one transaction share: the connection, the ledger's clock, and the epochs and the switch as
    it has looked them up. `switch_before` is how the switch stood when an earlier one looked.
    """

    connection: Connection
    now_ms: int
    # Before anything was read, on the clock that nobody sets.
    began_ms: int
    switch_before: Switch = field(default_factory=Switch)
    switch_read: Switch | None = None
    epochs: dict[str, int | None] = field(default_factory=dict)
    steps: list[steps.Step] = field(default_factory=list)
    memories: dict[str, tuple[str, LaneMemory]] = field(default_factory=dict)

    def is_current(self, epoch: Epoch) -> bool:
        """Whether nobody has become the lane's consumer since."""
        if epoch.lane not in self.epochs:
            self.epochs[epoch.lane] = statements.current_epoch(self.connection, epoch.lane)
        return self.epochs[epoch.lane] == epoch.number

    def switch(self) -> Switch:
        """How the switch stands: looked up once a transaction, and never before it began."""
        if self.switch_read is None:
            self.switch_read = switches.read(self.connection, self.switch_before)
        return self.switch_read

    def switched_off(self, order: Order) -> SwitchedOff | None:
        """The answer to the claim of an order that the switch does not let pass."""
        state = self.switch().state_of(order.connector)
        return SwitchedOff(state) if stops(state, is_exit=order.is_exit) else None

    def note(self, order: Order, state: IntentState, attempt: Attempt | None) -> None:
        """Have the step that a save makes written with it: all those of one transaction together, at its end."""
        made = [steps.of_receipt(order) if state.version == 0 else None, steps.step_of(order, state, attempt)]
        self.steps += [step for step in made if step is not None]

    def note_receipt(self, order: Order) -> None:
        """The same for an intent whose first record is made by a look at it."""
        if (step := steps.of_receipt(order)) is not None:
            self.steps.append(step)

    def cancel_by(self, order: Order) -> tuple[Pending, ...]:
        """What the claim of a `cancel` or `cancelAll` cancels; nothing, for any other."""
        if order.intent.kind not in {"cancel", "cancelAll"}:
            return ()
        self.write_steps()  # in the order in which it happened
        return tuple(schedule.cancel_by(self.connection, self.now_ms, order))

    def write_steps(self) -> None:
        """Write what was noted so far."""
        if self.steps:
            steps.write(self.connection, self.now_ms, self.steps)
            self.steps.clear()

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """Have it kept for the lane's next consumer, at the end of the transaction; the last word of each counts."""
        _, before = self.memories.get(memory.connector, (lane, memory))
        if memory.posted_ago_ms is None:
            memory = replace(memory, posted_ago_ms=before.posted_ago_ms)
        self.memories[memory.connector] = lane, memory

    def end(self) -> None:
        """Write what was noted to be written last."""
        self.write_steps()
        paces.remember(self.connection, self.now_ms, self.memories)


Work = Callable[[Transaction], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Counted:
    """A work that takes places in rates: its transaction begins with their lock."""

    work: Work

    def __call__(self, now: Transaction) -> Any:
        return self.work(now)


log = structlog.get_logger()


class SqlLedger:
    """SQLite or PostgreSQL by one URL; use it as an async context manager."""

    def __init__(
        self,
        url: str,
        *,
        retention_days: float,
        observe_commit_s: Callable[[float], None],
        skew: Skew | None = None,
    ) -> None:
        self.ledger_id = ""
        self.scheduled = 0
        self.why_not_writable: str | None = None
        self.live: Live | None = None
        self._answered_s = time.monotonic()
        self._retention_ms = round(retention_days * 86_400_000)
        self._observe_commit_s = observe_commit_s
        self._skew = skew or Skew()
        self._owner = uuid.uuid4().hex
        self._holds = Holds()
        self._replica = f"{socket.gethostname()}:{os.getpid()}"
        self._unacked: Callable[[], Mapping[str, int]] = dict
        # As the last transaction that looked found it; as the one before the last sign of life was told.
        self._switch = Switch()
        self._switch_told: Switch | None = None
        self._switch_watcher: SwitchWatcher = lambda _switch, _changes: None
        self._lanes: dict[str, None] = {}
        self._openings = 0
        # The intents that messages in our hands may have claimed, by the messages' receipts.
        self._claims: dict[str, Order] = {}
        self._waiting: FairQueue[tuple[Work, asyncio.Future[Any]]] = FairQueue()
        self._something_waits = asyncio.Event()
        self._database = database_at(url, create=True)
        self.name = self._database.shown
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Create or upgrade the tables. Raises SettingsError where that can't be done."""
        self.ledger_id = await migrate(self._database)
        self._tasks = [
            asyncio.create_task(self._write(), name="ledger writer"),
            asyncio.create_task(kept_going(self._keep_alive, "ledger alive"), name="ledger alive"),
            asyncio.create_task(kept_going(self._prune, "ledger pruning"), name="ledger pruning"),
        ]
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, *_exc: object) -> None:
        """Close it; what waits for a commit is canceled."""
        if exc_type is None:
            await self._leave()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._waiting:
            for _, answer in self._waiting.take(BATCH_MAX):
                answer.cancel()
        await self._database.close()

    @property
    def wal_bytes(self) -> int:
        """How large the file is in which SQLite keeps what it has not moved into its own yet; 0 elsewhere."""
        return self._database.wal_bytes

    @property
    def silent_s(self) -> float:
        """See Ledger."""
        return time.monotonic() - self._answered_s

    async def _leave(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._ask(lambda now: replicas.leave(now.connection, self._owner))

    async def join_lane(self, lane: str) -> int | None:
        """See Ledger."""
        before_ms = await self._ask(
            lambda now: statements.join_lane(now.connection, now.now_ms, lane, self._owner), lane
        )
        self._lanes[lane] = None
        return before_ms

    def leave_lane(self, lane: str) -> None:
        """See Ledger."""
        self._lanes.pop(lane, None)

    async def open_lane(self, lane: str, *, alone: bool = True) -> Epoch:
        """See Ledger."""
        self._lanes[lane] = None
        of_this_machine = self._skew.known()

        def work(now: Transaction) -> Epoch:
            now.epochs.pop(lane, None)
            skew = of_this_machine if now.connection.dialect.name == "sqlite" else KnownSkew()
            return statements.take_lane(now.connection, now.now_ms, lane, self._owner, alone=alone, skew=skew)

        self._openings += 1
        opening = self._openings
        return replace(await self._ask(work, lane), opening=opening)

    async def leave_settled(self, epoch: Epoch) -> None:
        """See Ledger."""
        await self._ask(lambda now: statements.leave_settled(now.connection, epoch), epoch.lane)

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """See Ledger."""
        self._enqueue(lambda now: now.remember(lane, memory), lane)

    async def known_lanes(self) -> list[str]:
        """See Ledger."""
        return await self._ask(lambda now: statements.known_lanes(now.connection))

    async def forget_lane(self, lane: str) -> None:
        """See Ledger."""
        self.leave_lane(lane)
        await self._ask(lambda now: statements.forget_lane(now.connection, now.now_ms, lane), lane)

    async def recall(self, order: Order, epoch: Epoch) -> LedgerEntry:
        """See Ledger."""

        def work(now: Transaction) -> LedgerEntry | None:
            # The lane's next consumer has the same message, and could not tell that it is the same.
            is_recorded = not order.is_due or order.creation.is_ahead
            if order.message_id is None and is_recorded and not now.is_current(epoch):
                return None
            is_held = self._holds.by_another(order, epoch)
            known = statements.recall(now.connection, now.now_ms, order, epoch, self._owner, is_held)
            self._holds.hold(known.order, epoch)
            if known.order.recorded and not order.recorded:
                now.note_receipt(known.order)
            return known

        in_hurry = order.is_own_copy or (order.due_ms or 0) - order.received_ms < HURRY_MS
        known = await self._ask(work, epoch.lane, in_hurry=in_hurry)
        if known is None:
            raise Fenced
        return known

    def release(self, order: Order) -> None:
        """See Ledger. A claim that was not concluded is nobody's business any more: its lease ends."""
        self._holds.release(order)
        claimed = self._claims.pop(order.receipt, None)
        if claimed is not None:
            self._enqueue(lambda now: statements.end_lease(now.connection, claimed, self._owner), order.source_queue)

    async def save(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch | None = None,
        *,
        attempt: Attempt | None = None,
        rates: Sequence[Rate] = (),
    ) -> LedgerEntry:
        """See Ledger."""

        saved_ms = began_ms = 0
        over: list[Rate] = []

        def work(now: Transaction) -> tuple[Pending, ...] | Conflict:
            nonlocal saved_ms, began_ms, over
            saved_ms, began_ms = now.now_ms, now.began_ms
            if epoch is not None and not now.is_current(epoch):
                return Fenced()
            if is_claim and (refused := now.switched_off(order)) is not None:
                return refused
            over = rate_table.over(now.connection, now.now_ms, rates)
            if full := [rate for rate in over if rate.enforced]:
                return RateExceeded(full[0])
            if not statements.save(now.connection, now.now_ms, order, state, self._owner, LEASE_MS):
                return Conflict()
            rate_table.take(now.connection, now.now_ms, rates)
            now.note(order, state, attempt)
            return now.cancel_by(order) if is_claim else ()

        is_claim = state.status == "sending"

        if epoch is not None:
            self._holds.hold(order, epoch)
        if is_claim:
            self._claims[order.receipt] = order
        in_hurry = state.status != "scheduled"
        answer = await self._ask(Counted(work) if rates else work, order.source_queue, in_hurry=in_hurry)
        refused = not isinstance(answer, tuple)
        if refused or not is_claim:  # what another message of the same intent may have claimed is its own business
            self._claims.pop(order.receipt, None)
        if refused:
            raise answer
        saved = replace(state, version=state.version + 1, updated_ms=saved_ms)
        return LedgerEntry(order, saved, answer, began_ms=began_ms, over_rates=tuple(over))

    async def confirm(self, order: Order, claim: IntentState, epoch: Epoch) -> int:
        """See Ledger."""

        def work(now: Transaction) -> int | Conflict:
            if not now.is_current(epoch):
                return Fenced()
            row = statements.row_of(now.connection, order.strategy, order.intent_id)
            if row is None or row.version != claim.version or row.owner != self._owner:
                return Conflict()
            return now.switched_off(order) or now.began_ms

        answer = await self._ask(work, order.source_queue)
        if isinstance(answer, Conflict):
            raise answer
        return answer

    def switched(self, connector: str) -> State:
        """See Ledger."""
        return self._switch.state_of(connector)

    def watch_switch(self, watcher: SwitchWatcher) -> None:
        """See Ledger."""
        self._switch_watcher = watcher
        self._switch_told = None

    async def _ask(self, work: Callable[[Transaction], T], lane: str = "", *, in_hurry: bool = True) -> T:
        return await self._enqueue(work, lane, in_hurry=in_hurry)

    def _enqueue(self, work: Callable[[Transaction], T], lane: str = "", *, in_hurry: bool = True) -> asyncio.Future[T]:
        """Have it done in the turn of its lane; see COMPANY_S for what is in no hurry."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.put(lane, (work, answer))
        if in_hurry:
            self._something_waits.set()
        elif len(self._waiting) == 1:
            loop.call_later(COMPANY_S, self._something_waits.set)
        return answer

    async def _write(self) -> None:
        """The one writer: take what waits, commit it as one, answer; forever."""
        while True:
            await self._something_waits.wait()
            if not self._waiting:  # it went with others before its own time came
                self._something_waits.clear()
                continue
            batch = self._waiting.take(BATCH_MAX)
            if not self._waiting:
                self._something_waits.clear()
            try:
                answers = await self._commit([work for work, _ in batch])
            except Exception:  # noqa: BLE001 - one of them is wrong: each alone, so that only its asker is told
                for work, waiter in batch:
                    await self._commit_alone(work, waiter)
                continue
            for (_, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)

    async def _commit_alone(self, work: Work, waiter: asyncio.Future[Any]) -> None:
        try:
            (answer,) = await self._commit([work])
        except Exception as error:  # noqa: BLE001 - a work that is wrong must not end the writer for all others
            if not waiter.done():
                waiter.set_exception(error)
            return
        if not waiter.done():
            waiter.set_result(answer)

    async def _commit(self, works: list[Work]) -> list[Any]:
        """One transaction for all of them, tried until it succeeds; raises what one of them raised."""

        def run_all(connection: Connection) -> list[Any]:
            began_ms = since_start_ms()
            if any(isinstance(work, Counted) for work in works):
                rate_table.lock(connection)
            now = Transaction(connection, clock_ms(connection), began_ms, self._switch)
            answers = [work(now) for work in works]
            now.end()
            self._switch = now.switch_read or self._switch
            return answers

        failures = 0
        while True:
            began_s = time.monotonic()
            try:
                answers = await self._database.transact(run_all)
            except (DBAPIError, PoolTimeoutError, OSError) as error:
                if is_hopeless(error):
                    raise
                failures += 1
                self._note_failure(error)
                await asyncio.sleep(backoff_s(failures, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, fraction=1.0))
                continue
            if self.why_not_writable is not None:
                log.info("ledger.recovered", failures=failures)
                self.why_not_writable = None
            self._answered_s = time.monotonic()
            self._observe_commit_s(self._answered_s - began_s)
            return answers

    def _note_failure(self, error: Exception) -> None:
        self.why_not_writable = f"the ledger can't be written ({cause_of(error)})"
        log.error("ledger.not_writable", why=self.why_not_writable)

    def count_unacked(self, unacked: Callable[[], Mapping[str, int]]) -> None:
        """Have it told with each sign of life how many messages this consumer holds, by queue."""
        self._unacked = unacked

    async def _keep_alive(self) -> None:
        # Before any lane is joined: what is asked is answered in order.
        self._skew.recall(await self._ask(lambda now: paces.clock_of(now.connection, self._skew.machine)))
        for beat in count():
            seen_s = time.monotonic()
            owners, switch, changes = await self._ask(self._note_alive)
            self.live = Live(self._owner, owners, seen_s)
            await self._note_clock(beat)
            self._tell_of_switch(switch, changes)
            if beat % COUNT_EVERY_BEATS == 0:
                self.scheduled = await self._ask(lambda now: schedule.count(now.connection))
            await asyncio.sleep(ALIVE_PERIOD_S)

    def _note_alive(self, now: Transaction) -> tuple[frozenset[str], Switch, Sequence[Change]]:
        """It says by which version of the switch we act: the one that this very transaction has read."""
        statements.keep_alive(now.connection, now.now_ms, self._some_lanes(), self._owner, LEASE_MS)
        switch, told = now.switch(), self._switch_told
        replicas.note_alive(now.connection, now.now_ms, self._owner, self._replica, switch.version, self._unacked())
        owners = replicas.living(now.connection, now.now_ms, LEASE_MS)
        if told is None or told.version == switch.version:
            return owners, switch, ()
        return (
            owners,
            switch,
            switches.changes_between(now.connection, told.version, switch.version, SWITCH_CHANGES_MAX),
        )

    async def _note_clock(self, beat: int) -> None:
        """Keep how this machine's clock was set, and ask the ledger's clock now and then."""
        if segments := self._skew.unsaved():
            await self._ask(lambda now: paces.note_clock(now.connection, self._skew.machine, segments))
            self._skew.saved(segments)
        if beat % COUNT_EVERY_BEATS == 0:
            await self._ask(self._note_clock_of)

    def _note_clock_of(self, now: Transaction) -> None:
        """How far this machine's clock is from the ledger's, where that is another's."""
        if now.connection.dialect.name != "sqlite":
            at_most_ms = machine_ms() - now.now_ms
            self._skew.note("ledger", at_most_ms - (since_start_ms() - now.began_ms), at_most_ms)

    def _tell_of_switch(self, switch: Switch, changes: Sequence[Change]) -> None:
        """To whoever watches, once the sign of life is committed, and where there is something to tell."""
        if self._switch_told is None or self._switch_told.version != switch.version:
            self._switch_watcher(switch, changes)
        self._switch_told = switch

    def _some_lanes(self) -> list[str]:
        """Up to ALIVE_LANES_MAX of the lanes that are looked after, in turn."""
        some = list(islice(self._lanes, ALIVE_LANES_MAX))
        for lane in some:
            self._lanes[lane] = self._lanes.pop(lane)
        return sorted(some)

    async def _prune(self) -> None:
        """In small steps, so that no order waits for it."""
        while True:
            pruned = await self._ask(self._prune_some)
            if pruned < PRUNE_ROWS_MAX:
                with suppress(DBAPIError, sqlite3.Error, OSError):
                    await self._database.tidy()
                await asyncio.sleep(PRUNE_PERIOD_S)

    def _prune_some(self, now: Transaction) -> int:
        replicas.forget_silent(now.connection, now.now_ms)
        rate_table.forget(now.connection, now.now_ms)
        paces.forget(now.connection, now.now_ms, self._retention_ms, self._skew.machine)
        return statements.prune(now.connection, now.now_ms, self._retention_ms, PRUNE_ROWS_MAX)


class Holds:
    """Intents without a message_id, and which message in this consumer stands for each: two equal redelivered
    messages must not be taken for the same intent.

    What came on a session that is lost comes again on the next one of its lane, while we may still be busy with it:
    then the two are the same message.
    """

    def __init__(self) -> None:
        self._holder_of: dict[str, tuple[str, Epoch]] = {}
        self._intent_of: dict[str, str] = {}

    def hold(self, order: Order, epoch: Epoch) -> None:
        """The order's message stands for its intent, and for no other, until released."""
        if order.message_id is None:
            self.release(order)
            self._holder_of[order.intent_id] = order.receipt, epoch
            self._intent_of[order.receipt] = order.intent_id

    def by_another(self, order: Order, epoch: Epoch) -> Callable[[str], bool]:
        """Whether another message than the order's stands for an intent."""

        def is_held(intent_id: str) -> bool:
            receipt, since = self._holder_of.get(intent_id, (order.receipt, epoch))
            comes_again = since.lane == epoch.lane and since.opening < epoch.opening
            return receipt != order.receipt and not comes_again

        return is_held

    def release(self, order: Order) -> None:
        """The order's message is out of the consumer's hands."""
        intent_id = self._intent_of.pop(order.receipt, None)
        holder = self._holder_of.get(intent_id) if intent_id is not None else None
        if intent_id is not None and holder is not None and holder[0] == order.receipt:
            del self._holder_of[intent_id]
