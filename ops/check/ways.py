"""The ways to what is looked at: the broker, the ledger, and whether the dead letters may be read from their queue."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection

from signalq.amqp.connection import connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.consumer.ledger.client import LedgerClient
from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.settings.sections import Settings
from signalq.version import how_to_install


@dataclass(frozen=True, slots=True)
class Ways:
    """`broker` gives a connection, and raises BrokerUnreachable; `ledger` opens one, and raises SettingsError.

    The queue of dead letters has one reader at a time: it is read only where `may_read_letters`.
    """

    broker_url: str
    broker: Callable[[], AbstractAsyncContextManager[AbstractConnection]]
    ledger: Callable[[], AbstractAsyncContextManager[LedgerClient]]
    may_read_letters: bool


def ways_of(settings: Settings, *, broker_url: str | None = None, may_read_letters: bool = True) -> Ways:
    """Ways that open a connection of their own each time; to another `broker_url` (another user) where one is given."""
    url = broker_url or settings.broker.url.get_secret_value()

    @asynccontextmanager
    async def broker() -> AsyncIterator[AbstractConnection]:
        handle_foreign_properties()
        async with await connect(url, name="signalq check", heartbeat_s=settings.broker.heartbeat_s) as connection:
            yield connection

    @asynccontextmanager
    async def ledger() -> AsyncIterator[LedgerClient]:
        try:
            client = LedgerClient(settings.ledger.url.get_secret_value())
        except ModuleNotFoundError as error:
            why = f"the package {error.name} is not installed: {how_to_install('postgres')}"
            raise SettingsError(why, kind=Kind.PACKAGE_MISSING) from error
        async with client:
            yield client

    return Ways(url, broker, ledger, may_read_letters)


async def open_by(ways: Ways, stack: AsyncExitStack) -> LedgerClient | SettingsError:
    """The ledger, open until the stack is left, or why it can't be opened."""
    try:
        return await stack.enter_async_context(ways.ledger())
    except SettingsError as error:
        return error
