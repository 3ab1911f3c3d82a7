"""The gateway's metrics, on a registry of their own, and its /startupz, /healthz, /readyz and /metrics."""

from collections.abc import Callable, Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONFIRM_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3)


class GatewayMetrics:
    """No label holds an id; `connector` is a configured name, else `other`."""

    def __init__(self, is_configured: Callable[[str], bool]) -> None:
        self._is_configured = is_configured
        self.registry = on = CollectorRegistry()
        self._requests = Counter(
            "signalq_gateway_requests", "Requests by their answer", ["connector", "status"], registry=on
        )
        self._orders = Counter("signalq_gateway_orders", "Orders that were answered ok", ["connector"], registry=on)
        self.repeats = Counter(
            "signalq_gateway_repeats", "Requests taken for a repeat of one that was not answered ok", registry=on
        )
        self.confirm_seconds = Histogram(
            "signalq_gateway_confirm_seconds",
            "From a request to its confirm by the broker",
            buckets=CONFIRM_BUCKETS_S,
            registry=on,
        )
        self.broker_connected = Gauge(
            "signalq_gateway_broker_connected", "1 while alerts can be published", registry=on
        )
        self.connections = Gauge("signalq_gateway_connections", "Open connections", registry=on)
        self.in_flight = Gauge("signalq_gateway_in_flight", "Requests being answered", registry=on)

    def answered(self, status: int, *connectors: str | None) -> None:
        """Count a request that was answered, once for each connector that it has orders for."""
        for label in {self._label(connector) for connector in connectors}:
            self._requests.labels(label, str(status)).inc()

    def published(self, connectors: Iterable[str]) -> None:
        """Count the orders of a request that was answered `ok`."""
        for connector in connectors:
            self._orders.labels(self._label(connector)).inc()

    def _label(self, connector: str | None) -> str:
        return connector if connector is not None and self._is_configured(connector) else "other"


def add_health(app: web.Application, *, why_not_ready: Callable[[], str | None], registry: CollectorRegistry) -> None:
    """Add the routes; `why_not_ready` returns None when the gateway is ready."""

    async def startupz(_request: web.Request) -> web.Response:
        """Answer from the start on: the gateway listens once its settings are read. The broker does not matter here."""
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
