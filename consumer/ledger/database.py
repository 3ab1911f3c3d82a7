"""The ledger's database, SQLite or PostgreSQL: one connection, and whole transactions on it, by the same code."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import ColumnElement, Connection, NullPool, Table, create_engine, event, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from signalq.causes import kind_of
from signalq.consumer.ledger.driver import forget_number, number_of, run
from signalq.consumer.ledger.thread import OwnThread
from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.secrets.masking import masked
from signalq.settings.ledger_url import PostgresServer, SqliteFile, read_ledger_url
from signalq.settings.private_files import make_private_file, make_private_folder, tighten_file

SQLITE_BUSY_TIMEOUT_MS = 2_000
# The write-ahead log is as large as this at work, and is cut back to it once a reader that held it up is gone.
WAL_BYTES_KEPT = 8 * 1024 * 1024
# A transaction takes the write lock first: a read that turns into a write could otherwise fail half way. One that only
# reads takes none: in WAL mode it sees one moment of the file, and no order waits for a long listing. A listener on the
# engine could say so as well, but with any, SQLAlchemy looks for listeners at every statement.
TO_WRITE = "BEGIN IMMEDIATE"
TO_READ = "BEGIN"

CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 10.0
# A consumer that is frozen or cut off in mid-transaction holds the row of its lane: after this long the server ends its
# session, or no other could ever become the active one. Shorter than COMMAND_TIMEOUT_S, which the other one waits.
STALLED_TRANSACTION_MS = 5_000
# The driver waits for 2 s otherwise, and a consumer that stops has 2 s for all that it closes.
GOODBYE_S = 0.5

T = TypeVar("T")

SERVER_CLOCK: ColumnElement[int] = literal_column("floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint")
# https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
_TRANSACTION_STATUS = text("SELECT txid_status(:number)")
_INSERT: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def database_at(url: str, *, create: bool, command_timeout_s: float = COMMAND_TIMEOUT_S) -> Database:
    """The database of a ledger.url. Raises SettingsError where a file is missing and `create` is not given.

    `command_timeout_s` is for one statement on a server.
    """
    try:
        read = read_ledger_url(url)
    except ValueError as error:
        raise SettingsError(f"ledger.url {error}") from None
    if isinstance(read, SqliteFile):
        return SqliteDatabase(read, shown=masked(url), create=create)
    return PostgresDatabase(read, shown=masked(url), command_timeout_s=command_timeout_s)


class Database(Protocol):
    """A ledger's place; `shown` is its URL without the password. To run `work` raises SQLAlchemyError or OSError."""

    shown: str

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it.

        After an error nothing happened, or that can't be known yet: call it again with the same `work`, and it finds
        out before it runs that again.
        """

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which changes nothing, in one transaction that no writer waits for."""

    async def tidy(self) -> None:
        """Give back the room on disk that nothing is kept in any more, where that is ours to do."""
        return

    @property
    def wal_bytes(self) -> int:
        """The size of the write-ahead log, where it is a file of ours; else 0."""
        return 0

    async def close(self) -> None:
        """Close the connection."""


