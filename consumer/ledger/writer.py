"""The ledger's one writer: group commit, tried until it succeeds.

Whatever waits when a transaction can begin goes into that one, of each lane a few: under load a commit is shared by
many intents, an idle ledger commits at once, and no lane waits for the flood of another. Only what is noted of an
intent while it is parked may wait for company, up to COMPANY_S: nobody waits for that, and the claims of others find
the disk idle more often. A transaction that fails (disk full, locked, read-only, database gone) is tried again as a
whole until it succeeds; whoever asked waits, so no POST begins meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from signalq.consumer.clocks.skew import since_start_ms
from signalq.consumer.ledger.causes import cause_of
from signalq.consumer.ledger.database import Database, clock_ms, is_hopeless
from signalq.consumer.ledger.fair_queue import FairQueue
from signalq.consumer.ledger.queries import rates
from signalq.consumer.ledger.transaction import Transaction
from signalq.consumer.orders.switch import Switch
from signalq.times import backoff_s

BATCH_MAX = 500
# How long what is in no hurry waits for others to share their commit with.
COMPANY_S = 0.01
RETRY_BASE_S = 0.1
RETRY_MAX_S = 2.0

T = TypeVar("T")

# What is done in a transaction. One that loses a race says so by its answer: raised, it would undo the others' works.
Work = Callable[[Transaction], Any]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, eq=False)
class TakesRates:
    """A work that takes places in rates: its transaction begins with their lock."""

    work: Work

    def __call__(self, now: Transaction) -> Any:
        return self.work(now)


class Writer:
    """Does works in transactions. `switch` is how the last one that looked found the switch."""

    def __init__(self, database: Database, observe_commit_s: Callable[[float], None]) -> None:
        self.why_not_writable: str | None = None
        self.switch = Switch()
        self._database = database
        self._observe_commit_s = observe_commit_s
        self._answered_s = time.monotonic()
        self._waiting: FairQueue[tuple[Work, asyncio.Future[Any]]] = FairQueue()
        self._something_waits = asyncio.Event()

    @property
    def silent_s(self) -> float:
        """Seconds since the last commit."""
        return time.monotonic() - self._answered_s

    async def ask(self, work: Callable[[Transaction], T], lane: str = "", *, in_hurry: bool = True) -> T:
        """Do `work` in the turn of its lane; return its answer once that is committed."""
        return await self.enqueue(work, lane, in_hurry=in_hurry)

    def enqueue(self, work: Callable[[Transaction], T], lane: str = "", *, in_hurry: bool = True) -> asyncio.Future[T]:
        """Do the same without waiting for it. A work that is in no hurry waits for company, see COMPANY_S."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        self._waiting.put(lane, (work, answer))
        if in_hurry:
            self._something_waits.set()
        elif len(self._waiting) == 1:
            loop.call_later(COMPANY_S, self._something_waits.set)
        return answer

    async def run(self) -> None:
        """Take what waits, commit it as one, answer; for ever."""
        while True:
            await self._something_waits.wait()
            if not self._waiting:  # it went with others before its own time came
                self._something_waits.clear()
                continue
            batch = self._waiting.take(BATCH_MAX)
            if not self._waiting:
                self._something_waits.clear()
            try:
                answers = await self.commit([work for work, _ in batch])
            except Exception:  # noqa: BLE001 - one of them is wrong: each alone, so that only its asker is told
                for work, waiter in batch:
                    await self._commit_alone(work, waiter)
                continue
            for (_, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)

    def cancel_waiting(self) -> None:
        """Cancel the works that wait for a commit."""
        while self._waiting:
            for _, answer in self._waiting.take(BATCH_MAX):
                answer.cancel()

    async def commit(self, works: list[Work]) -> list[Any]:
        """One transaction for all of them, tried until it succeeds; raises what one of them raised."""

        def run_all(connection: Connection) -> list[Any]:
            return self.do(connection, works)

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

    def do(self, connection: Connection, works: list[Work]) -> list[Any]:
        """Do all works in a transaction that is open; return their answers."""
        began_ms = since_start_ms()
        if any(isinstance(work, TakesRates) for work in works):
            rates.lock(connection)
        now = Transaction(connection, clock_ms(connection), began_ms, self.switch)
        answers = [work(now) for work in works]
        now.end()
        self.switch = now.switch_read or self.switch
        return answers

    async def _commit_alone(self, work: Work, waiter: asyncio.Future[Any]) -> None:
        try:
            (answer,) = await self.commit([work])
        except Exception as error:  # noqa: BLE001 - a work that is wrong must not end the writer for all others
            if not waiter.done():
                waiter.set_exception(error)
            return
        if not waiter.done():
            waiter.set_result(answer)

    def _note_failure(self, error: Exception) -> None:
        self.why_not_writable = f"the ledger can't be written ({cause_of(error)})"
        log.error("ledger.not_writable", why=self.why_not_writable)
