"""A ledger's file: SQLite, in a thread of its own.

One hop a transaction: a driver that hops for every statement costs more than the statements.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event

from signalq.errors import SettingsError
from signalq.settings.ledger_url import SqliteFile
from signalq.settings.private_files import make_private_file, make_private_folder, tighten_file

SQLITE_BUSY_TIMEOUT_MS = 2_000
# The write-ahead log is as large as this at work, and is cut back to it once a reader that held it up is gone.
WAL_BYTES_KEPT = 8 * 1024 * 1024
# A transaction takes the write lock first: a read that turns into a write could otherwise fail half way. One that only
# reads takes none: in WAL mode it sees one moment of the file, and no order waits for a long listing. A listener on the
# engine could say so as well, but with any, SQLAlchemy looks for listeners at every statement.
TO_WRITE = "BEGIN IMMEDIATE"
TO_READ = "BEGIN"

T = TypeVar("T")


class SqliteDatabase:
    """A file, in WAL mode with synchronous FULL: a commit that returned is on disk."""

    def __init__(self, where: SqliteFile, *, shown: str, create: bool) -> None:
        self._file = where.file
        if create:
            _make_private(where.file)
        elif not where.file.is_file():
            raise SettingsError(f"there is no ledger at {where.file}: start `signalq consume` with it once")
        self.shown = shown
        self._engine: Engine = create_engine(where.url, pool_size=1, max_overflow=0, hide_parameters=True)
        event.listen(self._engine, "connect", _set_up_sqlite)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _transact, self._engine, TO_WRITE, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _transact, self._engine, TO_READ, work)

    async def tidy(self) -> None:
        """See Database. Who reads an old state keeps the log from being emptied: then it stays, and nobody waits."""
        if self.wal_bytes > WAL_BYTES_KEPT:
            await asyncio.get_running_loop().run_in_executor(self._thread, _empty_wal, self._engine)

    @property
    def wal_bytes(self) -> int:
        """See Database."""
        try:
            return self._file.with_name(f"{self._file.name}-wal").stat().st_size
        except OSError:
            return 0

    async def close(self) -> None:
        """See Database."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._engine.dispose)
        self._thread.shutdown(wait=False)


def _transact(engine: Engine, begin: str, work: Callable[[Connection], T]) -> T:
    with engine.begin() as connection:
        connection.exec_driver_sql(begin)
        return work(connection)


def _make_private(file: Path) -> None:
    """Make the ledger's file and its folder, our user's alone; SQLite makes what lies beside the file alike. Files that
    an earlier version made are tightened.
    """
    try:
        make_private_folder(file.parent)
    except OSError as error:
        raise SettingsError(f"the ledger's folder {file.parent} can't be made: {error.strerror}") from None
    make_private_file(file)
    for suffix in ("-wal", "-shm"):
        tighten_file(file.with_name(file.name + suffix))


def _empty_wal(engine: Engine) -> None:
    """Move what the write-ahead log holds into the file, and cut it (https://sqlite.org/pragma.html#pragma_wal_checkpoint);
    give up at once where a reader is in the way.
    """
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 0")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
        cursor.close()
    finally:
        connection.close()


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """WAL with FULL (https://sqlite.org/pragma.html#pragma_synchronous); transactions begin where we say."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.close()
