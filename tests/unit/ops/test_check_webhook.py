"""`signalq check` on a webhook: each cause has its own sentence and advice, and nothing is ever sent."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from signalq.kinds import Kind
from signalq.ops.check.finding import Finding
from signalq.ops.check.webhook import check_webhook
from tests.support.certificates import make_certificate
from tests.support.connect_proxy import ConnectProxy, Says

TIMEOUT_S = 5.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def expired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("expired"), days=-1)


@asynccontextmanager
async def listening(certificate: Path | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on loopback, with TLS or without: its port, and the bytes that it was sent."""
    came: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(64))
        writer.close()

    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    async with await asyncio.start_server(take, "127.0.0.1", 0, ssl=context) as server:
        yield int(server.sockets[0].getsockname()[1]), came


async def check(url: str, *, proxy: str | None = None, timeout_s: float = TIMEOUT_S) -> Finding:
    return await check_webhook(url, [], timeout_s, proxy)


async def test_a_webhook_that_takes_connections_is_well_and_gets_no_byte(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with listening() as (port, came):
        found = await check_webhook(f"http://127.0.0.1:{port}/hook", ["main", "alt"], TIMEOUT_S, None)
    assert found.state == "ok"
    assert found.found.startswith(f"127.0.0.1:{port} (connector main, alt) takes connections (")
    assert (b"".join(came), found.kind) == (b"", None)
    async with listening(certificate) as (port, came):
        found = await check(f"https://localhost:{port}/hook")
    assert (found.state, b"".join(came)) == ("ok", b"")


@pytest.mark.parametrize(
    ("host", "days", "trusts", "kind", "advice"),
    [
        ("localhost", 2, False, Kind.CERTIFICATE_AUTHORITY, "SSL_CERT_FILE"),
        ("127.0.0.1", 2, True, Kind.CERTIFICATE_NAME, "use the name that it is for in webhook.url"),
        ("localhost", -1, True, Kind.CERTIFICATE_TIME, "renew it at the server"),
    ],
)
async def test_a_certificate_that_is_not_accepted_is_found_before_the_first_order(
    host: str,
    days: int,
    trusts: bool,
    kind: Kind,
    advice: str,
    certificate: Path,
    expired: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = certificate if days > 0 else expired
    if trusts:
        monkeypatch.setenv("SSL_CERT_FILE", str(used))
    async with listening(used) as (port, _):
        found = await check(f"https://{host}:{port}/hook")
    assert (found.state, found.kind) == ("wrong", kind)
    assert f"{host}:{port} took no connection (its certificate is not accepted: " in found.found
    assert advice in (found.advice or "")


async def test_tls_to_a_port_without_it_is_told() -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(http, "127.0.0.1", 0) as server:
        found = await check(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
    assert (found.state, found.kind) == ("wrong", Kind.NO_TLS)
    assert "no TLS is spoken there" in found.found
    assert "https:// takes one with TLS" in (found.advice or "")


async def test_nobody_there_no_such_name_and_no_answer_are_told_apart() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = await check(f"http://127.0.0.1:{closed.getsockname()[1]}/hook")
    assert refused.kind is Kind.CONNECTION_REFUSED
    unknown = await check("https://signalq-test.invalid/hook")
    assert (unknown.kind, unknown.found.partition(" took")[0]) == (Kind.UNKNOWN_HOST, "signalq-test.invalid:443")
    assert "this machine's DNS" in (unknown.advice or "")

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
        silent = await check(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", timeout_s=0.1)
    assert silent.kind is Kind.NO_ANSWER
    assert "did not answer within 0.1 s" in silent.found


async def test_a_proxy_that_lets_nobody_through_is_the_cause() -> None:
    async with ConnectProxy(0, login="desk:pr-0xy-s3cret") as proxy:
        proxy.behave(Says(b"HTTP/1.1 403 Forbidden\r\n\r\n"))
        found = await check("http://hook.example:81/hook", proxy=proxy.url)
    assert (found.state, found.kind) == ("wrong", Kind.PROXY_REFUSED)
    assert found.found.startswith("hook.example:81 was not reached through the proxy http://desk:***@127.0.0.1:")
    assert "s3cret" not in found.found
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = await check("http://hook.example:81/hook", proxy=f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert away.found.endswith("the proxy took no connection (connection refused: nothing listens there)")
