"""Every way in which a POST can end has exactly one certainty, and "not taken" is never said of what may be taken.

The table is written here anew from the contract (section 3); the transport's failures are met on real sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import Attempt
from signalq.consumer.webhook.answer import certainty_of
from signalq.consumer.webhook.client import Webhook
from signalq.settings.sections import Settings
from tests.support.waiting import wait_until

CERTAINTIES = {"accepted", "not taken", "refused", "unknown"}
CONNECT_S = 0.5
TOTAL_S = 1.0
BODY_CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nok"


# --- every status ----------------------------------------------------------------------------------------------------


def by_the_contract(status: int, *, retry_after: bool, success_body: bool, configured: bool) -> str:
    """The contract's table, read from top to bottom."""
    rows = [
        (200 <= status < 300 and success_body, "accepted"),
        (200 <= status < 300, "unknown"),
        (status in {425, 429, 521, 523, 525, 526} or configured, "not taken"),
        (status in {408, 503} and retry_after, "not taken"),
        (300 <= status < 400, "refused"),
        (400 <= status < 500 and status != 408, "refused"),
        (True, "unknown"),
    ]
    return next(certainty for applies, certainty in rows if applies)


@pytest.mark.parametrize("retry_after", [False, True])
@pytest.mark.parametrize("success_body", [False, True])
@pytest.mark.parametrize("configured", [False, True])
def test_every_status_has_the_certainty_of_the_contracts_table(
    retry_after: bool, success_body: bool, configured: bool
) -> None:
    for status in range(100, 600):
        found = certainty_of(
            status,
            has_retry_after=retry_after,
            is_success_body=success_body,
            not_taken_statuses=frozenset({status} if configured and status >= 300 else {599, 418} - {status}),
        )
        expected = by_the_contract(
            status, retry_after=retry_after, success_body=success_body, configured=configured and status >= 300
        )
        assert found == expected, status


@given(status=st.integers(), retry_after=st.booleans(), success_body=st.booleans())
def test_a_status_that_no_standard_knows_is_never_accepted_and_never_said_to_be_not_taken(
    status: int, retry_after: bool, success_body: bool
) -> None:
    found = certainty_of(
        status, has_retry_after=retry_after, is_success_body=success_body, not_taken_statuses=frozenset()
    )
    assert found in CERTAINTIES
    if not 200 <= status <= 599:
        assert found == "unknown"


# --- every failure of the transport ----------------------------------------------------------------------------------


def order_for(url: str, **connector: object) -> Order:
    """A valid open for this URL."""
    settings = Settings(
        webhook={"url": url, "allow_plain_http": True},
        connectors={"main": connector},
    )
    body = json.dumps({"connectorName": "main", "connectorToken": "t", "action": "openLong"}).encode()
    order = read(Message(body, Basic.Properties(), "main", redelivered=False), settings, 1_700_000_000_000)
    assert isinstance(order, Order)
    return order


class Server:
    """A socket that does what a test says with each connection, and keeps every byte that came in."""

    def __init__(self, behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self.received = bytearray()
        self.connections = 0
        self._behave = behave
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/hook"

    async def request(self, reader: asyncio.StreamReader) -> None:
        """Read one whole request."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.received += head
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        self.received += await reader.readexactly(length)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=5)
        await self._server.wait_closed()


@asynccontextmanager
async def serving(answer: bytes, *, then: str = "close") -> AsyncIterator[Server]:
    """Reads a whole request, answers these bytes, and then closes, resets, or hangs."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(answer)
        await writer.drain()
        await _finish(writer, then)

    async with Server(behave) as server:
        yield server


async def _finish(writer: asyncio.StreamWriter, how: str) -> None:
    if how == "hang":
        await asyncio.Event().wait()
    if how == "reset":
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return
    writer.close()
    await writer.wait_closed()


async def post(order: Order) -> Attempt:
    """One POST by a Webhook of its own."""
    async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S) as webhook:
        return await webhook.post(order)


