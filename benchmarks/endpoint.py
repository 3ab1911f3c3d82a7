"""A webhook that answers `ok` at once and costs next to nothing, so that the consumers are what is measured."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
END_OF_HEAD = b"\r\n\r\n"
_LOG = re.compile(rb'"log": ?"([^"]+)"')
_CONNECTOR = re.compile(rb'"connectorName": ?"([^"]+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def log_of(body: bytes) -> str | None:
    """The `log` of an order's body, by which each is known; None where there is none."""
    found = _LOG.search(body)
    return found[1].decode() if found else None


class Endpoint:
    """Counts POSTs, and notes by `clock` when the first byte of each one came, by the `log` of its body.

    A `log` that comes again does not change the time of the first; `logs` has all that came, in their order.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.count = 0
        self.arrived_s: dict[str, float] = {}
        self.logs: list[str] = []
        self._reached: list[tuple[int, asyncio.Event]] = []
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._hanging: str | None = None
        self._unanswered: list[_Connection] = []

    async def start(self) -> str:
        """Listen on loopback; return the URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self, self._connections), "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/trading-signal/webhook"

    async def stop(self) -> None:
        """Stop listening, and close what is open."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close()

    async def reached(self, count: int) -> None:
        """Wait until so many POSTs have come."""
        waiting = (count, asyncio.Event())
        self._reached.append(waiting)
        try:
            if self.count < count:
                await waiting[1].wait()
        finally:
            self._reached.remove(waiting)

    def hang(self, connector: str) -> None:
        """Answer this connector's orders no more, until `release`."""
        self._hanging = connector

    def release(self) -> None:
        """Answer all."""
        self._hanging = None
        for connection in self._unanswered:
            connection.answer()
        self._unanswered.clear()

    def react(self, body: bytes, connection: _Connection) -> None:
        """Answer an order, or let it hang."""
        found = _CONNECTOR.search(body) if self._hanging is not None else None
        if found is not None and found[1].decode() == self._hanging:
            self._unanswered.append(connection)
        else:
            connection.answer()

    def note(self, body: bytes, first_byte_s: float) -> None:
        """A whole POST is in."""
        self.count += 1
        if log := log_of(body):
            self.arrived_s.setdefault(log, first_byte_s)
            self.logs.append(log)
        for count, event in self._reached:
            if self.count >= count:
                event.set()


class _Connection(asyncio.Protocol):
    """One client. A Protocol, not a stream: its clock is read as soon as the loop sees that bytes are there."""

    def __init__(self, endpoint: Endpoint, open_ones: set[_Connection]) -> None:
        self._endpoint = endpoint
        self._open_ones = open_ones
        self._received = b""
        self._first_byte_s = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open_ones.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio gives it
        self._open_ones.discard(self)

    def data_received(self, data: bytes) -> None:
        now_s = self._endpoint.clock()
        if not self._received:
            self._first_byte_s = now_s
        self._received += data
        while (body := self._taken_request()) is not None:
            self._endpoint.note(body, self._first_byte_s)
            self._first_byte_s = now_s
            self._endpoint.react(body, self)

    def answer(self) -> None:
        """Say `ok`, if the connection is still open."""
        if self._transport is not None:
            self._transport.write(ANSWER)

    def close(self) -> None:
        """Close the connection, if it is still open."""
        if self._transport is not None:
            self._transport.close()

    def _taken_request(self) -> bytes | None:
        """Take a whole request out of what was received and return its body; None where it is not all there yet."""
        head, end, rest = self._received.partition(END_OF_HEAD)
        if not end:
            return None
        length = _LENGTH.search(head)
        body_bytes = int(length[1]) if length else 0
        if len(rest) < body_bytes:
            return None
        self._received = rest[body_bytes:]
        return rest[:body_bytes]
