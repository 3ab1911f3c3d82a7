"""The gateway's Prometheus metrics, on a registry of their own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONFIRM_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3)


class GatewayMetrics:
    """No label holds an id; `connector` is a configured name, else `other`."""

    def __init__(self, is_configured: Callable[[str], bool]) -> None:
        self.registry = CollectorRegistry()
        self._is_configured = is_configured
        self._requests = Counter(
            "signalq_gateway_requests", "Requests by their answer", ["connector", "status"], registry=self.registry
        )
        self.repeats = Counter(
            "signalq_gateway_repeats",
            "Alerts taken for a repeat of one that was not answered ok",
            registry=self.registry,
        )
        self.confirm_seconds = Histogram(
            "signalq_gateway_confirm_seconds",
            "From a request to its confirm by the broker",
            buckets=CONFIRM_BUCKETS_S,
            registry=self.registry,
        )
        self.broker_connected = Gauge(
            "signalq_gateway_broker_connected", "1 while alerts can be published", registry=self.registry
        )
        self.connections = Gauge("signalq_gateway_connections", "Open connections", registry=self.registry)
        self.in_flight = Gauge("signalq_gateway_in_flight", "Requests being answered", registry=self.registry)

    def answered(self, connector: str | None, status: int) -> None:
        """A request was answered."""
        label = connector if connector is not None and self._is_configured(connector) else "other"
        self._requests.labels(label, str(status)).inc()
