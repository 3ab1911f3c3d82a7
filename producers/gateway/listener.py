"""The gateway's connections: how many, how long they may say nothing, and what is told of those that speak no HTTP.

It stands in for aiohttp's own listening, which has no bound on connections and, of a request that is no HTTP, writes
the bytes that came into the answer and into the log: after a Content-Length that is too small these are an order's
body, token and all.
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

# Beyond that, the one that has been silent for longest makes room: without a bound, whoever opens many and says
# nothing takes the file descriptors that the link to RabbitMQ needs.
CONNECTIONS_MAX = 2_000
FILES_BESIDE = 100
# More than a proxy keeps its connections for (nginx 60 s, Caddy 120 s): it, not we, is to close them, or it sends an
# order into one that we are closing.
IDLE_S = 180.0
# For the answer to be read by somebody who is still sending.
LINGER_S = 2.0
# Connections that wait to be accepted, as far as the system lets them: who finds no room tries again after 1 s.
BACKLOG = 4_096
# Of these, so many are accepted in a round of the event loop, and so much is read of each connection: a flood of either
# leaves room for what came before it. (asyncio's own are BACKLOG and 256 KiB, which may hold thousands of tiny chunks.)
ACCEPTED_AT_ONCE = 8
READ_AT_ONCE_BYTES = 32_768
# Of a body that nobody reads yet about twice as much is taken off the connection.
BUFFERED_BYTES = 8_192
# At the end: for what is already on its way over an open connection.
FAREWELL_S = 0.5
# Of the event loop, from accepting a connection to its being one: asyncio drops what is not one yet when it closes.
ACCEPTING_ROUNDS = 3

log = structlog.get_logger()

# Makes the answer to what can't be handled, from its status and whether it is our fault.
Unhandled = Callable[[int], web.StreamResponse]


class Listener:
    """Listens between `start` and `close`; `unhandled` makes the answer where there is no request to handle."""

    def __init__(self, *, unhandled: Unhandled, connections_max: int = CONNECTIONS_MAX) -> None:
        self._unhandled = unhandled
        self._connections_max = min(connections_max, _allowed_files(connections_max + FILES_BESIDE) - FILES_BESIDE)
        # The longest silent first.
        self._open: OrderedDict[web.RequestHandler, None] = OrderedDict()
        self._busy: set[web.RequestHandler] = set()
        self._nobody_is_here = asyncio.Event()
        self._nobody_is_here.set()
        self._listening: asyncio.Server | None = None

    def __len__(self) -> int:
        return len(self._open)

    async def start(self, server: web.Server, host: str, port: int) -> int:
        """Listen for what `server` handles; return the port. Raises OSError or UnicodeError where that can't be."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(
            lambda: Connection(server, self), host, port, backlog=ACCEPTED_AT_ONCE
        )
        for listening in self._listening.sockets:
            with socket.socket(fileno=os.dup(listening.fileno())) as same:
                same.listen(BACKLOG)
        return int(self._listening.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Let nobody in any more; for FAREWELL_S, what still comes over open connections is taken."""
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
                await self._nobody_is_here.wait()

    def spoke(self, connection: web.RequestHandler) -> None:
        """A request came over it: it is the last to make room."""
        if connection in self._open:
            self._open.move_to_end(connection)

    @contextmanager
    def busy(self, connection: web.RequestHandler) -> Iterator[None]:
        """It makes room for nobody: an order of its is on the way."""
        self._busy.add(connection)
        try:
            yield
        finally:
            self._busy.discard(connection)

    def opened(self, connection: Connection) -> bool:
        """Whether there is room for it, or could be made."""
        if len(self._open) >= self._connections_max:
            silent = next((one for one in self._open if one not in self._busy), None)
            if silent is None:
                return False
            del self._open[silent]
            silent.force_close()
        self._open[connection] = None
        self._nobody_is_here.clear()
        return True

    def closed(self, connection: Connection) -> None:
        """It is gone."""
        self._open.pop(connection, None)
        if not self._open:
            self._nobody_is_here.set()

    def answer(self, status: int, error: BaseException | None) -> web.StreamResponse:
        """The answer to what aiohttp could not read, or to what we failed at."""
        if status >= 500:
            told_failure(error)
        return self._unhandled(status)


class Connection(web.RequestHandler):
    """One connection, which tells nobody's bytes to anybody."""

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
        """Take it, or hang up where there is no room."""
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            transport.max_size = READ_AT_ONCE_BYTES
        if not self._listener.opened(self):
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is gone."""
        self._listener.closed(self)
        super().connection_lost(exc)

    def leave_the_rest(self) -> None:
        """What is still to come of the request's body is not read: hang up after the answer instead."""
        self._lingering_time = 0.0

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Our answer in place of aiohttp's, which quotes what came."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer is sent already")
        response = self._listener.answer(status, exc)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Our line in place of aiohttp's."""
        del args
        told_failure(kw.get("exc_info"))


def told_failure(error: BaseException | None) -> None:
    """Log where it happened and of what kind it was; its words may quote what came."""
    where = "".join(traceback.format_tb(error.__traceback__)) if error is not None else ""
    log.error("request.failed", error=type(error).__name__, exception=where)


def _allowed_files(wanted: int) -> int:
    """How many files we may have open, after asking for as many as we want."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
