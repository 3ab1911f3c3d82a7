"""Fixtures for every test; see tests/support/ for what they are made of."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
from collections.abc import AsyncIterator, Generator, Iterator

import hypothesis
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection
from yarl import URL

from signalq import OrderPublisher
from signalq.amqp.connection import connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.topology import Topology
from signalq.local import RELEASES, Installation, PrivatePostgres, PrivateRabbitMQ
from signalq.names import Names
from signalq.settings.config_file import FOUND_NAME
from tests.support import prefixes, profiling
from tests.support.broker import (
    STRATEGY,
    URL_VARIABLE,
    Broker,
    ExternalBroker,
    chosen_installation,
    private_broker,
    running_broker,
)
from tests.support.postgres import fresh_database, private_postgres
from tests.support.proxy import Proxy
from tests.support.skipping import skip_outside_ci
from tests.support.spreading import spread
from tests.support.webhook import Webhook

LEFTOVER_GRACE_S = 2.0

# The same examples in every run: what is red for one commit is red for all who look. New ones are looked for by
# ./run search, which has its own profile. No example fails for its time.
hypothesis.settings.register_profile("signalq", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None, print_blob=True)
hypothesis.settings.load_profile("signalq")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--rabbitmq VERSION` and `--profile`."""
    parser.addoption(profiling.OPTION, action="store_true", help="show where the workers' seconds went")
    parser.addoption(
        "--rabbitmq",
        metavar="VERSION",
        choices=tuple(RELEASES),
        help=f"test against this version of RabbitMQ ({', '.join(RELEASES)}), which ./run test-rabbitmq fetches",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a choice of two brokers, and settings that our commands would find in the checkout; begin the profile that
    was asked for; read messages as the consumer's process does, whatever properties they bring. A shell that runs the
    tests in the background has them ignore Ctrl-C, and with them what they start: take that back. Each TLS context
    would read the system's file of certificates (0.02 s), and no test speaks TLS with a stranger.
    """
    os.environ["SSL_CERT_FILE"] = os.devnull
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    handle_foreign_properties()
    if config.getoption(profiling.OPTION.removeprefix("--")):
        config.pluginmanager.register(profiling.Profile(config))
    if (found := config.rootpath / FOUND_NAME).exists():
        raise pytest.UsageError(f"{found} would be found by the commands that the tests start: move it elsewhere")
    if config.getoption("rabbitmq") and os.environ.get(URL_VARIABLE):
        raise pytest.UsageError(f"--rabbitmq and {URL_VARIABLE} name two brokers: choose one")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, which takes as long again, and never look at what was collected."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What compares two versions of RabbitMQ is part of ./run test-rabbitmq alone, so that no run skips it. Several
    workers get like shares.
    """
    apart = [] if config.getoption("rabbitmq") else [item for item in items if item.get_closest_marker("versions")]
    if apart:
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if item not in apart]
    if hasattr(config, "workerinput"):
        items[:] = spread(items, config.workerinput["workercount"])


@pytest.fixture(scope="session")
def rabbitmq_version(request: pytest.FixtureRequest) -> str | None:
    """The version of RabbitMQ that `--rabbitmq` asked for; None for whichever this system has."""
    version: str | None = request.config.getoption("rabbitmq")
    return version


@pytest.fixture(scope="session")
def installation(rabbitmq_version: str | None) -> Installation:
    """The RabbitMQ that private nodes of this run are made of. Skips (in CI: fails) where it is not to be had."""
    return chosen_installation(rabbitmq_version)


@pytest.fixture(scope="session")
def broker(rabbitmq_version: str | None) -> Iterator[Broker]:
    """A RabbitMQ for the whole run; `broker.url`. Skips (in CI: fails) where none is to be had."""
    with running_broker(rabbitmq_version) as running:
        yield running
        if isinstance(running, ExternalBroker):
            asyncio.run(prefixes.delete_all(running.url))


@pytest.fixture
def own_broker(broker: Broker) -> PrivateRabbitMQ:
    """The broker, for tests that steer it: `ctl` (alarms, closing connections). Put back what you changed.

    Skips where the broker is somebody else's. Its methods block: call them with asyncio.to_thread.
    """
    if not isinstance(broker, PrivateRabbitMQ):
        skip_outside_ci(f"steers the broker, which only a private one allows: unset {URL_VARIABLE}")
    return broker


