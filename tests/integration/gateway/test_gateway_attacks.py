"""`signalq gateway` from an attacker's side: bytes that are no order, callers that go away, a broker in need."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.producers.gateway.answers import STATUSES, WEBHOOK_PATH
from tests.support.amqp import depth, drain
from tests.support.broker import Broker, through
from tests.support.gateways import ALERT, Front, gateway
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until

# Of a connector that no setting names: nothing can blank it in a log.
FOREIGN = "a-token-that-nobody-configured"
SECRET = "s3cret-path-of-16"
PATH = f"/{SECRET}{WEBHOOK_PATH}"
ORDER = json.dumps(ALERT | {"connectorName": "foreign", "connectorToken": FOREIGN}).encode()
TIMEOUT_S = 10.0


@pytest.fixture
def queue(topology: Topology) -> str:
    """Where what has no lane of its own arrives."""
    return topology.names.orders


def request(body: bytes, *headers: str, method: str = "POST", path: str = PATH, length: int | None = None) -> bytes:
    """A request as bytes; `length` is what its Content-Length says."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@asynccontextmanager
async def said(front: Front, text: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that has said this."""
    reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
    try:
        writer.write(text)
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(front: Front, text: bytes) -> bytes:
    """The first answer to these bytes, whole; a 100 Continue is none."""
    async with said(front, text) as (reader, _), asyncio.timeout(TIMEOUT_S):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.split()[1] == b"100":
            head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return head + (b"" if b"HEAD" in text[:4] else await reader.readexactly(int(length.split(b":")[1])))


ATTACKS: dict[str, tuple[bytes, int]] = {
    "a Content-Length that is too small": (request(ORDER, length=10), 400),
    "no method": (b"FOO " + request(ORDER)[5:], 400),
    "a broken header": (f"POST {PATH} HTTP/1.1\r\nHost x {FOREIGN}\r\n\r\n".encode(), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50), 400),
    "bytes in the path": (b"POST /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "bad UTF-8 in the path": (request(ORDER, path=f"/%ff%00{WEBHOOK_PATH}"), 404),
    "two lengths": (request(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), 400),
    "a chunk of no size": (chunked().replace(b"0\r\n", b"ZZ\r\n"), 400),
    "too many headers": (request(ORDER, *(f"x{number}: 1" for number in range(300))), 400),
    "a header too long": (request(ORDER, "x: " + "y" * 20_000), 400),
    "a body too large": (request(b"x" * 70_000), 413),
    "chunks too large": (chunked(*[b"x" * 10_000] * 8), 413),
    "a huge length, asked for first": (request(b"", "Expect: 100-continue", length=10**12), 413),
    "an unknown expectation": (request(ORDER, f"Expect: {FOREIGN}"), 417),
    "a zip bomb": (request(gzip.compress(bytes(30_000_000)), "Content-Encoding: gzip"), 415),
    "a wrong secret": (request(ORDER, path=f"/wr0ng-secret{WEBHOOK_PATH}"), 404),
    "HEAD": (request(b"", method="HEAD"), 405),
    "OPTIONS": (request(b"", method="OPTIONS"), 405),
    "a byte-order mark": (request(b"\xef\xbb\xbf" + ORDER), 400),
    "a key twice": (request(ORDER[:-1] + b', "connectorToken": "x"}'), 400),
    "UTF-16": (request(ORDER.decode().encode("utf-16")), 400),
    "deep nesting": (request(b"[" * 60_000), 400),
}
TAKEN: dict[str, bytes] = {
    "text/plain": request(ORDER, "Content-Type: text/plain; charset=utf-8"),
    "asked for first": request(ORDER, "Expect: 100-continue"),
    "in chunks": chunked(ORDER[:20], ORDER[20:]),
    "offering HTTP/2": request(
        ORDER, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    ),
    "by HTTP/1.0": request(ORDER).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "the secret behind the path": request(ORDER, path=f"{WEBHOOK_PATH}/{SECRET}"),
}


async def test_a_request_that_is_no_order_is_refused_by_name_and_none_of_its_bytes_are_shown(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix, GATEWAY__PATH_SECRET=SECRET, GATEWAY__CONNECTORS="any") as front:
        answers = {name: await answer(front, text) for name, (text, _status) in ATTACKS.items()}
        assert await depth(broker.url, queue) == 0
        taken = {name: (await answer(front, text)).split(b"\r\n")[0][9:12] for name, text in TAKEN.items()}
        pipelined = request(ORDER) * 3
        async with said(front, pipelined) as (reader, _):
            for _number in range(3):
                assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), TIMEOUT_S)
    assert taken == dict.fromkeys(TAKEN, b"200")
    assert await depth(broker.url, queue) == len(TAKEN) + 3
    assert {name: int(text.split()[1]) for name, text in answers.items()} == {
        name: status for name, (_text, status) in ATTACKS.items()
    }
    for name, text in answers.items():
        head, _, body = text.partition(b"\r\n\r\n")
        assert b"Server: signalq" in head, name
        assert b"application/problem+json" in head, name
        assert not body or json.loads(body)["status"] in STATUSES, name
    told = b"".join(answers.values()).decode() + json.dumps(front.log)
    assert FOREIGN not in told
    assert SECRET not in told
    assert [line for line in front.log if line["level"] == "error"] == []


async def test_an_order_whose_caller_left_before_the_answer_is_the_same_order_when_it_comes_again(
    broker: Broker, link: Proxy, queue: str, prefix: str
) -> None:
    async with gateway(through(link, broker.url), prefix) as front:
        link.stall()
        async with said(front, request(json.dumps(ALERT).encode(), path=WEBHOOK_PATH)):
            await wait_until(lambda: _metric(front, "signalq_gateway_in_flight 1.0"))
        link.heal()
        await wait_until(lambda: front.events("alert.answer_unheard"), what="the order whose caller was gone")
        assert await front.post(ALERT) == (200, "ok")
        (repeat,) = await wait_until(lambda: front.events("alert.published"))
        assert repeat["repeat"] is True
        assert repeat["message_id"] == front.events("alert.answer_unheard")[0]["message_id"]
    messages = await drain(broker.url, queue, await depth(broker.url, queue) or 0)
    assert {message.properties.message_id for message in messages} == {repeat["message_id"]}


async def _metric(front: Front, line: str) -> bool:
    return line in (await front.get("/metrics"))[1]


async def test_a_broker_in_need_is_503_in_time_for_all_and_does_not_keep_the_gateway_from_ending(
    own_broker: PrivateRabbitMQ, queue: str, prefix: str
) -> None:
    """So many large orders that the buffers on the way to a broker that reads nothing are full."""
    loop = asyncio.get_running_loop()

    async def post(front: Front, number: int) -> tuple[int, float]:
        began_s = loop.time()
        status, _ = await front.post(ALERT | {"fixed": str(number + 1), "log": "x" * 60_000})
        return status, loop.time() - began_s

    async with gateway(own_broker.url, prefix) as front:
        try:
            await asyncio.to_thread(own_broker.ctl, "set_vm_memory_high_watermark", "0")
            answers = await asyncio.gather(*(post(front, number) for number in range(200)))
            assert 503 in {status for status, _ in answers} <= {200, 503}, "200 is before the alarm was noticed"
            assert max(took_s for _, took_s in answers) < 10, "a busy machine is late itself; the timer is 2.5 s"
            front.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(front.process.wait(), 20) == 0
        finally:
            await asyncio.to_thread(own_broker.ctl, "set_vm_memory_high_watermark", "0.6")


async def test_requests_that_are_here_at_the_end_are_answered_and_unanswered_ones_are_no_orders(
    broker: Broker, queue: str, prefix: str
) -> None:
    answered: list[int] = []
    async with gateway(broker.url, prefix) as front:

        async def post(number: int) -> None:
            with suppress(OSError):  # refused: nobody listens any more
                answered.append((await front.post(ALERT | {"log": str(number)}))[0])

        async with asyncio.TaskGroup() as posting:
            for number in range(60):
                posting.create_task(post(number))
                if number == 30:
                    await wait_until(lambda: answered, what="an answer")
                    front.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(front.process.wait(), 20) == 0
    assert set(answered) == {200}
    assert await depth(broker.url, queue) == len(answered)
