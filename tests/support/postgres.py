"""The PostgreSQL of the test run, and a database for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from weakref import WeakKeyDictionary

import asyncpg  # type: ignore[import-untyped]

from signalq.local import PostgresUnavailable, PrivatePostgres
from tests.support.skipping import skip_outside_ci

CONNECT_TIMEOUT_S = 10.0
END_OTHER_SESSIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

_free: WeakKeyDictionary[PrivatePostgres, list[str]] = WeakKeyDictionary()


@contextmanager
def private_postgres() -> Iterator[PrivatePostgres]:
    """A private server, started (1 s). Where there is none, tests are skipped; in CI they fail."""
    try:
        postgres = PrivatePostgres()
    except PostgresUnavailable as error:
        skip_outside_ci(str(error))
    with postgres:
        yield postgres


@asynccontextmanager
async def fresh_database(postgres: PrivatePostgres) -> AsyncIterator[str]:
    """The URL of an empty database, for one test alone; whoever is still connected afterwards is cut off.

    It is emptied and lent again: making and dropping one has the server write everything down (0.2 s).
    """
    free = _free.setdefault(postgres, [])
    name = free.pop() if free else await _new_database(postgres)
    url = postgres.database_url(name)
    yield url
    await execute(postgres.url, f"ALTER DATABASE {name} RESET ALL")
    await execute(url, END_OTHER_SESSIONS)
    await execute(url, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    free.append(name)


async def _new_database(postgres: PrivatePostgres) -> str:
    name = f"test_{uuid.uuid4().hex[:12]}"
    await execute(postgres.url, f"CREATE DATABASE {name}")
    return name


async def execute(url: str, statement: str) -> None:
    """Run one statement on a connection of its own."""
    connection: asyncpg.Connection = await connected(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def connected(url: str) -> asyncpg.Connection:
    """A connection of one's own, beside the ledger's; close it."""
    return await asyncpg.connect(url.replace("+asyncpg", ""), timeout=CONNECT_TIMEOUT_S)
