"""The consumer's own HTTP: probes and metrics. They say nothing of the webhook: restarting us does not mend it."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from signalq.errors import SettingsError
from signalq.settings.sections import Ops

SHUTDOWN_TIMEOUT_S = 1.0


class OpsServer:
    """Serves while the service lives; `why_not_ready` returns None when it is ready, else why not."""

    def __init__(self, ops: Ops, *, why_not_ready: Callable[[], str | None], registry: CollectorRegistry) -> None:
        self._ops = ops
        self._why_not_ready = why_not_ready
        self._registry = registry
        app = web.Application()
        app.router.add_get("/startupz", self._startupz)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_TIMEOUT_S)

    async def start(self) -> int:
        """Listen; return the port (a free one where port 0 was asked for). Raises SettingsError."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._ops.host, self._ops.port).start()
        except OSError as error:
            raise SettingsError(
                f"ops.host {self._ops.host} port {self._ops.port} can't be listened on ({error.strerror}): "
                "set ops.port to another, or to 0 for a free one"
            ) from None
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening; also after a start that failed."""
        await self._runner.cleanup()

    async def _startupz(self, _request: web.Request) -> web.Response:
        """The settings are read, and the ledger is open and upgraded. A restart would not bring the broker back."""
        return web.Response(text="started\n")

    async def _healthz(self, _request: web.Request) -> web.Response:
        """The event loop runs: else this would not answer."""
        return web.Response(text="ok\n")

    async def _readyz(self, _request: web.Request) -> web.Response:
        why_not = self._why_not_ready()
        return web.Response(text=f"{why_not or 'ready'}\n", status=503 if why_not else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
