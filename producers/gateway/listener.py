"""The gateway's connections: how many there may be, how long they may be silent, and the answer to bad HTTP.

It replaces aiohttp's own listening, which has no bound on connections, and which copies the bytes of a request that is
no HTTP into the answer and into the log: after a Content-Length that is too small, these are an order's body with its
token.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from aiohttp import web

# Beyond that, the connection that has been silent for longest makes room: without a bound, silent connections would
# take the file descriptors that the link to RabbitMQ needs.
CONNECTIONS_MAX = 2_000
FILES_BESIDE = 100
# Longer than a proxy keeps its connections (nginx 60 s, Caddy 120 s): the proxy has to close them, or it sends an order
# into a connection that we are closing.
IDLE_S = 180.0
# Time for a caller that is still sending to read the answer.
LINGER_S = 2.0
# Connections that wait to be accepted, as far as the system allows; a caller that finds no room tries again after 1 s.
BACKLOG = 4_096
# In a round of the event loop, so many are accepted, and so much of each connection is read: a flood of either leaves
# room for earlier requests. (asyncio's own are BACKLOG and 256 KiB, which may hold thousands of tiny chunks.)
ACCEPTED_AT_ONCE = 8
READ_AT_ONCE_BYTES = 32_768
# About twice as much is taken off a connection whose body is not read yet.
BUFFERED_BYTES = 8_192
# At the end: for requests that are already on their way over an open connection.
FAREWELL_S = 0.5
# Rounds of the event loop from accepting a connection to its first callback: asyncio drops earlier ones at its close.
ACCEPTING_ROUNDS = 3

log = structlog.get_logger()


class Listener:
    """Listens between `start` and `close`.

    `unhandled` makes the answer of a status to bytes that aiohttp could not read, or to a request at which we failed.
    """

    def __init__(self, unhandled: Callable[[int], web.StreamResponse], connections_max: int = CONNECTIONS_MAX) -> None:
        self.unhandled = unhandled
        self._connections_max = min(connections_max, _allowed_files(connections_max + FILES_BESIDE) - FILES_BESIDE)
        # The longest silent first.
        self._open: OrderedDict[web.RequestHandler, None] = OrderedDict()
        self._busy: set[web.RequestHandler] = set()
        self._is_empty = asyncio.Event()
        self._is_empty.set()
        self._listening: asyncio.Server | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def start(self, server: web.Server, host: str, port: int) -> int:
        """Listen for `server`; return the port. Raises OSError or UnicodeError if that is not possible."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: Connection(server, self), host, port, backlog=ACCEPTED_AT_ONCE
        )
        for listening in self._listening.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(BACKLOG)
        return int(self._listening.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Accept no more connections; for FAREWELL_S, take the requests that come over open ones."""
        if self._listening is None:
            return
        loop = asyncio.get_running_loop()
        for listening in self._listening.sockets:
            loop.remove_reader(listening.fileno())
        for _ in range(ACCEPTING_ROUNDS):
            await asyncio.sleep(0)
        self._listening.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._is_empty.wait()

    def spoke(self, connection: web.RequestHandler) -> None:
        """Note that a request came over the connection: it is the last to make room."""
        if connection in self._open:
            self._open.move_to_end(connection)

    @contextmanager
    def busy(self, connection: web.RequestHandler) -> Iterator[None]:
        """Keep the connection from making room while its order is on the way."""
        self._busy.add(connection)
        try:
            yield
        finally:
            self._busy.discard(connection)

    def opened(self, connection: Connection) -> bool:
        """Take a new connection; False if there is no room, and none can be made."""
        if len(self._open) >= self._connections_max:
            silent = next((one for one in self._open if one not in self._busy), None)
            if silent is None:
                return False
            del self._open[silent]
            silent.force_close()
        self._open[connection] = None
        self._is_empty.clear()
        return True

    def closed(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)
        if not self._open:
            self._is_empty.set()


class Connection(web.RequestHandler):
    """One connection, which copies no bytes of a request into answers or logs."""

    def __init__(self, server: web.Server, listener: Listener) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as AppRunner takes it
            keepalive_timeout=IDLE_S,
            lingering_time=LINGER_S,
            read_bufsize=BUFFERED_BYTES,
            auto_decompress=False,
        )
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or hang up if there is no room."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_AT_ONCE_BYTES
        if not self._listener.opened(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection: it has ended."""
        self._listener.closed(self)
        super().connection_lost(exc)

    def leave_the_rest(self) -> None:
        """Read no more of the request's body: hang up after the answer instead."""
        self._lingering_time = 0.0

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Give our answer in place of aiohttp's, which quotes the request."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        if status >= 500:
            log_failure(exc)
        response = self._listener.unhandled(status)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log our line in place of aiohttp's."""
        del args
        log_failure(kw.get("exc_info"))


def log_failure(error: BaseException | None) -> None:
    """Log where it happened and its type; its words may quote the request."""
    where = "".join(traceback.format_tb(error.__traceback__)) if error is not None else ""
    log.error("request.failed", error=type(error).__name__, exception=where)


def _allowed_files(wanted: int) -> int:
    """The number of files that we may have open, after asking for `wanted`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
