"""Through `webhook.proxy`: what ends before the tunnel stands was not sent, what breaks in the tunnel is unknown."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import signalq.consumer.webhook.client
from signalq.consumer.orders.state import Attempt
from signalq.consumer.webhook.answer_reader import INTERIM_MAX
from signalq.consumer.webhook.client import Webhook
from signalq.consumer.webhook.connection import Connection
from signalq.consumer.webhook.tunnel import NoTunnel
from signalq.version import __version__
from tests.properties.test_certainty import ANSWERS, CONNECT_S, TOTAL_S, Server, order_for, serving
from tests.support import webhook as support
from tests.support.certificates import make_certificate
from tests.support.connect_proxy import ESTABLISHED, ConnectProxy, Says, Tunnel
from tests.support.waiting import wait_until

HOOK = "http://hook.example:8080/hook"
SAFE_HOOK = "https://hook.example/hook"


@pytest.fixture
async def proxy(webhook: support.Webhook) -> AsyncIterator[ConnectProxy]:
    async with ConnectProxy(webhook.port) as proxy:
        yield proxy


async def post_through(proxy: str, url: str = HOOK, *, times: int = 1, connect_s: float = CONNECT_S) -> Attempt:
    """The last one of so many POSTs, one after the other."""
    async with Webhook(connect_s=connect_s, total_s=TOTAL_S, proxy=proxy) as client:
        for _ in range(times):
            attempt = await client.post(order_for(url))
        return attempt


# --- what goes through it --------------------------------------------------------------------------------------------


async def test_orders_go_through_a_tunnel_that_is_asked_for_like_this_and_kept(
    webhook: support.Webhook, proxy: ConnectProxy
) -> None:
    attempt = await post_through(proxy.url, times=3)
    assert (attempt.certainty, attempt.sent) == ("accepted", True)
    assert proxy.asked == [
        f"CONNECT hook.example:8080 HTTP/1.1\r\nHost: hook.example:8080\r\nUser-Agent: signalq/{__version__}\r\n\r\n"
    ]
    assert len(webhook.orders) == 3
    assert webhook.orders[0].headers["host"] == "hook.example:8080"
    assert webhook.orders[0].path == "/hook"


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("http://hook.example/", "hook.example:80"),
        ("http://[2001:db8::1]/", "[2001:db8::1]:80"),
        ("http://192.0.2.1:81/", "192.0.2.1:81"),
        ("http://bücher.example/", "xn--bcher-kva.example:80"),
    ],
)
async def test_the_proxy_is_told_host_and_port_and_looks_the_name_up(proxy: ConnectProxy, url: str, where: str) -> None:
    assert (await post_through(proxy.url, url)).certainty == "accepted"
    assert proxy.targets == [where]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"])
async def test_a_webhook_on_this_machine_is_not_looked_for_on_the_proxys(
    webhook: support.Webhook, proxy: ConnectProxy, host: str
) -> None:
    attempt = await post_through(proxy.url, f"http://{host}:{webhook.port}/hook")
    assert attempt.certainty == "accepted"
    assert proxy.asked == []


@pytest.mark.parametrize("count", [1, INTERIM_MAX])
async def test_interim_answers_of_the_proxy_are_passed_over(webhook: support.Webhook, count: int) -> None:
    """RFC 9110, 15.2: a client must be able to read some before the final one, even if it expects none."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for byte in INTERIM * count + ESTABLISHED:
            writer.write(bytes([byte]))
        await server.request(reader)
        writer.write(ANSWERS["accepted"])
        await reader.read()

    async with Server(serve) as server:
        attempt = await post_through(f"http://127.0.0.1:{server.port}")
    assert (attempt.certainty, attempt.sent) == ("accepted", True)


async def test_the_login_goes_to_the_proxy_alone(webhook: support.Webhook) -> None:
    async with ConnectProxy(webhook.port, login="desk:päss") as proxy:
        url = proxy.url.replace("päss", "p%C3%A4ss")
        assert (await post_through(url)).certainty == "accepted"
        (head,) = proxy.asked
        assert "Proxy-Authorization: Basic " in head
        assert not [name for name in webhook.orders[0].headers if "auth" in name]
        refused = await post_through(url.replace("p%C3%A4ss", "wrong-one"))
    assert (refused.certainty, refused.sent) == ("not taken", False)
    assert refused.why == "the proxy wants another user and password (HTTP 407), before anything was sent"
    assert "wrong-one" not in repr(refused)


