"""A ledger on a PostgreSQL server, on the event loop, by asyncpg."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from signalq.settings.ledger_url import PostgresServer

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
# A consumer that is frozen or cut off in mid-transaction holds the row of its lane: after this long the server ends its
# session, or no other could ever become the active one. Shorter than COMMAND_TIMEOUT_S, which the other one waits.
STALLED_TRANSACTION_MS = 5_000

T = TypeVar("T")

# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
_TRANSACTION_NUMBER = text("SELECT txid_current_if_assigned()")
_TRANSACTION_STATUS = text("SELECT txid_status(:number)")


@dataclass(frozen=True, slots=True)
class _Unsure:
    """A transaction that was to be committed when the connection was lost, and what `work` had answered in it."""

    work: Callable[[Connection], Any]
    number: int
    answer: Any


class PostgresDatabase:
    """A PostgreSQL server, for consumers on several machines."""

    def __init__(self, server: PostgresServer, *, shown: str, command_timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self.shown = shown
        arguments = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": command_timeout_s, **server.connect_arguments()}
        # The driver's name alone: what logs in is in the arguments, which no repr and no error shows.
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://", pool_size=1, max_overflow=0, connect_args=arguments, hide_parameters=True
        )
        event.listen(self._engine.sync_engine, "connect", _set_up_postgresql)
        self._unsure: _Unsure | None = None

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        before = self._unsure
        if before is not None and before.work is work and await self._was_committed(before.number):
            self._unsure = None
            return before.answer  # type: ignore[no-any-return]
        self._unsure = None
        async with self._engine.begin() as connection:
            answer = await connection.run_sync(work)
            # A transaction that only read has no number, and may simply run again.
            number = (await connection.execute(_TRANSACTION_NUMBER)).scalar()
            self._unsure = _Unsure(work, number, answer) if number is not None else None
        self._unsure = None
        return answer

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def tidy(self) -> None:
        """See Database; the server sees to it."""

    @property
    def wal_bytes(self) -> int:
        """See Database."""
        return 0

    async def _was_committed(self, number: int) -> bool:
        """Whether a transaction whose end we didn't hear of was committed. Raises as long as it runs yet."""
        async with self._engine.connect() as connection:
            status = (await connection.execute(_TRANSACTION_STATUS, {"number": number})).scalar()
        if status == "in progress":
            raise OSError("the server has not ended the last transaction yet")
        return bool(status == "committed")

    async def close(self) -> None:
        """See Database."""
        await self._engine.dispose()


def _set_up_postgresql(connection: Any, _record: object) -> None:
    """Set on a connection that is there: as a startup parameter, PgBouncer would refuse it."""
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = {STALLED_TRANSACTION_MS}")
    cursor.close()
    connection.commit()
