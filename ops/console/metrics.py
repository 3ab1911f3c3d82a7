"""The console's metrics, on a registry of their own; docs/operate/health-and-metrics.md lists them."""

from collections.abc import Callable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge


class ConsoleMetrics:
    """No label holds a name, an address or an id."""

    def __init__(self) -> None:
        self.registry = on = CollectorRegistry()
        self.requests = Counter("signalq_console_requests", "Requests by their answer", ["status"], registry=on)
        self.streams = Gauge("signalq_console_streams", "Browsers that follow the changes", registry=on)
        self._questions = Counter(
            "signalq_console_questions", "Questions to the ledger and to the broker", ["source"], registry=on
        )

    def asking(self, source: Literal["ledger", "broker"]) -> Callable[[], None]:
        """The counter of the questions to a source."""
        return self._questions.labels(source).inc
