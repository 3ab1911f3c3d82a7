"""The ledger's one writer: group commit, tried until it succeeds.

All works that wait when a transaction can begin go into that one, of each lane a few: under load many intents share a
commit, an idle ledger commits at once, and no lane waits for the flood of another. Only a note of a parked intent may
wait for company, up to COMPANY_S: nothing waits for that, and the claims of others find the disk idle more often. A
transaction that fails (disk full, locked, read-only, database gone) is tried again as a whole until it succeeds; its
works wait, so no POST begins meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import takewhile
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from signalq.consumer.clocks.skew import since_start_ms
from signalq.consumer.ledger import Conflict
from signalq.consumer.ledger.causes import cause_of, is_hopeless
from signalq.consumer.ledger.database import Database
from signalq.consumer.ledger.queries import rates
from signalq.consumer.ledger.queries.look import look
from signalq.consumer.ledger.transaction import Save, TakesRates, Transaction, Work, lanes_of
from signalq.consumer.orders.switch import Switch
from signalq.times import backoff_s

BATCH_MAX = 500
# Of one lane so many saves go into one transaction, or a quarter as many of other works, which take longer. The other
# lanes wait for its end, and for the step of the loop in which all of them are answered: beside a flood of cancels an
# exit took 1 s with 8 of them, and takes 20 ms with 4. Few enough for that, and enough to divide the cost of a commit:
# with 4 saves, too, an order of a busy lane took 1.6 times the CPU.
LANE_SHARE = 20
OTHER_WORK_SHARE = 5
# A work that is in no hurry waits so long for others to share its commit with.
COMPANY_S = 0.01
RETRY_BASE_S = 0.1
RETRY_MAX_S = 2.0

T = TypeVar("T")

log = structlog.get_logger()


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
        """Do `work` in the turn of its lane; return its answer once that is committed. Raises one that is a Conflict.

        A work that is in no hurry waits for company, see COMPANY_S.
        """
        answer: T = await self.enqueue(work, lane, in_hurry=in_hurry)
        return answer

    def enqueue(self, work: Work, lane: str = "", *, in_hurry: bool = True) -> asyncio.Future[Any]:
        """Ask for the same, from here on in its turn; the answer can be awaited later."""
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._waiting.put(lane, (work, answer), 1 if isinstance(work, Save) else OTHER_WORK_SHARE)
        if in_hurry:
            self._something_waits.set()
        elif len(self._waiting) == 1:
            loop.call_later(COMPANY_S, self._something_waits.set)
        return answer

    async def run(self) -> None:
        """Take what waits, commit it as one, answer; for ever."""
        while True:
            await self._something_waits.wait()
            batch = self._waiting.take(BATCH_MAX)
            if not self._waiting:
                self._something_waits.clear()
            if not batch:  # the batch went with others before its own time came
                continue
            try:
                answers = await self.commit([work for work, _ in batch])
            except Exception:  # noqa: BLE001 - one of them is wrong: each alone, so that only its asker is told
                for work, waiter in batch:
                    await self._commit_alone(work, waiter)
                continue
            for (_, waiter), answer in zip(batch, answers, strict=True):
                give(waiter, answer)

    def cancel_waiting(self) -> None:
        """Cancel the works that wait for a commit."""
        while self._waiting:
            for _, answer in self._waiting.take(BATCH_MAX):
                answer.cancel()

    async def commit(self, works: list[Work]) -> list[Any]:
        """Do all of them in one transaction, tried until it succeeds. Raises the error that one of them raised."""
        do_all = partial(self.do, works=works)
        failures = 0
        while True:
            began_s = time.monotonic()
            try:
                answers = await self._database.transact(do_all)
            except (DBAPIError, OSError) as error:
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
        # The lanes of the saves that stand first; those of others in their turn, behind what may change them.
        first = takewhile(lambda work: isinstance(work, Save), works)
        now = Transaction(connection, look(connection, lanes_of(first)), began_ms, self.switch)
        answers = now.do(works)
        self.switch = now.switch_read or self.switch
        return answers

    async def _commit_alone(self, work: Work, waiter: asyncio.Future[Any]) -> None:
        try:
            (answer,) = await self.commit([work])
        except Exception as error:  # noqa: BLE001 - a work that is wrong must not end the writer for all others
            if not waiter.done():
                waiter.set_exception(error)
        else:
            give(waiter, answer)

    def _note_failure(self, error: Exception) -> None:
        self.why_not_writable = f"the ledger can't be written ({cause_of(error)})"
        log.error("ledger.not_writable", why=self.why_not_writable)


def give(waiter: asyncio.Future[Any], answer: object) -> None:
    """Give an answer to whoever waits for it still; a lost race is raised there."""
    if waiter.done():
        return
    if isinstance(answer, Conflict):
        waiter.set_exception(answer)
    else:
        waiter.set_result(answer)


class FairQueue(Generic[T]):
    """First in, first out within each lane; the lanes take turns."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[tuple[T, int]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, lane: str, item: T, share: int = 1) -> None:
        """Put the item behind the others of its lane; `share` is how much of LANE_SHARE it takes up."""
        self._lanes.setdefault(lane, deque()).append((item, share))
        self._count += 1

    def take(self, count_max: int) -> list[T]:
        """At most LANE_SHARE of each lane: first of those that the last time took nothing of."""
        taken: list[T] = []
        for lane in list(self._lanes):
            if len(taken) >= count_max:
                break
            line, left = self._lanes.pop(lane), LANE_SHARE
            while line and left > 0 and len(taken) < count_max:
                item, share = line.popleft()
                left -= share
                taken.append(item)
            if line:
                self._lanes[lane] = line
        self._count -= len(taken)
        return taken