# --- TLS inside the tunnel -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `hook.example` that nobody has signed; its key is in the same file."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "hook.example")


class SafeHook:
    """A webhook that speaks TLS, and what came to it."""

    def __init__(self, certificate: Path) -> None:
        self.names: list[str | None] = []
        self.requests: list[bytes] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        self.context.sni_callback = lambda _socket, name, _context: self.names.append(name)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                self.requests.append(await reader.readuntil(b"}"))
                writer.write(ANSWERS["accepted"])
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.mark.parametrize(
    ("url", "trusts", "certainty"),
    [
        (SAFE_HOOK, True, "accepted"),
        ("https://hook.example./hook", True, "accepted"),
        (SAFE_HOOK, False, "not taken"),
        ("https://other.example/hook", True, "not taken"),
    ],
    ids=["its own", "its own, fully qualified", "of nobody we trust", "of another name"],
)
async def test_in_the_tunnel_it_is_the_webhooks_certificate_that_counts(
    url: str, trusts: bool, certainty: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trusts:
        trusting = ssl.create_default_context(cafile=str(certificate))
        monkeypatch.setattr(signalq.consumer.webhook.client, "tls_context", lambda: trusting)
    hook = SafeHook(certificate)
    async with (
        await asyncio.start_server(hook.serve, "127.0.0.1", 0, ssl=hook.context) as server,
        ConnectProxy(server.sockets[0].getsockname()[1]) as proxy,
    ):
        attempt = await post_through(proxy.url, url, times=2)
    assert attempt.certainty == certainty
    if certainty == "accepted":
        assert (hook.names, len(hook.requests), len(proxy.asked)) == (["hook.example"], 2, 1)
    else:
        assert attempt.why.startswith("its certificate is not accepted: ")
        assert attempt.why.endswith(", before anything was sent")
        assert not hook.requests
    assert b"connectorToken" not in proxy.passed, "the proxy can't read what goes through it"


# --- before the tunnel stands ----------------------------------------------------------------------------------------

INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
BEFORE = [
    ("407", b"HTTP/1.1 407 Who are you\r\n\r\n", "close", "wants another user and password (HTTP 407)"),
    ("401", b"HTTP/1.1 401 Who are you\r\n\r\n", "close", "wants another user and password (HTTP 401)"),
    ("403", b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", "close", "refused (HTTP 403)"),
    ("502", b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "close", "refused (HTTP 502)"),
    ("502 and hangs", b"HTTP/1.1 502 Bad Gateway\r\n", "hang", "refused (HTTP 502)"),
    ("503 and reset", b"HTTP/1.0 503 Later\r\n\r\n", "reset", ""),
    ("400 of a server that is no proxy", b"HTTP/1.1 400\r\n\r\n", "close", "refused (HTTP 400)"),
    ("302", b"HTTP/1.1 302 Found\r\nLocation: http://else.example/\r\n\r\n", "close", "refused (HTTP 302)"),
    ("101", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "hang", "refused (HTTP 101)"),
    ("nothing but an interim answer", INTERIM, "hang", "timed out before anything was sent"),
    ("an interim answer, and closes", INTERIM, "close", "cut the connection off"),
    ("a refusal behind an interim answer", INTERIM + b"HTTP/1.1 502 No\r\n\r\n", "hang", "refused (HTTP 502)"),
    ("interim answers without end", INTERIM * 20_000, "hang", "more interim answers than are read"),
    ("an interim answer without end", INTERIM[:-2] + b"X: y\r\n" * 20_000, "hang", "answer has no end"),
    ("a status of four digits", b"HTTP/1.1 2000 OK\r\n\r\n", "hang", "something that is no HTTP"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", "hang", "something that is no HTTP"),
    ("garbage", b"\x15\x03\x03\x00\x02\x02\x46", "close", "cut the connection off"),
    ("garbage without end", b"\xff" * 200_000, "hang", "answer has no end"),
    ("headers without end", ESTABLISHED[:-2] + b"X: y\r\n" * 20_000, "hang", "answer has no end"),
    ("an answer of the webhook's with the tunnel's", ESTABLISHED + ANSWERS["accepted"], "hang", "more than its answer"),
    ("nothing, and hangs", b"", "hang", "timed out before anything was sent"),
    ("nothing, and closes", b"", "close", "cut the connection off"),
    ("nothing, and resets", b"", "reset", "cut the connection off"),
    ("half a status line", b"HTTP/1.1 20", "hang", "timed out before anything was sent"),
    ("half a head", ESTABLISHED[:-2], "hang", "timed out before anything was sent"),
    ("half a head, and closes", ESTABLISHED[:-1], "close", "cut the connection off"),
]


@pytest.mark.parametrize("url", [HOOK, SAFE_HOOK], ids=["plain", "TLS"])
@pytest.mark.parametrize(("answer", "then", "why"), [case[1:] for case in BEFORE], ids=[case[0] for case in BEFORE])
async def test_a_post_that_ends_before_the_tunnel_stands_was_not_sent(
    proxy: ConnectProxy, webhook: support.Webhook, answer: bytes, then: str, why: str, url: str
) -> None:
    proxy.behave(Says(answer, then))  # type: ignore[arg-type]
    # What is meant to time out may do so soon.
    attempt = await post_through(proxy.url, url, connect_s=0.2 if why.startswith("timed out") else CONNECT_S)
    assert (attempt.certainty, attempt.sent, attempt.status) == ("not taken", False, None)
    assert why in attempt.why
    assert attempt.why.endswith("before anything was sent")
    assert len(proxy.asked) == 1, "it is not asked twice"
    assert "connectorToken" not in proxy.asked[0]
    assert (webhook.connections, proxy.passed) == (0, b"")


async def test_a_proxy_that_hung_up_before_it_was_asked_is_not_waited_for() -> None:
    connection = Connection(asyncio.get_running_loop())
    async with asyncio.timeout(30):
        with pytest.raises(NoTunnel, match="cut the connection off"):
            await connection.become_tunnel(b"CONNECT hook.example:80 HTTP/1.1\r\n\r\n")


async def test_a_proxy_that_is_away_or_has_no_address_was_sent_nothing() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        attempt = await post_through(f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert (attempt.certainty, attempt.sent) == ("not taken", False)
    refused = "connection refused: nothing listens there"
    assert attempt.why == f"the proxy took no connection ({refused}), before anything was sent"
    attempt = await post_through("http://signalq-test.invalid:3128")
    assert (attempt.certainty, attempt.sent) == ("not taken", False)
    assert attempt.why.startswith("the proxy took no connection (unknown host: ")


async def test_a_tunnel_that_leads_nowhere_in_the_end_was_sent_nothing() -> None:
    """The proxy answers first and connects afterwards, and its connection to a webhook with TLS fails."""
    async with ConnectProxy(0) as proxy:
        proxy.behave(Says(ESTABLISHED))
        attempt = await post_through(proxy.url, SAFE_HOOK)
    assert (attempt.certainty, attempt.sent) == ("not taken", False)


async def test_a_time_out_or_a_cancellation_while_the_tunnel_is_asked_for_leaves_nothing_behind(
    proxy: ConnectProxy, webhook: support.Webhook
) -> None:
    proxy.script(Says(b"", "hang"))
    async with Webhook(connect_s=30, total_s=30, proxy=proxy.url) as client:
        posting = asyncio.create_task(client.post(order_for(HOOK)))
        await wait_until(lambda: proxy.asked)
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting
        assert (await client.post(order_for(HOOK))).certainty == "accepted"
    assert len(webhook.orders) == 1


async def test_an_order_goes_only_into_a_tunnel_that_stands_whatever_a_proxy_answers(webhook: support.Webhook) -> None:
    """Mutations of a good answer, and pieces of it."""
    dice = random.Random(20_261_130)
    async with ConnectProxy(webhook.port) as proxy, Webhook(connect_s=0.03, total_s=0.06, proxy=proxy.url) as client:
        for _ in range(200):
            mutated = bytearray(ESTABLISHED)
            for _ in range(dice.randint(1, 3)):
                mutated[dice.randrange(len(mutated))] = dice.randrange(256)
            answer = bytes(mutated[: dice.choice([len(mutated), dice.randrange(len(mutated))])])
            proxy.behave(Says(answer, dice.choice(["close", "hang", "reset"])))
            attempt = await client.post(order_for(HOOK))
            assert attempt.certainty in {"unknown", "not taken"}
            assert attempt.sent == (attempt.certainty == "unknown")
            if attempt.sent:
                assert answer.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")), answer
                assert answer.endswith(b"\r\n\r\n"), answer


# --- once the tunnel stands ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "certainty", "status"),
    [
        (ANSWERS["accepted"], "accepted", 200),
        (ANSWERS["not taken"], "not taken", 429),
        (ANSWERS["refused"], "refused", 400),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n", "unknown", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "unknown", None),
        (b"", "unknown", None),
    ],
)
async def test_in_the_tunnel_the_webhooks_answer_counts_as_ever(
    answer: bytes, certainty: str, status: int | None
) -> None:
    async with serving(answer) as server, ConnectProxy(server.port) as proxy:
        attempt = await post_through(proxy.url)
    assert (attempt.certainty, attempt.status, attempt.sent) == (certainty, status, True)


@pytest.mark.parametrize("bytes_max", [1, 20, 200])
async def test_a_proxy_that_cuts_off_after_the_request_began_to_go_out_is_unknown(
    proxy: ConnectProxy, bytes_max: int
) -> None:
    proxy.behave(Tunnel(bytes_max=bytes_max))
    attempt = await post_through(proxy.url)
    assert (attempt.certainty, attempt.sent) == ("unknown", True)
    assert len(proxy.passed) == bytes_max


async def test_a_proxy_that_answers_for_a_webhook_that_it_can_not_reach_is_believed_as_the_webhook_is() -> None:
    """It says that the tunnel stands, reads the order, and hangs up: nobody knows."""

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ESTABLISHED)
        await server.request(reader)
        writer.close()

    async with Server(pretend) as server:
        attempt = await post_through(f"http://127.0.0.1:{server.port}")
        assert server.received.startswith(b"POST /hook")
    assert (attempt.certainty, attempt.sent) == ("unknown", True)


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_proxy_that_cuts_the_tunnel_off_at_once_is_unknown_only_if_the_order_went_into_it(
    proxy: ConnectProxy, then: str
) -> None:
    proxy.behave(Says(ESTABLISHED, then))  # type: ignore[arg-type]
    attempt = await post_through(proxy.url)
    assert (attempt.certainty, attempt.sent) in {("unknown", True), ("not taken", False)}


async def test_a_kept_tunnel_that_was_cut_off_meanwhile_takes_no_order_and_a_new_one_is_made(
    webhook: support.Webhook, proxy: ConnectProxy
) -> None:
    webhook.script(support.Answer(close=True))
    async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S, proxy=proxy.url) as client:
        for _ in range(2):
            assert (await client.post(order_for(HOOK))).certainty == "accepted"
            await asyncio.sleep(0.1)
    assert (len(webhook.orders), len(proxy.asked)) == (2, 2)


async def test_in_a_tunnel_too_no_step_of_the_event_loop_lies_between_the_last_look_and_the_first_byte() -> None:
    found: list[bytes] = []
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        async def be_the_proxy() -> socket.socket:
            peer, _ = await loop.sock_accept(listening)
            assert (await loop.sock_recv(peer, 65_536)).startswith(b"CONNECT hook.example:8080 ")
            await loop.sock_sendall(peer, ESTABLISHED)
            return peer

        async def look() -> bool:
            peer = await proxied
            loop.call_soon(lambda: found.append(peer.recv(65_536, socket.MSG_DONTWAIT)))
            loop.call_soon(peer.close)
            return True

        proxied = asyncio.create_task(be_the_proxy())
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S, proxy=url) as client:
            await client.post(order_for(HOOK), look)
    (request,) = found
    assert request.startswith(b"POST /hook")
    assert request.endswith(b"}")


async def test_a_post_that_may_not_begin_any_more_sends_nothing_into_its_tunnel(
    webhook: support.Webhook, proxy: ConnectProxy
) -> None:
    async def no() -> bool:
        return False

    async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S, proxy=proxy.url) as client:
        attempt = await client.post(order_for(HOOK), no)
    assert (attempt.certainty, attempt.sent) == ("not taken", False)
    assert (webhook.orders, proxy.passed) == ([], b"")
