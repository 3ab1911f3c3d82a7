"""What the tests of the commands, and those of the ledger, share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from signalq import OrderPublisher
from signalq.consumer.ledger.ledger import Ledger
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.broker import ExternalBroker
from tests.support.commands import Signalq, run
from tests.support.consumer import Consumer, ledger_url
from tests.support.outcomes import Heard, hearing
from tests.support.stores import Store, fresh_url


@pytest.fixture
def environment(broker: PrivateRabbitMQ | ExternalBroker, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this test, for this process and those it starts."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", prefix)
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", ledger_url(prefix))


@pytest.fixture
def signalq(environment: None) -> Signalq:
    """Runs a command to its end."""
    return run


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path, stack: AsyncExitStack) -> Store:
    """A fresh database of each kind."""
    return Store(await fresh_url(request.param, request, tmp_path, stack), stack)


@pytest_asyncio.fixture
async def ledger(store: Store) -> Ledger:
    """A fresh ledger of each kind."""
    return await store.ledger()


@pytest_asyncio.fixture
async def heard(broker: PrivateRabbitMQ | ExternalBroker, names: Names) -> AsyncIterator[Heard]:
    """All outcome events under this test's prefix."""
    async with hearing(broker.url, names.outcomes) as listener:
        yield listener


@pytest_asyncio.fixture
async def orders(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, consumer: Consumer
) -> AsyncIterator[OrderPublisher]:
    """A publisher of the strategy `momentum`, beside the module's consumer."""
    async with OrderPublisher(broker.url, strategy="momentum", prefix=names.prefix) as publisher:
        yield publisher
