"""A database for a ledger, SQLite or PostgreSQL, and what a stranger finds in it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.ledger import Ledger
from tests.support.ledger_template import lay_out
from tests.support.orders import new_id
from tests.support.postgres import connected, fresh_database


def ledger_at(
    url: str, retention_days: float = 7, observe_commit_s: Callable[[float], None] = lambda _seconds: None
) -> Ledger:
    """A consumer's ledger, to be entered; its database is created."""
    lay_out(url)
    database = database_at(url, create=True)
    return Ledger(database, retention_days=retention_days, observe_commit_s=observe_commit_s)


@dataclass
class Store:
    """One database, which any number of ledgers, each with an owner of its own, may open."""

    url: str
    stack: AsyncExitStack
    _opened: list[Ledger] = field(default_factory=list)

    async def ledger(self, retention_days: float = 7.0, commits: list[float] | None = None) -> Ledger:
        """A consumer's ledger, closed after the test; `commits` gets the time of each commit."""
        observed: list[float] = [] if commits is None else commits
        ledger = await ledger_at(self.url, retention_days, observed.append).__aenter__()
        self.stack.push_async_callback(self.close, ledger)
        self._opened.append(ledger)
        return ledger

    async def close(self, ledger: Ledger) -> None:
        """The consumer ends; nothing of it lives on but what it saved."""
        if ledger in self._opened:
            self._opened.remove(ledger)
            await ledger.__aexit__(None, None, None)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What a stranger reads from it, on a connection of its own."""
        if make_url(self.url).database and self.url.startswith("sqlite"):
            return await asyncio.to_thread(_ask_file, file_of(self.url), query)
        connection = await connected(self.url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    async def run(self, statement: str) -> None:
        """Change it, as a stranger."""
        await self.rows(statement)


def file_of(url: str) -> Path:
    return Path(make_url(url).database or "")


def _ask_file(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(query).fetchall()


async def fresh_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack) -> str:
    """A database that nobody has used; the stack drops it after the ledgers that are opened on it later."""
    if kind == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/{new_id()}.db"
    return await stack.enter_async_context(fresh_database(request.getfixturevalue("postgres")))
