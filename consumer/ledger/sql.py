"""The durable ledger: one writer, group commit.

Whatever waits when a transaction can begin goes into that one: under load a commit is shared by many intents, an idle
ledger commits at once, and nothing ever waits for a timer. A transaction that fails (disk full, locked, read-only,
database gone) is tried again as a whole until it succeeds; whoever asked waits, so no POST begins meanwhile.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog
from sqlalchemy import Connection, event, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from consumer.delays import backoff_s
from consumer.history import History
from consumer.ledger import Conflict, Epoch, Fenced, Known, statements
from consumer.ledger.migrate import migrate
from consumer.ledger.schema import identity
from consumer.order import Order
from signalq.amqp.ledger_mark import LedgerMark
from signalq.errors import SettingsError

# A claim is somebody else's business for so long after the last sign of life of who made it.
LEASE_MS = 3_000
ALIVE_PERIOD_S = 1.0
PRUNE_PERIOD_S = 60.0
PRUNE_ROWS_MAX = 500
BATCH_MAX = 500
RETRY_BASE_S = 0.1
RETRY_MAX_S = 2.0
SQLITE_BUSY_TIMEOUT_MS = 2_000
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0

T = TypeVar("T")
Work = Callable[[Connection, int], Any]

log = structlog.get_logger()


class SqlLedger:
    """SQLite or PostgreSQL by one URL; use it as an async context manager."""

    def __init__(self, url: str, *, retention_days: float, observe_commit_s: Callable[[float], None]) -> None:
        self.name = make_url(url).render_as_string(hide_password=True)
        self.ledger_id = ""
        self.why_not_writable: str | None = None
        self._url = url
        self._retention_ms = round(retention_days * 86_400_000)
        self._observe_commit_s = observe_commit_s
        self._owner = uuid.uuid4().hex
        # Intents without a message_id, and which message in this consumer stands for each.
        self._holders: dict[str, str] = {}
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._something_waits = asyncio.Event()
        self._engine: AsyncEngine | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Open, or create, and upgrade the ledger. Raises SettingsError where that can't be done."""
        self._engine = _engine(self._url)
        self.ledger_id = await migrate(self._engine)
        self._tasks = [
            asyncio.create_task(self._write(), name="ledger writer"),
            asyncio.create_task(self._keep_alive(), name="ledger alive"),
            asyncio.create_task(self._prune(), name="ledger pruning"),
        ]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Close it; what waits for a commit is canceled."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, answer in self._waiting:
            answer.cancel()
        if self._engine is not None:
            await self._engine.dispose()

    async def open_lane(self, lane: str) -> Epoch:
        """See Ledger."""
        return await self._ask(lambda connection, now_ms: statements.raise_epoch(connection, now_ms, lane, self._owner))

    async def recall(self, order: Order, epoch: Epoch) -> Known:
        """See Ledger."""

        def work(connection: Connection, now_ms: int) -> Known:
            others = {intent_id for intent_id, holder in self._holders.items() if holder != order.receipt}
            found = statements.recall(connection, now_ms, order, epoch, self._owner, others)
            if order.message_id is None:
                self._holders[found.order.intent_id] = order.receipt
            return found

        return await self._ask(work)

    def release(self, order: Order) -> None:
        """See Ledger."""
        if self._holders.get(order.intent_id) == order.receipt:
            del self._holders[order.intent_id]

    async def save(self, order: Order, history: History, epoch: Epoch | None = None) -> Known:
        """See Ledger."""

        def work(connection: Connection, now_ms: int) -> str:
            if epoch is not None and statements.current_epoch(connection, epoch.lane) != epoch.number:
                return "fenced"
            done = statements.save(connection, now_ms, order, history, self._owner, LEASE_MS)
            return "saved" if done else "conflict"

        match await self._ask(work):
            case "fenced":
                raise Fenced
            case "conflict":
                raise Conflict
        return Known(order, replace(history, version=history.version + 1))

    async def _ask(self, work: Callable[[Connection, int], T]) -> T:
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, answer))
        self._something_waits.set()
        return await answer

    async def _write(self) -> None:
        """The one writer: take what waits, commit it as one, answer; forever."""
        while True:
            await self._something_waits.wait()
            batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
            if not self._waiting:
                self._something_waits.clear()
            answers = await self._commit([work for work, _ in batch])
            for (_, waiter), answer in zip(batch, answers, strict=True):
                if not waiter.done():
                    waiter.set_result(answer)

    async def _commit(self, works: list[Work]) -> list[Any]:
        """One transaction for all of them, tried until it succeeds."""
        failures = 0
        while True:
            began_s = time.monotonic()
            try:
                async with self._connected().begin() as connection:
                    answers = await connection.run_sync(_run_all, works)
            except (SQLAlchemyError, OSError) as error:
                failures += 1
                self._note_failure(error)
                await asyncio.sleep(backoff_s(failures, base_s=RETRY_BASE_S, max_s=RETRY_MAX_S, fraction=1.0))
                continue
            if self.why_not_writable is not None:
                log.info("ledger.recovered", failures=failures)
                self.why_not_writable = None
            self._observe_commit_s(time.monotonic() - began_s)
            return answers

    def _note_failure(self, error: Exception) -> None:
        cause = getattr(error, "orig", None) or error
        self.why_not_writable = f"the ledger can't be written ({type(cause).__name__}: {cause})"
        log.error("ledger.not_writable", why=self.why_not_writable)

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(ALIVE_PERIOD_S)
            await self._ask(lambda connection, now_ms: statements.keep_alive(connection, now_ms, self._owner, LEASE_MS))

    async def _prune(self) -> None:
        """In small steps, so that no order waits for it."""
        while True:
            pruned = await self._ask(
                lambda connection, now_ms: statements.prune(connection, now_ms, self._retention_ms, PRUNE_ROWS_MAX)
            )
            if pruned < PRUNE_ROWS_MAX:
                await asyncio.sleep(PRUNE_PERIOD_S)

    def _connected(self) -> AsyncEngine:
        if self._engine is None:
            raise RuntimeError("use SqlLedger in an async with block")
        return self._engine


