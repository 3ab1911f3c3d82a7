"""Each cause of a missing connection has its own sentence, with what to do, and shows no password (contract 5)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from yarl import URL

from signalq import OrderPublisher
from signalq.amqp.connection import connect
from signalq.consumer.ledger.client import LedgerClient
from signalq.errors import BrokerUnreachable, SettingsError
from signalq.kinds import Kind
from signalq.local import PrivatePostgres, PrivateRabbitMQ
from signalq.ops.check.findings import findings
from signalq.settings.sources import load_settings
from tests.support.broker import ExternalBroker
from tests.support.certificates import make_certificate
from tests.support.commands import Signalq

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PASSWORD = "abc@topsecret"


async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """An HTTP server, such as the management's."""
    await reader.read(8)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    writer.close()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What reads and hangs up."""
    await reader.read(8)
    writer.close()


async def alert(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A TLS server that is spoken to in plain text: an alert, unexpected_message."""
    await reader.read(8)
    writer.write(bytes.fromhex("1503030002020a"))
    writer.close()


async def postgres_with_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A PostgreSQL that takes TLS, up to the handshake."""
    await reader.readexactly(8)
    writer.write(b"S")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*CERTIFICATE)
    try:
        await writer.start_tls(context)
    except OSError:
        writer.close()


CERTIFICATE: list[Path] = []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost`, which nobody has signed; its key is beside it."""
    folder = tmp_path_factory.mktemp("tls")
    made = make_certificate(folder)
    CERTIFICATE[:] = [made, folder / "key.pem"]
    return made


@pytest_asyncio.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[int]]]:
    """Starts a server on loopback, gives its port."""
    async with AsyncExitStack() as stack:

        async def start(handler: Serve, **options: Any) -> int:
            server = await stack.enter_async_context(await asyncio.start_server(handler, "127.0.0.1", 0, **options))
            return int(server.sockets[0].getsockname()[1])

        yield start


async def why(url: str) -> str:
    with pytest.raises(BrokerUnreachable) as refused:
        await connect(url, name="test", timeout_s=10)
    assert "topsecret" not in str(refused.value)
    assert refused.value.advice, "every cause says what to do"
    return str(refused.value)


async def test_refusals_of_the_broker_are_told_apart(broker: PrivateRabbitMQ | ExternalBroker) -> None:
    url = URL(broker.url)
    assert "no virtual host (vhost) nope" in await why(str(url.with_path("/nope")))
    told = await why(str(url).replace(f":{url.password}@", f":{PASSWORD}@"))
    assert "refused the user name or the password" in told
    assert "%40" in told
    assert "no TLS is spoken there" in await why(str(url.with_scheme("amqps")))
    assert "no such login" in await why(str(url.with_query(auth="external")))


async def test_servers_that_are_no_broker_are_told_apart(
    serve: Callable[..., Awaitable[int]], certificate: Path
) -> None:
    login = f"u:{PASSWORD}@"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*CERTIFICATE)
    tls = await serve(hang_up, ssl=context)
    expected = {
        f"amqp://{login}127.0.0.1:1/": "connection refused",
        f"amqp://{login}localhost:1/": "connection refused",
        f"amqp://{login}no.such.host.invalid/": "unknown host",
        f"amqp://{login}127.0.0.1:{await serve(http)}/": "an HTTP server answers there",
        f"amqp://{login}127.0.0.1:{await serve(alert)}/": "TLS is spoken there): use amqps://",
        f"amqp://{login}127.0.0.1:{tls}/": "it hung up without a word",
        f"amqps://{login}localhost:{tls}/": "its certificate is not accepted: self-signed certificate",
        f"amqps://{login}127.0.0.1:{tls}/?cafile={certificate}": "certificate is not valid for '127.0.0.1'",
        f"amqps://{login}localhost:{tls}/?cafile=/no/such/ca.pem": "/no/such/ca.pem (cafile)",
        f"amqps://{login}localhost:{tls}/?cafile=/etc/passwd": "no certificate or key in it",
        f"amqps://{login}localhost:{tls}/?no_verify_ssl=1": "certificates are always checked",
        "amqp://u:top/topsecret@127.0.0.1/": "can't be read",
        f"amqp://{login}127.0.0.1:99999/": "can't be read",
        f"amqpss://{login}127.0.0.1:1/": "no amqp:// or amqps:// URL",
    }
    for url, said in expected.items():
        assert said in await why(url), url


