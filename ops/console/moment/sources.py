"""The ledger and the broker, as the console has them: opened when first asked, and anew after an error."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from aio_pika.abc import AbstractConnection
from sqlalchemy import Connection

from signalq.amqp.connection import close_in_time, connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.errors import SettingsError, SignalQError
from signalq.kinds import Kind
from signalq.secrets.masking import masked
from signalq.settings.sections import Settings
from signalq.version import how_to_install

# A person waits for the answer, so it is an error after less time than for a command.
TRY_FOR_S = 2.0
CONNECT_TIMEOUT_S = 3.0
# A ledger that does not answer is left after so long: a disk or a server that hangs must not hang a page.
OPEN_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 1.0

T = TypeVar("T")


@dataclass(slots=True)
class _Opened:
    """An open ledger, and how many use it now. One that has failed is closed when the last of them is done: others may
    wait for its thread.
    """

    client: LedgerClient
    users: int = 0
    has_failed: bool = False


class LedgerSource:
    """The ledger of the settings. Each has a connection of its own, on which one transaction runs at a time.

    Every method raises SignalQError where there is no ledger, or it can't be used: one of another schema or another
    place is found again once it is there.
    """

    def __init__(self, settings: Callable[[], Settings], *, asking: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._asking = asking
        self._opened: _Opened | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[LedgerClient]:
        """The open ledger, for several steps; after an error of it, the next one who asks opens it anew."""
        self._asking()
        opened = await self._open()
        opened.users += 1
        try:
            yield opened.client
        except SignalQError as error:
            if _is_of_ledger(error):
                self._forget(opened)
            raise
        finally:
            opened.users -= 1
            await _close_if_left(opened)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which changes nothing, within READ_TIMEOUT_S."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S), self.used() as client:
                return await client.read(work)
        except TimeoutError:
            raise self._no_answer(READ_TIMEOUT_S) from None

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction."""
        async with self.used() as client:
            return await client.transact(work)

    async def close(self) -> None:
        """Close it, as soon as nobody uses it; the next one who asks opens it again."""
        if (opened := self._opened) is not None:
            self._forget(opened)
            await _close_if_left(opened)

    async def _open(self) -> _Opened:
        async with self._opening:
            if self._opened is None:
                self._opened = _Opened(await self._client())
            return self._opened

    async def _client(self) -> LedgerClient:
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                return await LedgerClient(self._url, try_for_s=TRY_FOR_S).__aenter__()
        except TimeoutError:
            raise self._no_answer(OPEN_TIMEOUT_S) from None
        except ModuleNotFoundError as error:
            why = f"the package {error.name} is not installed: {how_to_install('postgres')}"
            raise SettingsError(why, kind=Kind.PACKAGE_MISSING) from error

    @property
    def _url(self) -> str:
        return self._settings().ledger.url.get_secret_value()

    def _no_answer(self, after_s: float) -> LedgerUnavailable:
        why = f"the ledger at {masked(self._url)} gave no answer within {after_s:g} s: try again when it does"
        return LedgerUnavailable(why, kind=Kind.NO_ANSWER)

    def _forget(self, opened: _Opened) -> None:
        opened.has_failed = True
        if self._opened is opened:
            self._opened = None


def _is_of_ledger(error: SignalQError) -> bool:
    """Whether the ledger itself has failed, and nothing that was asked of it was refused."""
    return isinstance(error, (LedgerUnavailable, SettingsError)) or isinstance(error.__cause__, LedgerUnavailable)


async def _close_if_left(opened: _Opened) -> None:
    if opened.has_failed and not opened.users:
        with suppress(Exception):  # nobody will use it again
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await opened.client.__aexit__(None, None, None)


class BrokerSource:
    """A connection to the broker of the settings."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        *,
        name: str = "signalq console",
        asking: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._name = name
        self._asking = asking
        self._connection: AbstractConnection | None = None

    @property
    def url(self) -> str:
        """The broker's URL: the console's own user, where one is set."""
        settings = self._settings()
        return (settings.console.broker_url or settings.broker.url).get_secret_value()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[AbstractConnection]:
        """The open connection. One that is left in the middle of a question, or by an error, is not used again.

        Raises BrokerUnreachable.
        """
        self._asking()
        connection, self._connection = self._connection, None
        if connection is None or not connection.connected.is_set():
            handle_foreign_properties()
            heartbeat_s = self._settings().broker.heartbeat_s
            connection = await connect(self.url, name=self._name, heartbeat_s=heartbeat_s, timeout_s=CONNECT_TIMEOUT_S)
        try:
            yield connection
        except BaseException:
            await close_in_time(connection)
            raise
        self._connection, before = connection, self._connection
        if before is not None and before is not connection:  # somebody else was here meanwhile
            await close_in_time(before)

    async def close(self) -> None:
        """Close it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_in_time(connection)
