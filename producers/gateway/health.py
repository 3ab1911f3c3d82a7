"""The gateway's metrics, on a registry of their own."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

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
        self.spans_dropped = Counter(
            "signalq_gateway_spans_dropped", "Spans that were lost on their way to the collector", registry=on
        )

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
