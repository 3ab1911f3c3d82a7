"""Logs and metrics. Events are noun.past_verb; no payload and no secret is ever in a field.

The event names and their fields are listed in docs/operate/log-events.md.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Collection
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from structlog.typing import EventDict, Processor

from signalq.secrets.blanking import Blanker

# Names that may label a metric besides the configured ones: the first that had an accepted POST.
CONNECTOR_LABELS_MAX = 1000
LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
AGE_BUCKETS_S = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
EVENT_NAME = re.compile(r"[a-z_]+\.[a-z_]+")
# Libraries log whole AMQP frames, bodies and all, at debug; theirs are kept above that whatever our level is.
LIBRARY_LEVEL = logging.WARNING
# These report every lost connection as an error, with a traceback; broker.lane_lost tells it in one line.
TOLD_BY_US = ("aio_pika", "aiormq")


def configure_logging(*, form: str | None, level: str, blanker: Blanker) -> Masker:
    """Log to stderr, one object a line (`json`) or for people (`console`, the default on a terminal).

    What the `blanker` knows is blanked wherever it turns up, in the libraries' messages too; further secrets are given
    to what this returns.
    """
    masker = Masker(blanker)
    console = form == "console" or (form is None and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        masker,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer(ensure_ascii=False)
    )
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=LIBRARY_LEVEL, force=True)
    logging.captureWarnings(capture=True)  # Python's own would be printed as they are, between our lines
    for library in TOLD_BY_US:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    return masker


class Masker:
    """Escapes control characters (foreign text must not draw on a terminal) and blanks known secrets."""

    def __init__(self, blanker: Blanker) -> None:
        self._blanker = blanker

    def blank(self, secrets: Collection[str], names: Collection[str] = ()) -> None:
        """Blank these as well, from now on."""
        self._blanker.learn(secrets, names=names)

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        # As a rule there is nothing to do, which is seen at once over all of it.
        whole = " ".join([value for key, value in event.items() if type(value) is str and key not in _OURS])
        is_flat = not any(type(value) in {list, tuple} for value in event.values())
        if is_flat and whole.isprintable() and "://" not in whole and not self._blanker.finds(whole):
            return event
        for key, value in event.items():
            if isinstance(value, str) and not _is_our_own(key, value):
                event[key] = self._clean(value, lines=key == "exception")
            elif isinstance(value, (list, tuple)):
                event[key] = [self._clean(one, lines=False) if isinstance(one, str) else one for one in value]
        return event

    def _clean(self, text: str, *, lines: bool) -> str:
        text = self._blanker(text)
        if text.isprintable():
            return text
        return "".join(c if c.isprintable() or (lines and c == "\n") else ascii(c)[1:-1] for c in text)


_OURS = frozenset({"level", "timestamp"})


def _is_our_own(key: str, value: str) -> bool:
    """What holds no secret, and must be found in the log also where some secret is a single letter."""
    return key in _OURS or (key == "event" and EVENT_NAME.fullmatch(value) is not None)


class Metrics:
    """The consumer's Prometheus metrics, on a registry of their own."""

    def __init__(self, configured_connectors: Collection[str]) -> None:
        self.registry = CollectorRegistry()
        self.configured_connectors = frozenset(configured_connectors)
        self._labels = set(configured_connectors)
        self._labels_max = len(self._labels) + CONNECTOR_LABELS_MAX
        self.intents = self._make(
            Counter, "signalq_intents", "Intents by what became of them", ["connector", "status", "reason"]
        )
        self.attempts = self._make(
            Counter, "signalq_attempts", "POSTs begun or tried, by certainty", ["connector", "certainty"]
        )
        self.limits_exceeded = self._make(
            Counter,
            "signalq_limits_exceeded",
            "Intents POSTed although over a limit that is only reported",
            ["connector", "limit"],
        )
        self.webhook_seconds = self._make(
            Histogram, "signalq_webhook_seconds", "One POST with its answer", buckets=LATENCY_BUCKETS_S
        )
        self.end_to_end_seconds = self._make(
            Histogram,
            "signalq_end_to_end_seconds",
            "From creation, or due time, to the first POST",
            buckets=LATENCY_BUCKETS_S,
        )
        self.delay_error_seconds = self._make(
            Histogram, "signalq_delay_error_seconds", "From due time to the first POST", buckets=LATENCY_BUCKETS_S
        )
        self.receipt_age_seconds = self._make(
            Histogram, "signalq_receipt_age_seconds", "Age of an intent when it came in", buckets=AGE_BUCKETS_S
        )
        self.ledger_commit_seconds = self._make(
            Histogram, "signalq_ledger_commit_seconds", "One commit of the ledger", buckets=LATENCY_BUCKETS_S
        )
        self.scheduled = self._make(Gauge, "signalq_scheduled", "Delayed intents that wait, as the ledger counts them")
        self.lane_paused = self._make(
            Gauge, "signalq_lane_paused", "1 while the switch says paused; * is the one for all", ["connector"]
        )
        self.clock_skew_seconds = self._make(
            Gauge, "signalq_clock_skew_seconds", "How far this machine's clock is ahead of another's", ["source"]
        )
        self.ledger_wal_bytes = self._make(
            Gauge, "signalq_ledger_wal_bytes", "Size of the ledger's write-ahead log, where the ledger is a file"
        )
        self.in_flight = self._make(Gauge, "signalq_in_flight", "Intents in the consumer")
        self.broker_connected = self._make(Gauge, "signalq_broker_connected", "1 while consuming or standing by")

    def configure(self, connectors: Collection[str]) -> None:
        """These are configured now: their names are labels, besides those that are already."""
        self._labels_max += len(set(connectors) - self._labels)
        self._labels |= set(connectors)

    def connector_label(self, connector: str) -> str:
        """The name as a label, or `other` for one that is neither configured nor among the first accepted."""
        return connector if connector in self._labels else "other"

    def note_accepted(self, connector: str) -> None:
        """A POST for this connector was accepted: its name may be a label from now on, while there is room."""
        if len(self._labels) < self._labels_max:
            self._labels.add(connector)

    def _make(self, kind: Any, name: str, text: str, labels: Collection[str] = (), **options: Any) -> Any:
        return kind(name, text, labels, registry=self.registry, **options)
