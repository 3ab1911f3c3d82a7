"""One connection to SQLite or PostgreSQL, and whole transactions on it: the same synchronous code on both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, Table, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DataError, IntegrityError

from signalq.consumer.ledger.postgresql import COMMAND_TIMEOUT_S, PostgresDatabase
from signalq.consumer.ledger.sqlite import SqliteDatabase
from signalq.errors import SettingsError
from signalq.secrets.masking import masked
from signalq.settings.ledger_url import SqliteFile, read_ledger_url

T = TypeVar("T")


class Database(Protocol):
    """Where the ledger is; `shown` is its URL without the password."""

    shown: str

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it.

        Raises SQLAlchemyError or OSError; then nothing happened, or that can't be known yet: call it again with the
        same `work`, and it finds out before it runs that again.
        """
        ...

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which changes nothing, in one transaction that no writer waits for.

        Raises SQLAlchemyError or OSError.
        """
        ...

    async def tidy(self) -> None:
        """Give back the room on disk that nothing is kept in any more, where that is ours to do."""
        ...

    @property
    def wal_bytes(self) -> int:
        """How large the write-ahead log is, where it is a file of ours; else 0."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


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


def upsert(connection: Connection, table: Table, keys: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Insert a row of both; where there is one of the same primary key, the first of `keys`, set only `values`."""
    statement = _upsert_of(connection.dialect.name, table, next(iter(keys)), tuple(values))
    connection.execute(statement, {**keys, **values})


@cache
def _upsert_of(dialect: str, table: Table, key: str, columns: tuple[str, ...]) -> Any:
    insert: Any = _INSERT[dialect](table)
    new = {column: insert.excluded[column] for column in columns}
    return insert.on_conflict_do_update(index_elements=[key], set_=new)


_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def clock_ms(connection: Connection) -> int:
    """The ledger's clock: the database server's, which all its consumers share; a file's is this machine's."""
    if connection.dialect.name == "postgresql":
        return int(connection.execute(_SERVER_CLOCK).scalar_one())
    return machine_ms()


def machine_ms() -> int:
    """This machine's clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000


_SERVER_CLOCK = text("SELECT extract(epoch FROM clock_timestamp()) * 1000")

# SQLSTATE classes: data exception (a value out of range, a text too long), integrity constraint violation.
_HOPELESS_STATES = ("22", "23")
# Connection exception, operator intervention.
_LOST_STATES = ("08", "57")


def is_hopeless(error: Exception) -> bool:
    """Whether it lies in what was asked, not in the database: trying again can't help."""
    if isinstance(error, (DataError, IntegrityError)):
        return True
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None) or ""
    # asyncpg refuses a value that fits no column with a ValueError, before anything is sent.
    return state.startswith(_HOPELESS_STATES) or isinstance(getattr(original, "__cause__", None), ValueError)


def is_lost(error: Exception) -> bool:
    """Whether a connection to PostgreSQL that was there has gone: ended by the server, by an operator, or cut."""
    original = getattr(error, "orig", None)
    if original is None or not hasattr(original, "sqlstate"):  # not PostgreSQL, or there was no connection
        return False
    return original.sqlstate is None or original.sqlstate.startswith(_LOST_STATES)