@pytest.fixture
def mortal_broker(rabbitmq_version: str | None) -> Iterator[PrivateRabbitMQ]:
    """A private node for one test alone (5 s to start), which it may `kill`, `stop(keep_data=True)` and `start`.

    Nothing need be cleaned up. Before a `kill`, wait for `tests.support.broker.written_down`.
    """
    if os.environ.get(URL_VARIABLE):
        skip_outside_ci(f"kills a broker, which only a private one allows: unset {URL_VARIABLE}")
    with private_broker(rabbitmq_version) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivatePostgres]:
    """A PostgreSQL for the whole run. Skips (in CI: fails) where none is to be had."""
    with private_postgres() as running:
        yield running


@pytest.fixture
def mortal_postgres() -> Iterator[PrivatePostgres]:
    """A private server for one test alone (1 s to start), which it may `kill`, `stop(keep_data=True)` and `start`."""
    with private_postgres() as running:
        yield running


@pytest_asyncio.fixture
async def postgres_url(postgres: PrivatePostgres) -> AsyncIterator[str]:
    """The URL of a database for one test alone, dropped after it."""
    async with fresh_database(postgres) as url:
        yield url


@pytest_asyncio.fixture
async def link(broker: Broker) -> AsyncIterator[Proxy]:
    """A proxy in front of the broker: connect to `through(link, broker.url)`."""
    url = URL(broker.url)
    if url.host not in {"127.0.0.1", "localhost"}:
        skip_outside_ci("the proxy reaches a broker on this machine only")
    async with Proxy(url.port or 5672) as proxy:
        yield proxy


@pytest.fixture
def leftover_queues() -> list[str]:
    """Append the names of queues that a test makes beside the topology's: deleted with the prefix.

    Own lanes of the settings that a Consumer is given are known already.
    """
    return []


@pytest_asyncio.fixture
async def prefix(request: pytest.FixtureRequest, broker: Broker, leftover_queues: list[str]) -> AsyncIterator[str]:
    """A broker prefix for one test alone, its topology declared and empty.

    For a test that is marked `bare_prefix` it is one under which nothing was ever declared, and nothing is left of it.
    """
    if request.node.get_closest_marker("bare_prefix"):
        name = prefixes.new_prefix()
        yield name
        await prefixes.delete(broker.url, name, leftover_queues)
    else:
        name = await prefixes.lend(broker.url)
        yield name
        await prefixes.give_back(broker.url, name, leftover_queues)


@pytest.fixture
def names(prefix: str) -> Names:
    """The names under this test's prefix."""
    return Names(prefix)


@pytest_asyncio.fixture
async def connection(broker: Broker) -> AsyncIterator[AbstractConnection]:
    """A connection as signalq opens it."""
    opened = await connect(broker.url, name="signalq test")
    yield opened
    if not opened.is_closed:
        await opened.close()


@pytest_asyncio.fixture
async def topology(request: pytest.FixtureRequest, connection: AbstractConnection, names: Names) -> Topology:
    """The topology under this test's prefix, declared."""
    declared = Topology(names)
    if request.node.get_closest_marker("bare_prefix"):
        await declared.declare(connection)
    return declared


@pytest_asyncio.fixture
async def publisher(broker: Broker, topology: Topology) -> AsyncIterator[OrderPublisher]:
    """An SDK publisher, connected, under this test's prefix; its strategy is STRATEGY."""
    async with OrderPublisher(broker.url, strategy=STRATEGY, prefix=topology.names.prefix) as orders:
        yield orders


@pytest_asyncio.fixture
async def webhook() -> AsyncIterator[Webhook]:
    """A webhook that answers `200 ok` until told otherwise."""
    async with Webhook() as hook:
        yield hook


@pytest.fixture(autouse=True)
def no_task_left_behind(request: pytest.FixtureRequest) -> None:
    """An async test that leaves a task behind fails; set up first, and so checked last."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("tasks_checked")


@pytest_asyncio.fixture
async def tasks_checked() -> AsyncIterator[None]:
    """Compare the loop's tasks before and after; what is about to end has LEFTOVER_GRACE_S to do so."""
    before = asyncio.all_tasks()
    # What was there before the test is not looked through for garbage after it: of all modules that takes 0.1 s.
    gc.freeze()
    yield
    # A task's unread exception is logged, with a traceback, when the task is collected. Python before 3.12 parses
    # source code for that, and crashes where it happens to be parsing already, as pytest does: so collect now.
    with profiling.spent("looking for garbage"):
        gc.collect()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:
        _done, left = await asyncio.wait(left, timeout=LEFTOVER_GRACE_S)
    assert not left, f"the test left tasks behind: {sorted(task.get_name() for task in left)} {left}"
