"""A real HTTP proxy on loopback that makes tunnels (CONNECT), or misbehaves as the test says.

async with ConnectProxy(to=hook.port) as proxy:
    ...                                    # go to http://hook.example/ through proxy.url
    proxy.script(Says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), Tunnel(bytes_max=100))      # the next two; then as usual

Wherever a tunnel is asked to, it leads to the one port: the names are the proxy's to look up.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import struct
from collections import deque
from dataclasses import dataclass
from typing import Literal, Self

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Tunnel:
    """Make the tunnel. With `bytes_max` cut both ends off once so many bytes went to the target."""

    bytes_max: int | None = None


@dataclass(frozen=True, slots=True)
class Says:
    """Answer this in place of making a tunnel, and then close, reset or hang."""

    answer: bytes
    then: Literal["close", "reset", "hang"] = "close"


class ConnectProxy:
    """The proxy; `asked` holds the head of each request, `passed` all bytes that went to the target."""

    def __init__(self, to: int, *, login: str | None = None) -> None:
        self.asked: list[str] = []
        self.passed = bytearray()
        self._to = to
        self._login = login
        self._next: deque[Tunnel | Says] = deque()
        self._usual: Tunnel | Says = Tunnel()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Its URL, with the login that it asks for."""
        return f"http://{f'{self._login}@' if self._login else ''}127.0.0.1:{self.port}"

    @property
    def targets(self) -> list[str]:
        """Where each tunnel was asked to."""
        return [head.split(" ")[1] for head in self.asked]

    def behave(self, how: Tunnel | Says) -> None:
        """From now on."""
        self._usual = how

    def script(self, *behaviours: Tunnel | Says) -> None:
        """The next requests in this order; after them as `behave` says."""
        self._next.extend(behaviours)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.asked.append(head)
            await self._react(head, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _react(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        how = self._next.popleft() if self._next else self._usual
        if not self._is_let_in(head):
            how = Says(b'HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic realm="tests"\r\n\r\n')
        if isinstance(how, Tunnel):
            await self._tunnel(how, reader, writer)
            return
        writer.write(how.answer)
        await writer.drain()
        if how.then == "hang":
            await asyncio.Event().wait()
        elif how.then == "reset":
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            writer.close()
            await writer.wait_closed()

    def _is_let_in(self, head: str) -> bool:
        if self._login is None:
            return True
        return f"Proxy-Authorization: Basic {base64.b64encode(self._login.encode()).decode()}\r\n" in head

    async def _tunnel(self, how: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to)
        writer.write(ESTABLISHED)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._there(how.bytes_max, reader, there_writer))
                pumps.create_task(_back(there_reader, writer))
        except ExceptionGroup:
            return
        finally:
            there_writer.transport.abort()

    async def _there(self, bytes_max: int | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while chunk := await reader.read(CHUNK_BYTES if bytes_max is None else bytes_max - passed):
            self.passed += chunk
            passed += len(chunk)
            writer.write(chunk)
            await writer.drain()
            if passed == bytes_max:
                break
        raise ConnectionResetError  # one side is done: so is the tunnel


async def _back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError
