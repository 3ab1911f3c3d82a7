"""The real ledger on a database in memory, for tests of what asks it."""

from __future__ import annotations

import asyncio
import sqlite3
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, create_engine
from sqlalchemy.pool import StaticPool

from signalq.consumer.ledger.database import machine_ms
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries.intents import row_of
from signalq.consumer.ledger.queries.look import look
from signalq.consumer.ledger.tables import metadata
from signalq.consumer.ledger.transaction import Transaction, Work
from signalq.consumer.ledger.writer import Writer, give
from signalq.consumer.orders.order import Order

T = TypeVar("T")


@cache
def _empty() -> sqlite3.Connection:
    """Its tables are made once: copying them costs a tenth of making them."""
    connection = sqlite3.connect(":memory:")
    metadata.create_all(create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool))
    return connection


class MemoryDatabase:
    """A database that lives as long as this object."""

    shown = "memory"
    wal_bytes = 0

    def __init__(self) -> None:
        connection = sqlite3.connect(":memory:")
        _empty().backup(connection)
        self._engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        weakref.finalize(self, connection.close)

    def do(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            return work(connection)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        return self.do(work)

    read = transact

    async def tidy(self) -> None:
        return

    async def close(self) -> None:
        return


class ImmediateWriter(Writer):
    """Commits at once, each work alone; it has no task, and nothing has to be ended."""

    def __init__(self, database: MemoryDatabase, now_ms: Callable[[], int]) -> None:
        super().__init__(database, lambda _seconds: None)
        self._memory = database
        self._now_ms = now_ms

    def enqueue(self, work: Work, lane: str = "", *, in_hurry: bool = True) -> asyncio.Future[Any]:
        del lane, in_hurry
        answer = asyncio.get_running_loop().create_future()
        give(answer, self._memory.do(lambda connection: self.do(connection, [work]))[0])
        return answer

    def do(self, connection: Connection, works: list[Work]) -> list[Any]:
        looked = replace(look(connection), now_ms=self._now_ms())
        return Transaction(connection, looked, self._now_ms(), self.switch).do(works)


class MemoryLedger(Ledger):
    """The real ledger; it needs not be entered, and gives no sign of life. `now_ms` is its clock."""

    def __init__(self, now_ms: Callable[[], int] = machine_ms) -> None:
        self._memory = MemoryDatabase()
        super().__init__(self._memory, retention_days=7, observe_commit_s=lambda _seconds: None)
        self._writer = ImmediateWriter(self._memory, now_ms)

    def row_of(self, order: Order) -> Row[Any] | None:
        """What a stranger reads of an intent."""
        return self._memory.do(lambda connection: row_of(connection, order.strategy, order.intent_id))
