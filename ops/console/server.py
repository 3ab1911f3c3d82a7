"""The console's own HTTP, where it has a process of its own: its pages, the probes, and the metrics.

The listener is the gateway's: it bounds the connections, and copies no bytes of a request into an answer.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from aiohttp import web

from signalq.errors import SettingsError
from signalq.health import add_health
from signalq.kinds import Kind
from signalq.ops.console.desk import Desk, Host
from signalq.ops.console.gate.guard import HEADERS, SERVER, adding_headers
from signalq.ops.console.site import Site
from signalq.ops.console.view import FORM_BYTES_MAX
from signalq.producers.gateway.listener import Listener
from signalq.settings.sections import Settings

STOP_TIMEOUT_S = 1.0
# For a job to come to the end of its step, and for connections to be closed.
CLOSE_S = 5.0


class ConsoleServer:
    """Serves between `start` and `stop`.

    `settings` gives those in force, `config` is the settings file that was named, if one was.
    """

    def __init__(self, settings: Callable[[], Settings], *, config: Path | None = None) -> None:
        ours = settings().console
        self._host, self._port = ours.host, ours.port
        host = Host(is_consumer=False, host=ours.host, port=ours.port)
        self.desk = Desk(settings, host, config=config)
        self.site = Site(self.desk)
        self._is_stopping = False
        self._listener = Listener(_unreadable)
        self._runner = web.AppRunner(self._application(settings), access_log=None, shutdown_timeout=STOP_TIMEOUT_S)

    async def start(self) -> int:
        """Listen; return the port. Raises SettingsError if that is not possible."""
        await self._runner.setup()
        try:
            return await self._listener.start(cast("web.Server", self._runner.server), self._host, self._port)
        except (OSError, UnicodeError) as error:
            await self._runner.cleanup()
            why = error.strerror if isinstance(error, OSError) else "it is no name of a host"
            raise SettingsError(
                f"console.host {self._host} port {self._port} can't be listened on ({why or error}): set console.port "
                "to another, or to 0 for a free one",
                kind=Kind.CANNOT_LISTEN,
            ) from None

    async def stop(self) -> None:
        """End the streams first, then take no new connection, answer what is here, and close what was opened."""
        self._is_stopping = True
        self.site.end_streams()
        await self._listener.close()
        await self._runner.cleanup()
        await self.site.close(CLOSE_S)

    def _application(self, settings: Callable[[], Settings]) -> web.Application:
        app = web.Application(client_max_size=FORM_BYTES_MAX)
        app.on_response_prepare.append(adding_headers(settings))
        add_health(app, why_not_ready=self._why_not_ready, registry=self.desk.metrics.registry)
        app.router.add_route("*", "/{path:.*}", self.site.answer)
        return app

    def _why_not_ready(self) -> str | None:
        """Ready without a ledger and a broker, too: people come here to learn what is away."""
        return "stopping" if self._is_stopping else None


def _unreadable(status: int) -> web.StreamResponse:
    """The answer to bytes that are no proper HTTP, and to a request at which the server failed."""
    why = "the request is not proper HTTP/1.1" if status < 500 else "the console failed at this request: see its log"
    return web.Response(text=f"{why}\n", status=status, headers={**HEADERS, "Server": SERVER})
