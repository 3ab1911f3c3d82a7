"""The ledger as the commands use it: one that is there already, and errors in one sentence."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.migrate import Upgrade, upgrade
from signalq.errors import SettingsError
from signalq.ops.terminal.errors import CommandFailed
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings

# For one statement: an index of a large ledger takes longer than anything that a consumer does.
UPGRADE_STATEMENT_TIMEOUT_S = 900.0


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[LedgerClient]:
    """The ledger of these settings. Raises CommandFailed, with the place that was looked at, where there is none."""
    try:
        visit = await LedgerClient(settings.ledger.url.get_secret_value()).__aenter__()
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    async with visit:
        yield visit


async def upgrade_ledger(settings: Settings) -> tuple[str, Upgrade | None]:
    """Upgrade the ledger of these settings; return where it is, and what was done: None where there is none yet.

    Raises CommandFailed where it can't be opened, or is of a newer signalq; then nothing has changed.
    """
    url = settings.ledger.url.get_secret_value()
    shown = masked(url)
    try:
        database = database_at(url, create=False, command_timeout_s=UPGRADE_STATEMENT_TIMEOUT_S)
    except SettingsError:  # there is no such file
        return shown, None
    try:
        return shown, await upgrade(database)
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    finally:
        await database.close()


def as_stored(argument: str) -> str:
    """An argument of the command line as the ledger holds such text: bytes that are no UTF-8 as their escapes."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def who() -> str:
    """The name of the user who runs this, for the audit."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
