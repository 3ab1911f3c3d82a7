"""The ledger and the broker, as the console has them: opened when first asked, and anew after an error."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aio_pika.abc import AbstractConnection
from sqlalchemy import Connection

from signalq.amqp.connection import close_in_time, connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.consumer.ledger.client import LedgerClient
from signalq.errors import BrokerError, SettingsError, SignalQError
from signalq.kinds import Kind
from signalq.settings.sections import Settings
from signalq.version import how_to_install

# A person waits for the answer, so it is an error after less time than for a command.
TRY_FOR_S = 2.0
CONNECT_TIMEOUT_S = 3.0

T = TypeVar("T")


class LedgerSource:
    """The ledger of the settings. Each has a connection of its own, on which one transaction runs at a time.

    Every method raises SignalQError where there is no ledger, or it can't be used: one of another schema or another
    place is found again once it is there.
    """

    def __init__(self, settings: Callable[[], Settings], *, asking: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._asking = asking
        self._client: LedgerClient | None = None

    async def client(self) -> LedgerClient:
        """The open ledger."""
        if self._client is None:
            url = self._settings().ledger.url.get_secret_value()
            try:
                self._client = await LedgerClient(url, try_for_s=TRY_FOR_S).__aenter__()
            except ModuleNotFoundError as error:
                why = f"the package {error.name} is not installed: {how_to_install('postgres')}"
                raise SettingsError(why, kind=Kind.PACKAGE_MISSING) from error
        return self._client

    @asynccontextmanager
    async def used(self) -> AsyncIterator[LedgerClient]:
        """The open ledger, for several steps; after an error it is opened anew."""
        self._asking()
        client = await self.client()
        try:
            yield client
        except SignalQError:
            await self.close()
            raise

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work`, which changes nothing."""
        async with self.used() as client:
            return await client.read(work)

    async def transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one transaction."""
        async with self.used() as client:
            return await client.transact(work)

    async def close(self) -> None:
        """Close it; the next one who asks opens it again."""
        client, self._client = self._client, None
        if client is not None:
            await client.__aexit__(None, None, None)


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
        """The open connection; after an error it is opened anew. Raises BrokerUnreachable."""
        self._asking()
        connection, self._connection = self._connection, None
        if connection is None or not connection.connected.is_set():
            handle_foreign_properties()
            heartbeat_s = self._settings().broker.heartbeat_s
            connection = await connect(self.url, name=self._name, heartbeat_s=heartbeat_s, timeout_s=CONNECT_TIMEOUT_S)
        try:
            yield connection
        except BrokerError:
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
