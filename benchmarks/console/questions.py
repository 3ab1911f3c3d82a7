"""A relay in front of the broker that counts what is asked: the methods that a client sends over its connections."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from typing import Self

from yarl import URL

# The protocol's header, and of a frame: its type, its channel and the size of its payload, which an octet ends
# (AMQP 0-9-1, 2.3.5 and 4.2.3).
HEADER_BYTES = 8
FRAME = struct.Struct(">BHI")
METHOD_FRAME = 1
METHOD = struct.Struct(">HH")
# Class and method of queue.declare, by which a depth is asked for.
DECLARE = (50, 10)


class Relay:
    """Relays connections to the broker of `url` while it is entered; `asked` counts methods by class and method."""

    def __init__(self, url: str) -> None:
        self._target = URL(url)
        self.asked: Counter[tuple[int, int]] = Counter()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The broker's URL by way of this relay."""
        assert self._server is not None
        return str(self._target.with_host("127.0.0.1").with_port(self._server.sockets[0].getsockname()[1]))

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection(self._target.host, self._target.port or 5672)
        for work in (self._count(reader, broker_writer), _pass_on(broker_reader, writer)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _count(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(await reader.readexactly(HEADER_BYTES))
            while True:
                head = await reader.readexactly(FRAME.size)
                kind, _channel, size = FRAME.unpack(head)
                rest = await reader.readexactly(size + 1)
                if kind == METHOD_FRAME:
                    self.asked[METHOD.unpack_from(rest)] += 1
                writer.write(head + rest)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # the client has gone
    finally:
        writer.close()
