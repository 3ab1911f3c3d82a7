"""The ledger as the commands use it: one that is there already, and errors in one sentence."""

from __future__ import annotations

import getpass
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from consumer.ledger.database import Database, database_at
from consumer.settings import Settings
from ops.errors import CommandFailed
from signalq.errors import SettingsError

T = TypeVar("T")


class CommandLedger:
    """Whole transactions on the ledger; raises CommandFailed where it can't be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction and commit it."""
        return await self._run(self._database.transact, work)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which changes nothing; the consumers go on meanwhile."""
        return await self._run(self._database.read, work)

    async def _run(
        self, run: Callable[[Callable[[Connection], T]], Awaitable[T]], work: Callable[[Connection], T]
    ) -> T:
        try:
            return await run(work)
        except (SQLAlchemyError, OSError) as error:
            cause = getattr(error, "orig", None) or error
            shown = self._database.shown
            raise CommandFailed(
                f"the ledger at {shown} can't be used ({type(cause).__name__}: {cause}): see whether it is up, and "
                "start `signalq consume` of this version with it once"
            ) from error


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[CommandLedger]:
    """The ledger of these settings. Raises CommandFailed, with the place that was looked at, where there is none."""
    try:
        database = database_at(settings.ledger.url.get_secret_value(), create=False)
    except SettingsError as error:
        raise CommandFailed(str(error)) from None
    try:
        yield CommandLedger(database)
    finally:
        await database.close()


def as_stored(argument: str) -> str:
    """An argument of the command line as the ledger holds such text: bytes that are no UTF-8 as their escapes."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def who() -> str:
    """The name of the user who runs this, for the audit."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
