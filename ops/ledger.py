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
from signalq.amqp.ledger_mark import LedgerMark, held_mark
from signalq.consumer.ledger.actor import CLI, Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms, database_at
from signalq.consumer.ledger.migrate import Upgrade, upgrade
from signalq.consumer.ledger.queries import orders
from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.message.identity import is_random
from signalq.names import Names
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.layout import CUT
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings

# For one statement: building an index of a large ledger takes longer than any statement of a consumer.
UPGRADE_STATEMENT_TIMEOUT_S = 900.0

# Fewer characters of an id stand for themselves: a mistyped letter must not choose an order.
SHORT_CHARACTERS_MIN = 4
IDS_NAMED_MAX = 3

T = TypeVar("T")


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[LedgerClient]:
    """Open the ledger of these settings. Raises CommandFailed, naming the place, if there is none."""
    try:
        visit = await LedgerClient(settings.ledger.url.get_secret_value()).__aenter__()
    except SettingsError as error:
        raise CommandFailed(str(error), kind=error.kind) from error
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
    why = why_another_ledger(await held_mark(connection, names), ledger.mark)
    if why is not None:
        raise CommandFailed(why, kind=Kind.ANOTHER_LEDGER)


def why_another_ledger(held: LedgerMark | None, ours: LedgerMark) -> str | None:
    """A sentence where the lanes on the broker, by the mark that it holds, belong to another ledger than ours."""
    if held is None or held.ledger_id == ours.ledger_id:
        return None
    return (
        f"the lanes on this broker belong to the ledger {held.ledger} ({held.ledger_id}), and ledger.url is "
        f"{ours.ledger} ({ours.ledger_id}): use the former"
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
        raise CommandFailed(str(error), kind=error.kind) from error
    finally:
        await database.close()


async def whole_ids(ledger: LedgerClient, given: Sequence[str], *, acts: bool = False) -> tuple[str, ...]:
    """The ids that are meant, by the ledger; see only_one. An id that it does not know stays as it is."""
    return tuple([only_one(one, await ledger.read(partial(_ids_meant, given=one)), acts=acts) for one in given])


def _ids_meant(connection: Connection, given: str) -> list[str]:
    found = orders.ids_that_begin(connection, given, IDS_NAMED_MAX + 1)
    if found or CUT not in given:
        return found
    beginning, end = ends_of(given)
    return orders.ids_that_begin(connection, beginning, IDS_NAMED_MAX + 1, end=end)


def may_mean(given: str, intent_id: str) -> bool:
    """Whether an id is this one, or begins so; or begins and ends so, as a listing cuts an id in its middle."""
    beginning, end = ends_of(given)
    is_long = len(intent_id) >= len(beginning) + len(end)
    return intent_id == given or (is_long and intent_id.startswith(beginning) and intent_id.endswith(end))


def ends_of(given: str) -> tuple[str, str]:
    """The parts before and behind the cut of a short id."""
    return given.partition(CUT)[0], given.rpartition(CUT)[2] if CUT in given else ""


def only_one(given: str, ids: Collection[str], *, acts: bool = False) -> str:
    """The one of these ids that is meant: the same, or the only one that it is short for; `given` where there is none.

    Raises CommandFailed where it is short for several; and for a command that `acts` where it may be the whole id of
    another order, which is not there (any more): `order-1` is no `order-12`.
    """
    meant = sorted(one for one in set(ids) if may_mean(given, one))
    if given in meant or len(given.replace(CUT, "")) < SHORT_CHARACTERS_MIN or not meant:
        return given
    if len(meant) > 1:
        named = ", ".join(meant[:IDS_NAMED_MAX]) + (" and more" if len(meant) > IDS_NAMED_MAX else "")
        raise CommandFailed(
            f"{given} is short for several ids ({named}): give more of the one that you mean", kind=Kind.UNKNOWN_ID
        )
    (one,) = meant
    if acts and CUT not in given and not is_random(one):
        raise CommandFailed(
            f"there is no {given}, and {one} may be another order: give the whole id, or {given}{CUT}",
            kind=Kind.UNKNOWN_ID,
        )
    return one


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
