"""The PostgreSQL of the test run, and a database for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg  # type: ignore[import-untyped]

from deploy.local import PostgresUnavailable, PrivatePostgres
from tests.support.skipping import skip_outside_ci

CONNECT_TIMEOUT_S = 10.0


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
    """The URL of a database that is dropped afterwards, whoever is still connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    await execute(postgres.url, f"CREATE DATABASE {name}")
    yield postgres.database_url(name)
    await execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


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
