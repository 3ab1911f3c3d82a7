"""A webhook that answers `ok` at once and costs next to nothing, so that the consumers are what is measured."""

from __future__ import annotations

import asyncio
import re
import time

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
_NUMBER = re.compile(rb'"log":"([^"]+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Endpoint:
    """Counts POSTs, and notes when each `log` came."""

    def __init__(self) -> None:
        self.count = 0
        self.arrived_s: dict[str, float] = {}
        self._reached: list[tuple[int, asyncio.Event]] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen on loopback; return the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/trading-signal/webhook"

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def reached(self, count: int) -> None:
        """Wait until so many POSTs have come."""
        event = asyncio.Event()
        self._reached.append((count, event))
        if self.count < count:
            await event.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                self.count += 1
                if number := _NUMBER.search(body):
                    self.arrived_s[number[1].decode()] = time.monotonic()
                for count, event in self._reached:
                    if self.count >= count:
                        event.set()
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
