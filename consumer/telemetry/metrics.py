"""The consumer's metrics, listed in docs/operate/health-and-metrics.md."""

from collections.abc import Collection
from functools import cache, partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Besides the configured names, so many may label a metric: the first that had an accepted POST.
CONNECTOR_LABELS_MAX = 1000
LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
AGE_BUCKETS_S = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)


class Metrics:
    """The consumer's Prometheus metrics, on a registry of their own."""

    def __init__(self, configured_connectors: Collection[str]) -> None:
        self.registry = CollectorRegistry()
        self.configured_connectors = frozenset(configured_connectors)
        self._labels = set(configured_connectors)
        self._labels_max = len(self._labels) + CONNECTOR_LABELS_MAX
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        latency = partial(Histogram, registry=self.registry, buckets=LATENCY_BUCKETS_S)
        age = partial(Histogram, registry=self.registry, buckets=AGE_BUCKETS_S)
        self.intents = counter("signalq_intents", "Intents by what became of them", ["connector", "status", "reason"])
        self.attempts = counter("signalq_attempts", "POSTs begun or tried, by certainty", ["connector", "certainty"])
        self.limits_exceeded = counter(
            "signalq_limits_exceeded",
            "Intents POSTed although over a limit that is only reported",
            ["connector", "limit"],
        )
        # Every order counts under these: what counts under a set of labels is kept, and so bounded as the labels are.
        self.intents_with = cache(self.intents.labels)
        self.attempts_with = cache(self.attempts.labels)
        self.webhook_seconds = latency("signalq_webhook_seconds", "One POST with its answer")
        self.end_to_end_seconds = latency("signalq_end_to_end_seconds", "From creation, or due time, to the first POST")
        self.delay_error_seconds = latency("signalq_delay_error_seconds", "From due time to the first POST")
        self.receipt_age_seconds = age("signalq_receipt_age_seconds", "Age of an intent when it came in")
        self.ledger_commit_seconds = latency("signalq_ledger_commit_seconds", "One commit of the ledger")
        self.scheduled = gauge("signalq_scheduled", "Delayed intents that wait, as the ledger counts them")
        self.letters = gauge("signalq_letters", "Dead letters that nobody has replayed or discarded yet")
        self.oldest_letter_seconds = gauge("signalq_oldest_letter_seconds", "Age of the oldest of them; 0 of none")
        self.lane_paused = gauge(
            "signalq_lane_paused", "1 while the switch says paused; * is the one for all", ["connector"]
        )
        self.clock_skew_seconds = gauge(
            "signalq_clock_skew_seconds", "How far this machine's clock is ahead of another's", ["source"]
        )
        self.ledger_wal_bytes = gauge(
            "signalq_ledger_wal_bytes", "Size of the ledger's write-ahead log, where the ledger is a file"
        )
        self.in_flight = gauge("signalq_in_flight", "Intents in the consumer")
        self.broker_connected = gauge("signalq_broker_connected", "1 while consuming or standing by")
        self.spans_dropped = counter("signalq_spans_dropped", "Spans that were lost on their way to the collector")

    def configure(self, connectors: Collection[str]) -> None:
        """Take these names, which are configured now, as labels, too."""
        self._labels_max += len(set(connectors) - self._labels)
        self._labels |= set(connectors)

    def connector_label(self, connector: str) -> str:
        """The name as a label, or `other` for one that is neither configured nor among the first accepted."""
        return connector if connector in self._labels else "other"

    def note_accepted(self, connector: str) -> None:
        """Note an accepted POST for this connector: its name may be a label from now on, while there is room."""
        if len(self._labels) < self._labels_max:
            self._labels.add(connector)