def check_is_there(url: str) -> None:
    """Whoever only reads a ledger must not create one. Raises SettingsError that names the file which is missing."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise SettingsError(f"there is no ledger at {parsed.database}: start `signalq consume` with it once")


async def read_mark(url: str) -> LedgerMark:
    """The mark of a ledger that is there; creates nothing.

    Raises SettingsError that names the place where there is none.
    """
    check_is_there(url)
    shown = make_url(url).render_as_string(hide_password=True)
    engine = _engine(url)
    try:
        async with engine.connect() as connection:
            ledger_id = (await connection.execute(select(identity.c.ledger_id))).scalar()
    except (SQLAlchemyError, OSError) as error:
        raise SettingsError(f"there is no ledger at {shown} ({type(error).__name__})") from error
    finally:
        await engine.dispose()
    if ledger_id is None:
        raise SettingsError(f"the ledger at {shown} is empty: start `signalq consume` with it once")
    return LedgerMark(str(ledger_id), shown)


def _run_all(connection: Connection, works: list[Work]) -> list[Any]:
    now_ms = _now_ms(connection)
    return [work(connection, now_ms) for work in works]


def _now_ms(connection: Connection) -> int:
    """The ledger's clock: the database server's, which all its consumers share; a file's is this machine's."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(text("SELECT extract(epoch FROM clock_timestamp()) * 1000")).scalar_one())
    return time.time_ns() // 1_000_000


def _engine(url: str) -> AsyncEngine:
    timeouts = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": COMMAND_TIMEOUT_S}
    is_postgresql = make_url(url).get_backend_name() == "postgresql"
    engine = create_async_engine(url, pool_size=1, max_overflow=0, connect_args=timeouts if is_postgresql else {})
    if engine.dialect.name == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_immediately)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """WAL with FULL: a commit that returned is on disk (https://sqlite.org/pragma.html#pragma_synchronous)."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.close()


def _begin_immediately(connection: Connection) -> None:
    """Take the write lock first: a read that turns into a write could otherwise fail half way."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
