"""The connections to a webhook: TLS, IPv6, kept and dropped ones, and the exact bytes that go over them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from aiohttp.http_parser import HttpResponseParserPy

import signalq.consumer.webhook.answer_reader
import signalq.consumer.webhook.client
from signalq.consumer.webhook.client import Webhook
from signalq.consumer.webhook.connection import Connection, Connector
from signalq.consumer.webhook.target import target_of
from signalq.version import __version__
from tests.properties.test_certainty import ANSWERS, Server, order_for, post, serving
from tests.support.certificates import make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` that nobody has signed; its key is in the same file."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


class Tls:
    """A webhook that speaks TLS, and what it was asked for."""

    def __init__(self, certificate: Path) -> None:
        self.names: list[str | None] = []
        self.requests = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"}")
                self.requests += 1
                writer.write(ANSWERS["accepted"])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        async with await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=self.context) as server:
            yield int(server.sockets[0].getsockname()[1])


async def test_over_tls_a_webhook_is_called_by_its_name_and_its_connection_is_kept(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    monkeypatch.setattr(signalq.consumer.webhook.client, "tls_context", lambda: trusting)
    tls = Tls(certificate)
    async with tls.running() as port, Webhook(connect_s=5, total_s=5) as webhook:
        for _ in range(3):
            attempt = await webhook.post(order_for(f"https://localhost:{port}/hook"))
            assert (attempt.certainty, attempt.sent) == ("accepted", True)
    assert (tls.names, tls.requests) == (["localhost"], 3)


@pytest.mark.parametrize(("host", "trusts"), [("localhost", False), ("127.0.0.1", True)])
async def test_a_certificate_that_nobody_trusts_or_of_another_name_gets_no_byte_of_the_order(
    host: str, trusts: bool, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trusts:
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(signalq.consumer.webhook.client, "tls_context", lambda: trusting)
    tls = Tls(certificate)
    async with tls.running() as port, Webhook(connect_s=5, total_s=5) as webhook:
        attempt = await webhook.post(order_for(f"https://{host}:{port}/hook"))
    assert (attempt.certainty, attempt.sent, tls.requests) == ("not taken", False, 0)
    assert attempt.why.startswith("its certificate is not accepted: ")
    assert attempt.why.endswith(", before anything was sent")


@asynccontextmanager
async def listening_at(address: str) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(ANSWERS["accepted"])
        writer.close()

    try:
        server = await asyncio.start_server(answer, address, 0)
    except OSError:
        pytest.skip(f"this machine can't listen on {address}")
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def test_a_webhook_is_called_by_its_ipv6_address() -> None:
    async with listening_at("::1") as port:
        assert (await post(order_for(f"http://[::1]:{port}/hook"))).certainty == "accepted"


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
async def test_of_the_addresses_of_a_name_the_one_that_listens_is_found(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        return [
            {"hostname": host, "host": one, "port": port, "family": kind, "proto": 0, "flags": 0}
            for one, kind in (("::1", socket.AF_INET6), ("127.0.0.1", socket.AF_INET))
        ]

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
    async with listening_at(address) as port:
        assert (await post(order_for(f"http://hook.example:{port}/hook"))).certainty == "accepted"


@pytest.mark.parametrize(
    ("url", "target", "host"),
    [
        ("https://example.com", "/", "example.com"),
        ("https://EXAMPLE.com:443/Hook#part", "/Hook", "example.com"),
        ("https://example.com:8443/a b/é?q=ü&r=a%2Fb", "/a%20b/%C3%A9?q=%C3%BC&r=a/b", "example.com:8443"),
        ("http://[::1]:8080/x", "/x", "[::1]:8080"),
        ("http://bücher.example/", "/", "xn--bcher-kva.example"),
        ("http://example.com/a\r\nX: y", "/aX:%20y", "example.com"),
    ],
)
async def test_a_request_goes_out_byte_by_byte_like_this(url: str, target: str, host: str) -> None:
    expected = (
        f"POST {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: signalq/{__version__}\r\n"
        "Accept-Encoding: identity\r\nAccept: */*\r\nContent-Length: 3\r\nContent-Type: application/json\r\n\r\n"
    )
    assert target_of(url).request(b"{\xff}") == expected.encode() + b"{\xff}"


@pytest.mark.parametrize("url", ["", "hook", "https://", "http:///hook"])
async def test_a_text_that_is_no_url_has_no_target(url: str) -> None:
    with pytest.raises(aiohttp.InvalidURL):
        target_of(url)


@pytest.mark.parametrize("is_read", [True, False], ids=["read", "not read yet"])
@pytest.mark.parametrize("ends", [False, True], ids=["a 408, say", "its end"])
async def test_a_kept_connection_on_which_something_has_come_carries_no_request(ends: bool, is_read: bool) -> None:
    """Bytes that nobody has asked for are no answer to what is sent next, also before the event loop has seen them."""
    writers: list[asyncio.StreamWriter] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await server.request(reader)
        writer.write(ANSWERS["accepted"])
        await server.request(reader)

    async with Server(answer_once) as server:
        order = order_for(server.url())
        async with Webhook(connect_s=1, total_s=1) as webhook:
            assert (await webhook.post(order)).certainty == "accepted"
            if ends:
                writers[0].get_extra_info("socket").shutdown(socket.SHUT_WR)
            else:
                writers[0].write(ANSWERS["refused"])
            if is_read:
                await asyncio.sleep(0.05)
            assert (await webhook.post(order)).certainty == "accepted"
        assert server.connections == 2


async def test_a_new_connection_on_which_something_has_come_carries_no_request() -> None:
    """Such as a 503 of one that has too many, which does not wait for a request."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def may_begin() -> bool:
            accepted, _ = listener.accept()
            accepted.sendall(ANSWERS["refused"])
            taken.append(accepted)
            return True

        order = order_for(f"http://127.0.0.1:{listener.getsockname()[1]}/hook")
        async with Webhook(connect_s=1, total_s=1) as webhook:
            attempt = await webhook.post(order, may_begin)
        assert (attempt.certainty, attempt.sent) == ("not taken", False)
        with taken[0] as accepted:
            accepted.settimeout(1)
            with suppress(ConnectionResetError):
                assert accepted.recv(1) == b""


