"""The probes and the metrics of a process, by HTTP: /startupz, /healthz, /readyz and /metrics."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4


def add_health(app: web.Application, *, why_not_ready: Callable[[], str | None], registry: CollectorRegistry) -> None:
    """Add the routes; `why_not_ready` returns None when the process is ready, else why not."""

    async def startupz(_request: web.Request) -> web.Response:
        """Answer from the start on: the process listens once its settings are read. A restart brings no broker back."""
        return web.Response(text="started\n")

    async def healthz(_request: web.Request) -> web.Response:
        """Answer while the event loop runs."""
        return web.Response(text="ok\n")

    async def readyz(_request: web.Request) -> web.Response:
        why_not = why_not_ready()
        return web.Response(text=f"{why_not or 'ready'}\n", status=503 if why_not else 200)

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    app.router.add_get("/startupz", startupz)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics)