class SqliteDatabase(Database):
    """A file, in WAL mode with synchronous FULL: a commit that returned is on disk.

    One hop to its thread a transaction: a driver that hops for every statement costs more than the statements.
    """

    def __init__(self, where: SqliteFile, *, shown: str, create: bool) -> None:
        self._file = where.file
        if create:
            _make_private(where.file)
        elif not where.file.is_file():
            why = f"there is no ledger at {where.file}: start `signalq consume` with it once"
            raise SettingsError(why, kind=Kind.NO_LEDGER)
        self.shown = shown
        self._engine = create_engine(where.url, poolclass=NullPool, hide_parameters=True)
        event.listen(self._engine, "connect", _set_up_sqlite)
        self._connection: Connection | None = None
        self._thread = OwnThread("ledger")

    async def transact(self, work: Callable[[Connection], T]) -> T:
        return await self._thread.call(self._in_transaction, TO_WRITE, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        return await self._thread.call(self._in_transaction, TO_READ, work)

    async def tidy(self) -> None:
        """Empty the log, but for a reader of an old state: then it stays, and nobody waits."""
        if self.wal_bytes > WAL_BYTES_KEPT:
            await self._thread.call(lambda: _empty_wal(self._opened()))

    @property
    def wal_bytes(self) -> int:
        try:
            return self._file.with_name(f"{self._file.name}-wal").stat().st_size
        except OSError:
            return 0

    async def close(self) -> None:
        if self._connection is not None:
            await self._thread.call(self._connection.close)
        self._thread.end()

    def _in_transaction(self, begin: str, work: Callable[[Connection], T]) -> T:
        connection = self._opened()
        with connection.begin():
            run(connection, begin)
            return work(connection)

    def _opened(self) -> Connection:
        """The one connection, kept: a transaction on it costs half of what it does on one from a pool."""
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection


def _make_private(file: Path) -> None:
    """Make the ledger's file and folder our user's alone, also old ones; SQLite makes the files beside it alike."""
    try:
        make_private_folder(file.parent)
    except OSError as error:
        why = f"the ledger's folder {file.parent} can't be made: {error.strerror}"
        raise SettingsError(why, kind=kind_of(error)) from None
    make_private_file(file)
    for suffix in ("-wal", "-shm"):
        tighten_file(file.with_name(file.name + suffix))


def _empty_wal(connection: Connection) -> None:
    """Move the log into the file, and cut it; give up at once where a reader is in the way.

    https://sqlite.org/pragma.html#pragma_wal_checkpoint
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
        cursor.close()


def _set_up_sqlite(connection: Any, _record: object) -> None:
    """WAL with FULL (https://sqlite.org/pragma.html#pragma_synchronous); transactions begin where we say."""
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
    cursor.close()


@dataclass(frozen=True, slots=True)
class _Unsure:
    """A transaction that was to be committed when the connection was lost, and what `work` had answered in it."""

    work: Callable[[Connection], Any]
    number: int
    answer: Any


class PostgresDatabase(Database):
    """A PostgreSQL server, for consumers on several machines; on the event loop, by asyncpg."""

    def __init__(self, server: PostgresServer, *, shown: str, command_timeout_s: float = COMMAND_TIMEOUT_S) -> None:
        self.shown = shown
        arguments = {"timeout": CONNECT_TIMEOUT_S, "command_timeout": command_timeout_s, **server.connect_arguments()}
        # The driver's name alone: what logs in is in the arguments, which no repr and no error shows.
        self._engine = create_async_engine(
            "postgresql+asyncpg://", poolclass=NullPool, connect_args=arguments, hide_parameters=True
        )
        event.listen(self._engine.sync_engine, "connect", _set_up_postgresql)
        self._connection: AsyncConnection | None = None
        self._turn = asyncio.Lock()
        self._unsure: _Unsure | None = None

    async def transact(self, work: Callable[[Connection], T]) -> T:
        async with self._turn:
            before = self._unsure
            if before is not None and before.work is work and await self._was_committed(before.number):
                self._unsure = None
                return before.answer  # type: ignore[no-any-return]
            self._unsure = None
            answer: T = await self._run(self._commit, work)
            self._unsure = None
            return answer

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._turn:
            return await self._run(_in_transaction, work)

    async def close(self) -> None:
        """Say goodbye to the server; one that does not answer is left after GOODBYE_S."""
        if self._connection is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(GOODBYE_S):
                    await self._connection.close()

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        """Run it on the one connection, which SQLAlchemy opens anew where it was lost."""
        if self._connection is None:
            self._connection = await self._engine.connect()
        return await self._connection.run_sync(function, *arguments)

    def _commit(self, connection: Connection, work: Callable[[Connection], T]) -> T:
        with connection.begin():
            forget_number(connection)
            answer = work(connection)
            # A transaction that only read may have none, and may simply run again.
            number = number_of(connection)
            self._unsure = _Unsure(work, number, answer) if number is not None else None
        return answer

    async def _was_committed(self, number: int) -> bool:
        """Whether a transaction whose end we didn't hear of was committed. Raises as long as it runs yet."""
        status = await self._run(_in_transaction, lambda now: now.scalar(_TRANSACTION_STATUS, {"number": number}))
        if status == "in progress":
            raise OSError("the server has not ended the last transaction yet")
        return bool(status == "committed")


def _in_transaction(connection: Connection, work: Callable[[Connection], T]) -> T:
    with connection.begin():
        return work(connection)


def _set_up_postgresql(connection: Any, _record: object) -> None:
    """Set on a connection that is there: as a startup parameter, PgBouncer would refuse it."""
    cursor = connection.cursor()
    cursor.execute(f"SET idle_in_transaction_session_timeout = {STALLED_TRANSACTION_MS}")
    cursor.close()
    connection.commit()


def insert_new(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert the row; False where its identity is there already: a lost race, no error that undoes the transaction."""
    return connection.execute(_insert_new(connection.dialect.name, table), row).rowcount == 1


@cache
def _insert_new(dialect: str, table: Table) -> Any:
    return _INSERT[dialect](table).on_conflict_do_nothing()


def upsert(connection: Connection, table: Table, keys: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Insert a row of both; where there is one of the same primary key, the first of `keys`, set only `values`."""
    statement = _upsert(connection.dialect.name, table, next(iter(keys)), tuple(values))
    connection.execute(statement, {**keys, **values})


@cache
def _upsert(dialect: str, table: Table, key: str, columns: tuple[str, ...]) -> Any:
    insert = _INSERT[dialect](table)
    new = {column: insert.excluded[column] for column in columns}
    return insert.on_conflict_do_update(index_elements=[key], set_=new)


def clock_ms(connection: Connection) -> int:
    """The ledger's clock: the database server's, which all its consumers share; a file's is this machine's."""
    if connection.dialect.name == "postgresql":
        return connection.execute(select(SERVER_CLOCK)).scalar_one()
    return machine_ms()


def machine_ms() -> int:
    """This machine's clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000