async def test_a_second_answer_is_none_to_the_next_request() -> None:
    async def answer_twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(ANSWERS["accepted"] + ANSWERS["refused"])
        await server.request(reader)

    async with Server(answer_twice) as server:
        order = order_for(server.url())
        async with Webhook(connect_s=1, total_s=1) as webhook:
            assert [(await webhook.post(order)).certainty for _ in range(2)] == ["accepted", "accepted"]
        assert server.connections == 2


async def test_a_kept_connection_whose_end_was_seen_takes_no_order() -> None:
    """In the last look, too: so much time may pass there."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(ANSWERS["accepted"])
        await asyncio.sleep(0.1)

    async def look() -> bool:
        await asyncio.sleep(0.3)
        return True

    async with Server(answer_once) as server:
        order = order_for(server.url())
        async with Webhook(connect_s=1, total_s=1) as webhook:
            assert (await webhook.post(order)).certainty == "accepted"
            attempt = await webhook.post(order, look)
            assert (attempt.certainty, attempt.sent) == ("not taken", False)
            assert (await webhook.post(order)).certainty == "accepted"
        assert server.received.count(b"POST /hook") == 2


async def test_a_write_that_fails_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(_request: bytes) -> None:
        raise RuntimeError("some of it may have gone out")

    begin = Connection.begin
    monkeypatch.setattr(Connection, "begin", lambda self: (SimpleNamespace(write=write), begin(self)[1]))
    async with serving(b"") as server:
        attempt = await post(order_for(server.url()))
    assert (attempt.certainty, attempt.sent) == ("unknown", True)


async def test_the_rest_of_a_request_whose_exchange_is_over_never_goes_out() -> None:
    may_read, has_ended = asyncio.Event(), asyncio.Event()

    async def read_late(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await may_read.wait()
        with suppress(ConnectionError):
            while part := await reader.read(65_536):
                server.received += part
        has_ended.set()

    size = 20_000_000
    async with Server(read_late) as server:
        target = target_of(server.url())
        async with Connector() as connector:
            lent = await connector.connect(target.address, [], aiohttp.ClientTimeout())
            transport, _ = cast("Connection", lent.protocol).begin()
            transport.write(b"x" * size)
            lent.release()
            may_read.set()
            await asyncio.wait_for(has_ended.wait(), 5)
        assert len(server.received) < size


async def test_an_answer_that_came_while_the_process_stood_still_counts_although_its_time_is_over() -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            time.sleep(0.15)
            connection.sendall(ANSWERS["accepted"])
            connection.recv(1)

    async def stand_still_after_the_request() -> bool:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 0.4)
        return True

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = asyncio.create_task(asyncio.to_thread(answer, listening))
        async with Webhook(connect_s=1, total_s=0.3) as webhook:
            order = order_for(f"http://127.0.0.1:{listening.getsockname()[1]}/hook")
            attempt = await webhook.post(order, stand_still_after_the_request)
        await answering
    assert attempt.certainty == "accepted"


@pytest.mark.parametrize("what", ANSWERS)
async def test_aiohttps_parser_in_python_which_it_has_where_there_is_no_other_reads_the_same(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signalq.consumer.webhook.answer_reader, "HttpResponseParser", HttpResponseParserPy)
    for answer, expected in ((ANSWERS[what], what.partition(",")[0]), (ANSWERS[what][:-1], None)):
        async with serving(b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer) as server:
            attempt = await post(order_for(server.url()))
        if expected is not None:
            assert attempt.certainty == expected
        elif what.startswith("accepted"):
            assert attempt.certainty == "unknown"
