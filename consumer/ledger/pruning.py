"""Pruning: old intents and signs of life are forgotten, in small steps, so that no order waits for it."""

import asyncio
import sqlite3
from contextlib import suppress

from sqlalchemy import delete
from sqlalchemy.exc import DBAPIError

from signalq.consumer.ledger.database import Database
from signalq.consumer.ledger.queries import intents, letters, rates
from signalq.consumer.ledger.tables import clock_steps, paces, replicas
from signalq.consumer.ledger.transaction import Transaction
from signalq.consumer.ledger.writer import Writer

PRUNE_PERIOD_S = 60.0
PRUNE_ROWS_MAX = 100
# A consumer that gave no sign of life for so long is forgotten: it ended without saying so.
FORGET_REPLICA_MS = 3_600_000


class Pruning:
    """Forgets what ended before the retention; `machine` is the one whose clock is never forgotten."""

    def __init__(self, writer: Writer, database: Database, *, retention_days: float, machine: str) -> None:
        self._writer = writer
        self._database = database
        self._retention_ms = round(retention_days * 86_400_000)
        self._machine = machine

    async def run(self) -> None:
        """Prune every PRUNE_PERIOD_S, until canceled."""
        while True:
            pruned = await self._writer.ask(self.prune_some)
            if pruned < PRUNE_ROWS_MAX:
                with suppress(DBAPIError, sqlite3.Error, OSError):
                    await self._database.tidy()
                await asyncio.sleep(PRUNE_PERIOD_S)

    def prune_some(self, now: Transaction) -> int:
        """Take one step; return how many intents were forgotten, or letters, if they were more."""
        before_ms = now.now_ms - self._retention_ms
        others_clocks = clock_steps.c.since_ms < before_ms, clock_steps.c.machine != self._machine
        now.connection.execute(delete(replicas).where(replicas.c.alive_ms < now.now_ms - FORGET_REPLICA_MS))
        rates.forget(now.connection, now.now_ms)
        now.connection.execute(delete(paces).where(paces.c.noted_ms < before_ms))
        now.connection.execute(delete(clock_steps).where(*others_clocks))
        forgotten = letters.prune(now.connection, before_ms, PRUNE_ROWS_MAX)
        return max(forgotten, intents.prune(now.connection, before_ms, PRUNE_ROWS_MAX))
