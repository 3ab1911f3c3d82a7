"""The site: answers every request of the console, in whichever process it is."""

import asyncio
from contextlib import suppress
from typing import cast

from aiohttp import web

from signalq.amqp.connection import is_connection_error
from signalq.ops.console.desk import Desk
from signalq.ops.console.gate.access import NOBODY, WHO_ARE_YOU, Viewer
from signalq.ops.console.gate.errors import Busy, NotAllowed, Refused
from signalq.ops.console.gate.guard import READS, add_headers, check_request, check_site
from signalq.ops.console.gate.routes import HEAD_PART, PARTS, Route, find_route, path_below
from signalq.ops.console.gate.sessions import Role
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.pages.static import files
from signalq.ops.console.refusals import Refusals, wants_page
from signalq.ops.console.rendering.render import environment, url
from signalq.ops.console.rendering.shared_parts import SharedParts
from signalq.ops.console.shed import Shed
from signalq.ops.console.view import View
from signalq.ops.terminal import escaping
from signalq.settings.sections import Settings

RANK: dict[Role, int] = {"nobody": 0, "view": 1, "operate": 2}
# Browsers that follow the changes, where the console has a process of its own.
STREAMS_MAX = 200


class Site:
    """`answer` is the handler of every path that its host has no other one for; `shed` bounds its share of the host."""

    def __init__(self, desk: Desk, *, shed: Shed | None = None, streams_max: int = STREAMS_MAX) -> None:
        self._desk = desk
        self._shed = shed
        self._streams_max = streams_max
        self._streams: set[asyncio.Task[object]] = set()
        self._has_ended = False
        self._shared = SharedParts()
        self._refusals = Refusals(desk)
        self._blanked: Settings | None = None
        desk.metrics.streams.set_function(lambda: len(self._streams))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer; an error becomes a page of ours, or a sentence."""
        self._blank_secrets()
        viewer = NOBODY
        try:
            check_request(request, self._desk.settings)
            viewer = await self._desk.access.viewer_of(request)
            if not viewer.is_program:
                check_site(request, self._desk.settings)
            response = await self._routed(request, viewer)
        except asyncio.CancelledError as error:
            # The client library for the broker cancels what waits for it when a connection ends.
            if not is_connection_error(error):
                raise
            response = self._failed(request, viewer, Refused("the connection to RabbitMQ ended", 503))
        except Exception as error:  # noqa: BLE001 - one that nobody foresaw is logged there
            response = self._failed(request, viewer, error)
        return self._finished(request, viewer, response)

    def end_streams(self) -> None:
        """End all answers that go on, and begin no more."""
        self._has_ended = True
        for task in self._streams:
            task.cancel()

    async def close(self, timeout_s: float) -> None:
        """End the streams, and close what was opened; what does not close in time is left."""
        self.end_streams()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._desk.close()

    async def _routed(self, request: web.Request, viewer: Viewer) -> web.StreamResponse:
        path = path_below(self._desk.base, request.rel_url.raw_path)
        route, parts = find_route(ROUTES, request.method, path)
        if RANK[viewer.role] < RANK[route.needs]:
            return self._stranger(request, viewer, path)
        if route.needs == "nobody":
            # The moment is nobody's business.
            return await route.handler(View(request, self._desk, viewer, parts, Snapshot()))
        if self._shed is not None:
            self._shed.admit(is_urgent=route.is_urgent)
        snapshot = await self._desk.watch.snapshot()
        if not path.startswith(PARTS) or request.method not in READS:
            return await self._made(route, View(request, self._desk, viewer, parts, snapshot))
        shown = viewer if path == HEAD_PART else viewer.unnamed()
        view = View(request, self._desk, shown, parts, snapshot)
        key = (request.rel_url.raw_path_qs, shown, self._desk.own_changes)
        return await self._shared.part(key, snapshot.number, lambda: self._made(route, view))

    async def _made(self, route: Route, view: View) -> web.StreamResponse:
        """The answer of a route, in its turn."""
        if route.streams:
            return await self._streamed(route, view)
        if route.method == "POST":
            try:
                return await route.handler(view)
            finally:
                self._shared.forget()
        if self._shed is not None and not route.is_urgent:
            await self._shed.turn()
        return await route.handler(view)

    async def _streamed(self, route: Route, view: View) -> web.StreamResponse:
        """An answer that goes on until the browser, or this process, ends it."""
        if self._has_ended:
            raise Busy("this console ends")
        if len(self._streams) >= self._streams_max:
            raise Busy(f"{self._streams_max} browsers follow the changes here already", retry_after_s=10)
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._streams.add(task)
        try:
            return await route.handler(view)
        finally:
            self._streams.discard(task)

    def _stranger(self, request: web.Request, viewer: Viewer, path: str) -> web.StreamResponse:
        """Lead a person to the sign-in. Raises Refused for a program, a script, and a known viewer who may not."""
        if viewer.role != "nobody":
            raise NotAllowed(viewer.why_not or "you may not do that")
        is_document = request.headers.get("Sec-Fetch-Dest", "document") == "document" and not path.startswith(PARTS)
        if request.method == "GET" and wants_page(request) and is_document:
            query = request.rel_url.raw_query_string
            asked = f"{path}?{query}" if query else path
            there = url(self._desk.base, "/sign-in", next=asked if asked != "/" else None)
            return web.Response(status=303, headers={"Location": there})
        raise Refused("sign in first, or send the token as `Authorization: Bearer …`", 401, headers=WHO_ARE_YOU)

    def _failed(self, request: web.Request, viewer: Viewer, error: Exception) -> web.StreamResponse:
        """The page of an error; none where a part of an answer is sent already, as of a stream or a long file."""
        if not _has_begun(request):
            return self._refusals.answer(request, viewer, self._refusals.of(request, error))
        # A browser that went is no failure.
        if not isinstance(error, ConnectionError):
            self._refusals.of(request, error)
        return _hung_up(request)

    def _finished(self, request: web.Request, viewer: Viewer, response: web.StreamResponse) -> web.StreamResponse:
        if _is_known(request, response):
            response = web.Response(status=304, headers={"ETag": response.headers["ETag"]})
        self._desk.metrics.requests.labels(str(response.status)).inc()
        if response.prepared:
            return response
        # An answer that anybody may keep, such as a static file, is no place for a cookie.
        if viewer.session is not None and "Cache-Control" not in response.headers:
            self._desk.access.sessions.renew(request, response, viewer.session)
        add_headers(request, response, self._desk.settings)
        return response

    def _blank_secrets(self) -> None:
        """Let no page show a secret of the settings in force."""
        settings = self._desk.settings
        if settings is not self._blanked:
            escaping.secrets.learn(settings.secret_values(), names=settings.shown_names())
            self._blanked = settings


def warm_up() -> None:
    """Compile the templates and read the static files, which the first pages would wait for."""
    for name in environment().list_templates():
        environment().get_template(name)
    files()


def _is_known(request: web.Request, response: web.StreamResponse) -> bool:
    """Whether the browser has this page already. A proxy that compresses has weakened its ETag."""
    etag = response.headers.get("ETag")
    if response.status != 200 or request.method not in READS or etag is None:
        return False
    return any(f'"{known.value}"' == etag for known in request.if_none_match or ())


def _has_begun(request: web.Request) -> bool:
    """Whether a part of an answer is sent."""
    sent = request.writer.output_size
    return isinstance(sent, int) and sent > 0


def _hung_up(request: web.Request) -> web.StreamResponse:
    """Hang up. The answer that this returns goes nowhere."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