AFTER_THE_REQUEST = [
    ("cut without an answer", b"", "close"),
    ("reset without an answer", b"", "reset"),
    ("hangs", b"", "hang"),
    ("cut in the status line", b"HTTP/1.1 20", "close"),
    ("hangs in the status line", b"HTTP/1.1 429", "hang"),
    ("cut in the headers", b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\n", "close"),
    ("hangs in the headers", b"HTTP/1.1 503 No\r\nRetry-After: 1\r\n", "hang"),
    ("cut in the body of a 200", BODY_CUT, "close"),
    ("reset in the body of a 200", BODY_CUT, "reset"),
    ("hangs in the body of a 200", BODY_CUT, "hang"),
    ("a 200 that never ends", b"HTTP/1.1 200 OK\r\n\r\nok" + b" " * 10_000, "hang"),
    ("a chunked 200 without its end", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "close"),
    ("a chunked 200 that is none", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "close"),
    ("garbage", b"\x00\xff\xfe not HTTP\r\n\r\n", "close"),
    ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n", "close"),
    ("a status that is no number", b"HTTP/1.1 OK 200\r\n\r\n", "close"),
    ("a status of four digits", b"HTTP/1.1 4290 No\r\nContent-Length: 0\r\n\r\n", "close"),
    ("a header without end", b"HTTP/1.1 429 No\r\nX: " + b"x" * 100_000, "close"),
    ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", "close"),
    ("only a 100", b"HTTP/1.1 100 Continue\r\n\r\n", "close"),
]


@pytest.mark.parametrize(
    ("answer", "then"), [case[1:] for case in AFTER_THE_REQUEST], ids=[c[0] for c in AFTER_THE_REQUEST]
)
async def test_once_the_request_was_read_a_failure_is_unknown(answer: bytes, then: str) -> None:
    async with serving(answer, then=then) as server:
        attempt = await post(order_for(server.url()))
        assert server.received.startswith(b"POST /hook")
    assert (attempt.certainty, attempt.sent) == ("unknown", True)


async def test_a_connection_closed_before_anything_was_read_is_unknown_since_bytes_may_be_on_their_way() -> None:
    async def close_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with Server(close_at_once) as server:
        attempt = await post(order_for(server.url()))
    # A close that is seen before the first byte is the one case in which nothing can be on its way.
    assert (attempt.certainty, attempt.sent) in {("unknown", True), ("not taken", False)}


async def test_a_connection_reset_before_anything_was_read_is_unknown() -> None:
    async def reset_at_once(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _finish(writer, "reset")

    async with Server(reset_at_once) as server:
        attempt = await post(order_for(server.url()))
    assert (attempt.certainty, attempt.sent) == ("unknown", True)


async def test_a_server_that_takes_the_connection_and_reads_nothing_is_unknown() -> None:
    async def ignore(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with Server(ignore) as server:
        attempt = await post(order_for(server.url()))
    assert (attempt.certainty, attempt.sent) == ("unknown", True)


async def test_an_answer_to_a_request_of_which_nothing_was_sent_is_not_taken_and_nothing_goes_out_afterwards() -> None:
    """A server that says `ok` unasked, while the last look takes its time."""

    async def answer_unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(ANSWERS["accepted"])
        server.received += await reader.read(65_536)

    async def look() -> bool:
        await asyncio.sleep(0.2)
        return True

    async with Server(answer_unasked) as server:
        async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S) as webhook:
            attempt = await webhook.post(order_for(server.url()), look)
            await asyncio.sleep(0.3)
        assert server.received == b""
    assert (attempt.certainty, attempt.sent) == ("not taken", False)


@pytest.mark.parametrize("how", ["refused", "timed out", "canceled"])
async def test_a_post_that_ends_in_its_last_look_never_sends_a_byte(how: str) -> None:
    """Also where the look says yes after that end, as after a wait for a ledger."""
    looking = asyncio.Event()

    async def read_on(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        server.received += await reader.read(65_536)

    async def look() -> bool:
        looking.set()
        if how != "refused":
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(10)
        return how != "refused"

    async with Server(read_on) as server, Webhook(connect_s=CONNECT_S, total_s=TOTAL_S / 2) as webhook:
        posting = asyncio.create_task(webhook.post(order_for(server.url()), look))
        await looking.wait()
        if how == "canceled":
            posting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await posting
        else:
            attempt = await posting
            assert (attempt.certainty, attempt.sent) == ("not taken", False)
        await asyncio.sleep(0.1)
        assert server.received == b""


@pytest.mark.parametrize("is_kept", [False, True], ids=["a new connection", "a kept one"])
async def test_between_the_last_look_and_the_first_byte_lies_no_step_of_the_event_loop(is_kept: bool) -> None:
    """What the loop does next after the look finds the whole request at the server."""
    found: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        order = order_for(f"http://127.0.0.1:{listening.getsockname()[1]}/hook")
        loop = asyncio.get_running_loop()
        async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S) as webhook:
            accepting = asyncio.create_task(loop.sock_accept(listening))
            if is_kept:
                first = asyncio.create_task(webhook.post(order))
                served, _ = await accepting
                await loop.sock_recv(served, 65_536)
                await loop.sock_sendall(served, ANSWERS["accepted"])
                assert (await first).certainty == "accepted"

            async def look() -> bool:
                peer = served if is_kept else (await accepting)[0]
                loop.call_soon(lambda: found.append(peer.recv(65_536, socket.MSG_DONTWAIT)))
                loop.call_soon(peer.close)
                return True

            await webhook.post(order, look)
    (request,) = found
    assert request.startswith(b"POST /hook")
    assert request.endswith(b"}")


async def test_a_kept_connection_that_is_cut_with_the_next_request_is_unknown() -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await server.request(reader)

    async with Server(answer_once) as server:
        order = order_for(server.url())
        async with Webhook(connect_s=CONNECT_S, total_s=TOTAL_S) as webhook:
            assert (await webhook.post(order)).certainty == "accepted"
            second = await webhook.post(order)
        assert server.connections == 1
        assert server.received.count(b"POST /hook") == 2, "and it is not repeated by the client"
    assert (second.certainty, second.sent) == ("unknown", True)


async def test_nothing_listens_is_not_taken() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        attempt = await post(order_for(f"http://127.0.0.1:{closed.getsockname()[1]}/hook"))
    assert (attempt.certainty, attempt.sent) == ("not taken", False)


async def test_a_name_that_does_not_resolve_is_not_taken() -> None:
    attempt = await post(order_for("http://signalq-test.invalid/hook"))
    assert (attempt.certainty, attempt.sent) == ("not taken", False)


async def test_a_server_that_speaks_no_tls_is_not_taken_and_got_no_byte_of_the_order() -> None:
    async def answer_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.received += await reader.read(65_536)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with Server(answer_plainly) as server:
        attempt = await post(order_for(server.url("https")))
        assert server.received, "the client's hello came in"
        assert b"POST" not in server.received
    assert (attempt.certainty, attempt.sent) == ("not taken", False)


async def test_a_tls_handshake_that_hangs_is_not_taken() -> None:
    async def ignore(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        server.received += await reader.read(65_536)
        await asyncio.Event().wait()

    async with Server(ignore) as server:
        attempt = await post(order_for(server.url("https")))
        assert b"POST" not in server.received
    assert (attempt.certainty, attempt.sent) == ("not taken", False)


async def test_a_connection_that_is_not_made_in_time_is_not_taken() -> None:
    """A full backlog: Linux drops what comes after, as a host that is gone would."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for one in waiting:
                one.setblocking(False)
                one.connect_ex(full.getsockname())
            attempt = await post(order_for(f"http://127.0.0.1:{full.getsockname()[1]}/hook"))
        finally:
            for one in waiting:
                one.close()
    if attempt.sent:
        pytest.skip("this system takes connections beyond the backlog")
    assert attempt.certainty == "not taken"
    assert "timed out" in attempt.why


async def test_one_that_hangs_takes_no_other_posts_connection() -> None:
    async with serving(b"", then="hang") as server:
        order = order_for(server.url())
        async with Webhook(connect_s=0.3, total_s=TOTAL_S) as webhook:
            both = await asyncio.gather(webhook.post(order), webhook.post(order))
        assert server.received.count(b"POST /hook") == 2
    assert [(one.certainty, one.sent) for one in both] == [("unknown", True)] * 2


async def test_a_refusal_before_the_whole_request_was_read_is_an_answer() -> None:
    async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with Server(refuse_early) as server:
        attempt = await post(order_for(server.url()))
    assert attempt.certainty in {"refused", "unknown"}, "the answer may be lost with the connection"
    assert attempt.sent


async def test_cancellation_goes_through_and_is_no_outcome() -> None:
    async with serving(b"", then="hang") as server:
        posting = asyncio.create_task(post(order_for(server.url())))
        await wait_until(lambda: server.received)
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting


ANSWERS = {
    "accepted": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok",
    "accepted, chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "not taken": b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nlater",
    "refused": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad",
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_counts_only_once_its_headers_are_whole_and_a_200_once_its_body_is(what: str) -> None:
    answer = ANSWERS[what]
    headers_end = answer.index(b"\r\n\r\n") + 4
    cut = 0

    async def cut_here(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(answer[:cut])
        await _finish(writer, "close")

    async with Server(cut_here) as server:
        order = order_for(server.url())
        async with Webhook(connect_s=CONNECT_S, total_s=5.0) as webhook:
            for cut in range(len(answer) + 1):
                attempt = await webhook.post(order)
                if cut < headers_end or (what.startswith("accepted") and cut < len(answer)):
                    expected = {"unknown"}
                else:
                    expected = {what.partition(",")[0]}
                assert attempt.certainty in expected, (cut, attempt)


async def test_any_bytes_that_come_back_give_one_certainty_and_nothing_is_made_up() -> None:
    """Mutations of good answers: what can't be read is unknown, what is accepted ends in the success body."""
    dice = random.Random(20_260_101)
    answer = b""

    async def mutate(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.request(reader)
        writer.write(answer)
        await _finish(writer, "close")

    async with Server(mutate) as server:
        order = order_for(server.url())
        async with Webhook(connect_s=CONNECT_S, total_s=5.0) as webhook:
            for _ in range(300):
                mutated = bytearray(dice.choice(list(ANSWERS.values())))
                for _ in range(dice.randint(1, 4)):
                    mutated[dice.randrange(len(mutated))] = dice.randrange(256)
                answer = bytes(mutated)
                attempt = await webhook.post(order)
                assert attempt.certainty in CERTAINTIES
                if not attempt.sent:  # the server's close was seen in time
                    assert (attempt.certainty, attempt.status) == ("not taken", None)
                    continue
                if attempt.certainty == "accepted":
                    assert b" 2" in answer.split(b"\r\n")[0], answer
                    assert b"ok" in answer.lower(), answer
                if attempt.certainty == "not taken":
                    assert attempt.status in {425, 429, 521, 523, 525, 526, 408, 503}, answer
