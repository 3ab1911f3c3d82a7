"""The broker of the test run: a private one, or the one that SIGNALQ_BROKER__URL names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from yarl import URL

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.local import BrokerUnavailable, Installation, PrivateRabbitMQ, find_installation, find_version
from tests.support.proxy import Proxy
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import wait_until

URL_VARIABLE = "SIGNALQ_BROKER__URL"
# The strategy of the fixture `publisher`.
STRATEGY = "test-strategy"


@dataclass(frozen=True, slots=True)
class ExternalBroker:
    """A broker that somebody else runs: we may use it, not stop it."""

    url: str


Broker = PrivateRabbitMQ | ExternalBroker


@contextmanager
def running_broker(version: str | None = None) -> Iterator[Broker]:
    """The broker of this run. Without one, tests are skipped; in CI they fail."""
    url = os.environ.get(URL_VARIABLE)
    if url:
        yield ExternalBroker(url)
        return
    with private_broker(version) as broker:
        yield broker


@contextmanager
def private_broker(version: str | None = None) -> Iterator[PrivateRabbitMQ]:
    """A private node, started (5 s). Where there is no RabbitMQ, tests are skipped; in CI they fail."""
    with PrivateRabbitMQ(chosen_installation(version)) as broker:
        yield broker
        broker.kill()  # its data goes as well, so it need not end in order


def chosen_installation(version: str | None = None) -> Installation:
    """RabbitMQ of this version, or this system's own. Where it is not to be had, tests are skipped; in CI they fail."""
    found = find_version(version) if version else find_installation()
    if found is None:
        reason = str(BrokerUnavailable("there is no RabbitMQ server here"))
        if version:
            reason = f"there is no RabbitMQ {version} here: `./run test-rabbitmq {version}` fetches it"
        skip_outside_ci(reason)
    return found


async def written_down(broker: PrivateRabbitMQ, *queues: str) -> None:
    """Let the broker have these quorum queues on disk: before that, `kill` would lose them.

    RabbitMQ confirms messages at once, but writes the name of a new quorum queue down up to 5 s later (when its tables
    are saved next, which is asked for here); one that is not written down has no leader after a kill.
    """
    await asyncio.to_thread(broker.evaluate, "[dets:sync(Table) || Table <- dets:all()].")
    encoded = [f"%2F_{queue}".encode() for queue in queues]

    def are_written_down() -> bool:
        tables = [table.read_bytes() for table in broker.folder.rglob("names.dets")]
        return all(any(name in table for table in tables) for name in encoded)

    await wait_until(are_written_down, what=f"{', '.join(queues)} to be on the broker's disk")


async def close_connections(broker: PrivateRabbitMQ, name: str) -> None:
    """Let the broker close the connections whose names begin so: RabbitMQ's own `close_all_connections` waits for the
    goodbye of each one on the node, also of those that other tests have left.
    """
    named = f'{{<<"connection_name">>, _, Name}} <- Properties, string:prefix(Name, <<"{name}">>) =/= nomatch'
    found = "[{_, Properties}] <- [catch rabbit_networking:connection_info(Pid, [client_properties])]"
    closing = f'rabbit_networking:close_connection(Pid, "a test") || Pid <- rabbit_networking:connections(), {found}'
    closed = await asyncio.to_thread(broker.evaluate, f"[{closing}, {named}].")
    assert "ok" in closed, f"no connection is named {name}: {closed}"


def add_user(broker: PrivateRabbitMQ, name: str) -> None:
    """Add a user with the password "password" and no rights."""
    broker.evaluate(f"rabbit_auth_backend_internal:add_user({_erlang(name, 'password', 'tests')}).")


def set_rights(broker: PrivateRabbitMQ, name: str, configure: str, write: str, read: str) -> None:
    """Give a user these rights, which are patterns, on the virtual host `/`."""
    terms = _erlang(name, "/", configure, write, read, "tests")
    broker.evaluate(f"rabbit_auth_backend_internal:set_permissions({terms}).")


def delete_user(broker: PrivateRabbitMQ, name: str) -> None:
    """Delete a user."""
    broker.evaluate(f"rabbit_auth_backend_internal:delete_user({_erlang(name, 'tests')}).")


def _erlang(*texts: str) -> str:
    """The texts as Erlang's binaries."""
    escaped = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return ", ".join(f'<<"{text}">>' for text in escaped)


def through(link: Proxy, url: str) -> str:
    """The broker's URL, by way of the proxy."""
    return str(URL(url).with_host("127.0.0.1").with_port(link.port))


def is_under_way(publisher: ConfirmedPublisher) -> bool:
    """Whether a message of this publisher is in flight."""
    return publisher._open is not None and publisher._open.in_flight > 0
