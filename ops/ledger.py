"""The ledger as the commands use it: one that is there already, and errors in one sentence."""

from __future__ import annotations

import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from consumer.ledger.visit import LedgerVisit
from consumer.settings import Settings
from ops.errors import CommandFailed
from signalq.errors import SettingsError


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[LedgerVisit]:
    """The ledger of these settings. Raises CommandFailed, with the place that was looked at, where there is none."""
    try:
        visit = await LedgerVisit(settings.ledger.url.get_secret_value()).__aenter__()
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    async with visit:
        yield visit


def as_stored(argument: str) -> str:
    """An argument of the command line as the ledger holds such text: bytes that are no UTF-8 as their escapes."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def who() -> str:
    """The name of the user who runs this, for the audit."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