async def test_each_cause_has_a_kind_of_its_own(
    broker: PrivateRabbitMQ | ExternalBroker, serve: Callable[..., Awaitable[int]], certificate: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*CERTIFICATE)
    tls = await serve(hang_up, ssl=context)
    url = URL(broker.url)
    expected = {
        str(url.with_path("/nope")): Kind.UNKNOWN_VHOST,
        str(url.with_password("another")): Kind.WRONG_PASSWORD,
        str(url.with_scheme("amqps")): Kind.NO_TLS,
        "amqp://127.0.0.1:1/": Kind.CONNECTION_REFUSED,
        "amqp://no.such.host.invalid/": Kind.UNKNOWN_HOST,
        f"amqp://127.0.0.1:{await serve(http)}/": Kind.OTHER_PROTOCOL,
        f"amqp://127.0.0.1:{await serve(alert)}/": Kind.TLS_EXPECTED,
        f"amqp://127.0.0.1:{tls}/": Kind.HUNG_UP,
        f"amqps://localhost:{tls}/": Kind.CERTIFICATE_AUTHORITY,
        f"amqps://127.0.0.1:{tls}/?cafile={certificate}": Kind.CERTIFICATE_NAME,
        f"amqps://localhost:{tls}/?cafile=/no/such/ca.pem": Kind.TLS_FILES,
        "amqp://127.0.0.1:99999/": Kind.WRONG_SETTING,
    }
    for where, kind in expected.items():
        with pytest.raises(BrokerUnreachable) as refused:
            await connect(where, name="test", timeout_s=10)
        assert refused.value.kind is kind, where


async def test_a_broker_that_does_not_answer_in_time_is_told(serve: Callable[..., Awaitable[int]]) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    port = await serve(silent)
    with pytest.raises(BrokerUnreachable, match=r"no answer from RabbitMQ at amqp://u:\*\*\*@127.0.0.1:\d+/ within"):
        await connect(f"amqp://u:p@ss@127.0.0.1:{port}/", name="test", timeout_s=0.1)


async def test_the_sdk_the_commands_and_check_say_the_same(
    broker: PrivateRabbitMQ | ExternalBroker, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(URL(broker.url).with_path("/nope"))
    with pytest.raises(BrokerUnreachable, match="no virtual host"):
        await OrderPublisher(nowhere).__aenter__()
    monkeypatch.setenv("SIGNALQ_BROKER__URL", nowhere)
    listed = await signalq("dead", "list", "--queue")
    assert "no virtual host (vhost) nope" in listed.err
    found = [one async for one in findings(load_settings(), None) if one.check == "broker"]
    assert "no virtual host (vhost) nope" in found[0].found
    assert "create it" in (found[0].advice or "")


async def test_a_ledger_that_is_not_there_says_why(
    postgres: PrivatePostgres, serve: Callable[..., Awaitable[int]], certificate: Path
) -> None:
    url = postgres.url.replace("+asyncpg", "")
    password = URL(url).password or ""
    tls = await serve(postgres_with_tls)
    kinds: set[Kind] = set()
    expected = {
        url.replace(password, "topsecret"): "refused the user name or the password",
        url.replace("/postgres", "/nope"): "there is no such database",
        f"{url}?sslmode=require": "it speaks no TLS",
        "postgresql://u:topsecret@127.0.0.1:1/db": "connection refused",
        "postgresql://u:topsecret@localhost:1/db": "connection refused",
        "postgresql://u:topsecret@no.such.host.invalid/db?sslmode=require": "unknown host",
        f"postgresql://u:topsecret@localhost:{tls}/db?sslmode=verify-full": "its certificate is not accepted",
        f"postgresql://u:topsecret@127.0.0.1:{await serve(hang_up)}/db": "check",
    }
    for where, said in expected.items():
        with pytest.raises(SettingsError) as refused:
            await LedgerClient(where).__aenter__()
        assert said in str(refused.value), where
        assert "topsecret" not in str(refused.value)
        kinds.add(refused.value.kind)
    assert kinds == {
        *(Kind.WRONG_PASSWORD, Kind.UNKNOWN_DATABASE, Kind.NO_TLS, Kind.CONNECTION_REFUSED, Kind.UNKNOWN_HOST),
        *(Kind.CERTIFICATE_AUTHORITY, Kind.HUNG_UP),
    }
