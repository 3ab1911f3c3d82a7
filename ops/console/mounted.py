"""The console in a consumer, at the consumer's own address: loaded when it is first asked for, shed before it can slow
an order, and ended first.

Nothing that the pages need is imported with this module.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from signalq.ops.console.address import address, say_address
from signalq.ops.console.gate.guard import adding_headers
from signalq.ops.console.shed import STREAMS_MAX, Shed
from signalq.ops.terminal import one_time_link
from signalq.settings.sections import Settings
from signalq.version import how_to_install

if TYPE_CHECKING:
    from signalq.ops.console.site import Site

# Of a drain, which closes it beside the orders, so much is left for it at most.
CLOSE_S = 2.0
ENDING = "this consumer ends: `signalq console` goes on without it\n"
ELSEWHERE = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>signalq</title></head>
<body><h1>signalq</h1><p>{}</p></body>
</html>
"""
NOWHERE = "This consumer has no console (ops.console is false): <code>signalq console</code> is one."


class Mounted:
    """The pages of a consumer (signalq.consumer.telemetry.health.Pages).

    `settings` gives those in force, `has_orders` whether the consumer has any; `config` is the settings file that was
    named, if one was.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        has_orders: Callable[[], bool] = lambda: True,
        *,
        config: Path | None = None,
    ) -> None:
        self._settings = settings
        self._config = config
        self._link = one_time_link.take_secret()
        self._port = 0
        self._shed = Shed(has_orders)
        self._loading: asyncio.Task[Site] | None = None
        self._site: Site | None = None
        self._closing: list[asyncio.Task[None]] = []
        self._is_draining = False

    def add_to(self, app: web.Application) -> None:
        """Add the console to the probes; with `ops.console = false` a page that says where it is."""
        app.on_response_prepare.append(adding_headers(self._settings))
        if self._settings().ops.console:
            app.router.add_route("*", "/{path:.*}", self._answer)
            app.on_cleanup.append(self._close)
        else:
            app.router.add_get("/", self._elsewhere)

    def listening(self, port: int) -> str | None:
        """Take note of the port; tell a person where the console is. Returns its address, None if it is not known."""
        settings, self._port = self._settings(), port
        if not settings.ops.console:
            return settings.console.url
        say_address(settings, settings.ops.host, port, self._link if settings.ops.token is None else None)
        return address(settings, settings.ops.host, port)

    def drain(self) -> None:
        """End the streams, answer no more, and begin to close what was opened: beside the orders that finish."""
        self._is_draining = True
        self._shed.close()
        if self._site is not None:
            self._site.end_streams()
            self._closing.append(asyncio.create_task(self._site.close(CLOSE_S), name="console: close"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if self._is_draining:
            return web.Response(text=ENDING, status=503)
        if self._site is None:
            if self._loading is None:
                self._loading = asyncio.create_task(self._load(), name="console: load")
            try:
                self._site = await asyncio.shield(self._loading)
            except ModuleNotFoundError as error:
                why = f"the console needs the package {error.name}, which is not installed: {how_to_install('ops')}\n"
                return web.Response(text=why, status=503)
        return await self._site.answer(request)

    async def _load(self) -> Site:
        """Import and make it. The imports are in a thread, which takes turns with the orders."""
        await asyncio.to_thread(_import)
        from signalq.ops.console.desk import Desk, Host  # noqa: PLC0415 - imported by now
        from signalq.ops.console.site import Site  # noqa: PLC0415

        # All of that lives to the end: searched for garbage again and again, it would hold orders up.
        gc.freeze()
        host = Host(is_consumer=True, host=self._settings().ops.host, port=self._port)
        desk = Desk(self._settings, host, link=self._link, config=self._config, may_look=lambda: not self._shed.is_busy)
        return Site(desk, shed=self._shed, streams_max=STREAMS_MAX)

    async def _elsewhere(self, _request: web.Request) -> web.Response:
        """Say where the console is."""
        url = self._settings().console.url
        where = NOWHERE if url is None else f'The console is at <a href="{escape(url)}">{escape(url)}</a>.'
        return web.Response(text=ELSEWHERE.format(where), content_type="text/html")

    async def _close(self, _app: web.Application) -> None:
        """Close what was opened, also by the last requests while the consumer drained."""
        self.drain()
        loading = [self._loading] if self._loading is not None else []
        for task in loading:
            task.cancel()
        await asyncio.gather(*loading, *self._closing, return_exceptions=True)


def _import() -> None:
    """Import what the pages need, and make ready what would take its time at the first of them."""
    from signalq.ops.console.site import warm_up  # noqa: PLC0415

    warm_up()
