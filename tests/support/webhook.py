"""A real HTTP/1.1 server on loopback that records each request, and answers or misbehaves as the test says.

async with Webhook() as hook:
    hook.behave(lambda order: Answer(status=429, headers={"Retry-After": "1"}))
    hook.script(Hang(), CutOff())          # the next two; then as above again
    ...                                    # hook.url, hook.orders
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from signalq.consumer.webhook.client import MayBegin
from tests.support.waiting import PATIENCE_S, wait_until

BODY_BYTES_MAX = 1_048_576
PATH = "/trading-signal/webhook"


async def looked(may_begin: MayBegin) -> bool:
    """What the last look before a POST says."""
    says = may_begin()
    return says if isinstance(says, bool) else await says


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, `delay_s` after the request was read; `close` ends the connection after it."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    close: bool = False


@dataclass(frozen=True, slots=True)
class Hang:
    """Read the request and never answer; the connection stays open."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """Read the request and close without an answer; with `reset` by a TCP RST."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class CutInTheMiddle:
    """Begin to answer 200 and close in the middle of the body."""


@dataclass(frozen=True, slots=True)
class EndlessBody:
    """Answer 200 with a body that never ends, a piece every `pause_s`."""

    pause_s: float = 0.01


@dataclass(frozen=True, slots=True)
class Garbage:
    """Answer with something that is no HTTP, and close."""

    answer: bytes = b"\x00\xff this is not HTTP\r\n\r\n"


Behaviour = Answer | Hang | CutOff | CutInTheMiddle | EndlessBody | Garbage


@dataclass(slots=True)
class Order:
    """One request as it came; `at_ns` is when its first bytes were there (time.time_ns)."""

    at_ns: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    answered_ns: int | None = None
    """When the answer was written; None where there was none (yet)."""
    _read: dict[str, Any] | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object; read once, as tests that wait look at all orders again and again."""
        if self._read is None:
            self._read = json.loads(self.body)
        return self._read

    @property
    def connector(self) -> str:
        """Its connectorName."""
        return self.json["connectorName"]


class Webhook:
    """The server; `orders` holds every request read so far, in the order of their coming."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.connections = 0
        self.in_flight = 0
        self.in_flight_max = 0
        self._usual: Callable[[Order], Behaviour] = lambda _order: Answer()
        self._next: deque[Behaviour] = deque()
        self._close_unread = 0
        self._server: asyncio.Server | None = None
        self._handlers: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        if self._server is None:
            raise RuntimeError("use Webhook in an async with block")
        return self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """Where to POST."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    def behave(self, how: Behaviour | Callable[[Order], Behaviour]) -> None:
        """From now on: one behaviour for all, or a function that chooses one for each order."""
        self._usual = how if callable(how) else lambda _order: how

    def script(self, *behaviours: Behaviour) -> None:
        """The next requests in this order; after them as `behave` says."""
        self._next.extend(behaviours)

    def close_unread(self, connections: int) -> None:
        """Close the next `connections` connections before anything of them is read."""
        self._close_unread = connections

    async def received(self, count: int, timeout_s: float = PATIENCE_S) -> list[Order]:
        """Wait for at least `count` orders, and return all there are."""
        await wait_until(lambda: len(self.orders) >= count, timeout_s, what=f"{count} POSTs, {len(self.orders)} came")
        return self.orders

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._server is None:
            return
        self._server.close()
        handlers = set(self._handlers)
        for handler in handlers:
            handler.cancel()
        if handlers:
            await asyncio.wait(handlers, timeout=5)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        self._handlers.add(handler)
        self.connections += 1
        try:
            if self._close_unread > 0:
                self._close_unread -= 1
            else:
                await self._converse(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over; start_server would log either
        finally:
            self._handlers.discard(handler)
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        """Requests on one connection, until one of the two closes it."""
        while (order := await _read(reader, connection)) is not None:
            self.orders.append(order)
            self.in_flight += 1
            self.in_flight_max = max(self.in_flight_max, self.in_flight)
            try:
                stay_open = await self._react(order, writer)
            finally:
                self.in_flight -= 1
            if not stay_open:
                break
        writer.close()
        await writer.wait_closed()

    async def _react(self, order: Order, writer: asyncio.StreamWriter) -> bool:
        """Do what the test asked for; whether the connection stays open."""
        behaviour = self._next.popleft() if self._next else self._usual(order)
        match behaviour:
            case Answer():
                await asyncio.sleep(behaviour.delay_s)
                await _write(writer, _response(behaviour))
                order.answered_ns = time.time_ns()
                return not behaviour.close
            case Hang():
                await asyncio.Event().wait()
            case CutOff():
                if behaviour.reset:
                    _reset_on_close(writer)
            case CutInTheMiddle():
                await _write(writer, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\no")
            case EndlessBody():
                await _write(writer, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
                while True:
                    await _write(writer, b"ok" * 512)
                    await asyncio.sleep(behaviour.pause_s)
            case Garbage():
                await _write(writer, behaviour.answer)
        return False


async def _read(reader: asyncio.StreamReader, connection: int) -> Order | None:
    """The next request; None where the client is done."""
    first = await reader.read(1)
    if not first:
        return None
    at_ns = time.time_ns()
    head = first + await reader.readuntil(b"\r\n\r\n")
    request_line, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _version = request_line.split(" ")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", "0"))
    if length > BODY_BYTES_MAX or "transfer-encoding" in headers:
        raise ConnectionError("this server reads bodies of a known, moderate length")
    return Order(at_ns, method, path, headers, await reader.readexactly(length), connection)


def _response(answer: Answer) -> bytes:
    headers = {"Content-Type": "text/plain", "Content-Length": str(len(answer.body))}
    if answer.close:
        headers["Connection"] = "close"
    headers |= answer.headers
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {_PHRASE}\r\n{head}\r\n".encode() + answer.body


_PHRASE = "As the test says"


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _reset_on_close(writer: asyncio.StreamWriter) -> None:
    """SO_LINGER with 0 s: closing sends RST instead of FIN."""
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
