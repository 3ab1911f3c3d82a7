"""The consumer's own HTTP: probes and metrics. They say nothing of the webhook: restarting us does not mend it.

Further pages may stand beside them; the consumer knows nothing of them.
"""

from collections.abc import Callable
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry

from signalq.errors import SettingsError
from signalq.health import add_health
from signalq.kinds import Kind
from signalq.settings.processes import Ops

SHUTDOWN_TIMEOUT_S = 1.0
LINGER_S = 2.0


class Pages(Protocol):
    """Pages beside the probes, such as the console."""

    def add_to(self, app: web.Application) -> None:
        """Add the routes, behind those of the probes."""

    def listening(self, port: int) -> str | None:
        """Take note of the port that is listened on; return the address of the pages, for people."""

    def drain(self) -> None:
        """End at once what goes on for long: the consumer drains."""


class OpsServer:
    """Serves while the service lives; `why_not_ready` returns None when it is ready, else why not."""

    def __init__(
        self,
        ops: Ops,
        *,
        why_not_ready: Callable[[], str | None],
        registry: CollectorRegistry,
        pages: Pages | None = None,
    ) -> None:
        self._ops = ops
        self._pages = pages
        # The address of the pages, once it is listened on.
        self.pages_at: str | None = None
        app = web.Application()
        add_health(app, why_not_ready=why_not_ready, registry=registry)
        if pages is not None:
            pages.add_to(app)
        # A body that nobody wants is neither decompressed nor waited for.
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=SHUTDOWN_TIMEOUT_S,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )

    async def start(self) -> int:
        """Listen; return the port (a free one where port 0 was asked for). Raises SettingsError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._ops.host, self._ops.port).start()
        except OSError as error:
            raise SettingsError(
                f"ops.host {self._ops.host} port {self._ops.port} can't be listened on ({error.strerror}): "
                "set ops.port to another, or to 0 for a free one",
                kind=Kind.CANNOT_LISTEN,
            ) from None
        port = int(self._runner.addresses[0][1])
        if self._pages is not None:
            self.pages_at = self._pages.listening(port)
        return port

    def drain(self) -> None:
        """End the pages; the probes go on, and say that the consumer drains."""
        if self._pages is not None:
            self._pages.drain()

    async def stop(self) -> None:
        """Stop listening; also after a start that failed."""
        await self._runner.cleanup()
