"""A TCP proxy on loopback between a program and its server, which a test can cut, stall and heal.

async with Proxy(5672) as proxy:
    ...                         # connect to proxy.port
    proxy.stall()               # bytes stop, connections stay: what a dead switch looks like
    proxy.heal()
    await proxy.cut()           # every connection ends; new ones are taken
"""

from __future__ import annotations

import asyncio
from typing import Self

CHUNK_BYTES = 65_536


class Proxy:
    """Passes bytes on between its port and `target_port`, both on 127.0.0.1."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._links: set[asyncio.Task[None]] = set()
        self.taken = 0  # connections, since its start

    @property
    def port(self) -> int:
        """Where to connect to."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def is_used(self) -> bool:
        """Whether there is a connection through it."""
        return bool(self._links)

    def stall(self) -> None:
        """Pass nothing on, in either direction, on old and new connections."""
        self._flowing.clear()

    def heal(self) -> None:
        """Pass bytes on again."""
        self._refusing = False
        self._flowing.set()

    async def cut(self, *, refuse: bool = False) -> None:
        """End every connection; with `refuse` also each new one, until heal()."""
        self._refusing = refuse
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self.taken += 1
        try:
            if not self._refusing:
                await self._link(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass  # cut, by the test or by an end
        finally:
            self._links.discard(task)
            writer.transport.abort()

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await self._connected()
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, there_writer))
                pumps.create_task(self._pump(there_reader, writer))
        except ExceptionGroup:
            return
        finally:
            there_writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._target_port)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            await self._flowing.wait()
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError  # one side is done: so is the link
