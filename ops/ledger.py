"""The ledger as the commands use it: it is there already, and its errors are one sentence."""

import os
import pwd
import socket
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from aio_pika.abc import AbstractConnection
from sqlalchemy import Connection

from signalq.amqp.connection import connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.ledger_mark import held_mark
from signalq.consumer.ledger.actor import CLI, Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms, database_at
from signalq.consumer.ledger.migrate import Upgrade, upgrade
from signalq.consumer.ledger.queries import orders
from signalq.errors import SettingsError
from signalq.names import Names
from signalq.ops.terminal.errors import CommandFailed
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings

# For one statement: building an index of a large ledger takes longer than any statement of a consumer.
UPGRADE_STATEMENT_TIMEOUT_S = 900.0

# A shorter beginning of an id stands for itself: a mistyped letter must not choose an order.
BEGINNING_CHARACTERS_MIN = 4
IDS_NAMED_MAX = 3

T = TypeVar("T")


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[LedgerClient]:
    """Open the ledger of these settings. Raises CommandFailed, naming the place, if there is none."""
    try:
        visit = await LedgerClient(settings.ledger.url.get_secret_value()).__aenter__()
    except SettingsError as error:
        raise CommandFailed(str(error)) from error
    async with visit:
        yield visit


async def read_ledger(settings: Settings, look: Callable[[Connection], T]) -> T:
    """Open the ledger of these settings, and look at it. Raises CommandFailed, LedgerUnavailable."""
    async with open_ledger(settings) as ledger:
        return await ledger.read(look)


async def check_mark(settings: Settings, ledger: LedgerClient) -> None:
    """Check that the lanes on the broker belong to this ledger: another ledger knows nothing of their dead letters.

    Raises CommandFailed, BrokerUnreachable.
    """
    handle_foreign_properties()
    url = settings.broker.url.get_secret_value()
    async with await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection:
        await check_mark_on(connection, Names(settings.broker.prefix), ledger)


async def check_mark_on(connection: AbstractConnection, names: Names, ledger: LedgerClient) -> None:
    """Check the same on a connection that is there. Raises CommandFailed."""
    held = await held_mark(connection, names)
    if held is not None and held.ledger_id != ledger.mark.ledger_id:
        raise CommandFailed(
            f"the lanes on this broker belong to the ledger {held.ledger} ({held.ledger_id}), and ledger.url is "
            f"{ledger.shown} ({ledger.mark.ledger_id}): use the former"
        )


async def upgrade_ledger(settings: Settings) -> tuple[str, Upgrade | None]:
    """Upgrade the ledger of these settings; return where it is, and what was done (None if there is no ledger yet).

    Raises CommandFailed if it can't be opened or is of a newer signalq; then nothing has changed.
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


async def whole_ids(ledger: LedgerClient, given: Sequence[str]) -> tuple[str, ...]:
    """The ids that are meant, by the ledger; an id that it does not know stays as it is.

    Raises CommandFailed for a beginning that several ids have.
    """
    found = [
        await ledger.read(partial(orders.ids_that_begin, beginning=one, ids_max=IDS_NAMED_MAX + 1)) for one in given
    ]
    return tuple(only_one(one, ids) for one, ids in zip(given, found, strict=True))


def only_one(given: str, ids: Collection[str]) -> str:
    """The one of these ids that is meant: the same, or the only one that begins so; `given` where there is none.

    Raises CommandFailed where several begin so.
    """
    begin = sorted(one for one in set(ids) if one.startswith(given))
    if given in begin or len(given) < BEGINNING_CHARACTERS_MIN or not begin:
        return given
    if len(begin) > 1:
        named = ", ".join(begin[:IDS_NAMED_MAX]) + (" and more" if len(begin) > IDS_NAMED_MAX else "")
        raise CommandFailed(f"{given} is the beginning of several ids ({named}): give more of the one that you mean")
    return begin[0]


def since_ms(connection: Connection, since: datetime | timedelta) -> int:
    """A moment in ms since the epoch: a time, or how long ago by the ledger's clock."""
    if isinstance(since, datetime):
        return round(since.timestamp() * 1000)
    return clock_ms(connection) - round(since.total_seconds() * 1000)


def this_user() -> Actor:
    """The user that runs this process, on this machine, as the actor of a command."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    return Actor(name, CLI, socket.gethostname())
