"""The export of spans by OTLP: at most QUEUE_MAX wait for it, no wait of it reaches an order, and losses are counted.

Only process.py imports this module, where traces are on: it loads OpenTelemetry.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from signalq.errors import SettingsError
from signalq.traces.afterwards import SpanMaker
from signalq.traces.collector import Collector
from signalq.traces.encoding import encoded
from signalq.traces.environment import OFF
from signalq.traces.losses import Losses
from signalq.version import __version__

# The standard's own size. Its processor drops what is more without saying how much.
QUEUE_MAX = 2_048
# At the end of a process; a collector that hangs is left then.
FLUSH_S = 2.0
TOLD_EVERY_S = 60.0
NOT_FLUSHED = f"the collector did not take them within {FLUSH_S:g} s at the end"
FULL = f"more than {QUEUE_MAX:,} waited for the collector"
BEFORE = "as it was told before"


class Export:
    """The export of this process's spans: those that `maker` makes, and those of the API, whose global provider it sets
    unless there is one already. Both are sampled as the environment says.
    """

    def __init__(self, service: str, *, namespace: str, shown_endpoint: str, losses: Losses) -> None:
        # Its own log would quote answers and addresses, and tell every attempt: what is lost is told here.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self.shown_endpoint = shown_endpoint
        self._queue = _Queue(losses)
        self._flushing: threading.Thread | None = None
        self._flushed_by_s = 0.0
        resource = _resource(service, namespace)
        self._collector = Collector()
        try:
            self._processor = _BoundedProcessor(_TellingExporter(self._collector, self._queue), self._queue)
            provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        except Exception as error:  # the SDK reads variables by itself, and raises anything
            why = f"OpenTelemetry takes an OTEL_ variable of the environment for wrong ({type(error).__name__})"
            raise SettingsError(f"{why}: check them, or {OFF}") from error
        provider.add_span_processor(self._processor)
        self.maker = SpanMaker(provider.sampler, resource, self._processor.on_end)
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            trace.set_tracer_provider(provider)

    def begin_flush(self) -> None:
        """Export what waits, and nothing more, beside whatever else ends; `close` waits for it."""
        if self._flushing is None:
            self._flushed_by_s = time.monotonic() + FLUSH_S
            self._collector.hurry()
            # A daemon: nothing waits for a collector that hangs, the interpreter's end included.
            self._flushing = threading.Thread(target=self._processor.shutdown, name="flush traces", daemon=True)
            self._flushing.start()

    def close(self) -> None:
        """Return once what waits is exported, or FLUSH_S after that began: the rest is lost, and told."""
        self.begin_flush()
        if self._flushing is not None:
            self._flushing.join(max(0.0, self._flushed_by_s - time.monotonic()))
        self._queue.close()


class _Queue:
    """The spans that wait or are on their way, counted: at most QUEUE_MAX. Several threads use it."""

    def __init__(self, losses: Losses) -> None:
        self._losses = losses
        self._lock = threading.Lock()
        self._waiting = 0
        # Lost, and not told yet.
        self._untold = 0
        self._told_s = float("-inf")
        self._is_closed = False

    def takes_one(self) -> bool:
        """Whether there is room for one more, which has it then."""
        with self._lock:
            if self._waiting < QUEUE_MAX and not self._is_closed:
                self._waiting += 1
                return True
        self._lose(1, FULL)
        return False

    def exported(self, spans: int) -> None:
        """The collector has so many."""
        with self._lock:
            self._waiting -= spans

    def failed(self, spans: int, why: str) -> None:
        """The collector does not take so many, which are not sent again."""
        self.exported(spans)
        self._lose(spans, why)

    def close(self) -> None:
        """Give up on all that waits: it is lost, and told with what was not told yet. Afterwards nothing is told."""
        with self._lock:
            spans, self._waiting = self._waiting, 0
            untold, self._untold, self._is_closed = self._untold + spans, 0, True
        if spans:
            self._losses.count(spans)
        if untold:
            self._losses.tell(NOT_FLUSHED if spans else BEFORE, untold)

    def _lose(self, spans: int, why: str) -> None:
        """Count them, and tell them: at once, then at most every TOLD_EVERY_S."""
        with self._lock:
            if self._is_closed:
                return
            self._untold += spans
            now_s, untold = time.monotonic(), 0
            if now_s - self._told_s >= TOLD_EVERY_S:
                self._told_s, untold, self._untold = now_s, self._untold, 0
        self._losses.count(spans)
        if untold:
            self._losses.tell(why, untold)


class _BoundedProcessor(BatchSpanProcessor):
    """Exports in batches, in a thread of its own; what there is no room for is dropped before."""

    def __init__(self, exporter: SpanExporter, queue: _Queue) -> None:
        self._bound = queue
        super().__init__(exporter, max_queue_size=QUEUE_MAX)

    def on_end(self, span: ReadableSpan) -> None:
        """See SpanProcessor."""
        if span.context is not None and span.context.trace_flags.sampled and self._bound.takes_one():
            super().on_end(span)


class _TellingExporter(SpanExporter):
    """Hands batches to the collector, and tells the queue what became of each."""

    def __init__(self, collector: Collector, queue: _Queue) -> None:
        self._collector = collector
        self._queue = queue

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See SpanExporter."""
        try:
            why = self._collector.take(encoded(spans))
        except Exception as error:  # noqa: BLE001 - a thread that ends exports nothing more
            why = f"it can't be sent ({type(error).__name__})"
        if why is None:
            self._queue.exported(len(spans))
            return SpanExportResult.SUCCESS
        self._queue.failed(len(spans), why)
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """See SpanExporter."""
        self._collector.close()


def _resource(service: str, namespace: str) -> Resource:
    """This process, as the environment names it, else by our names."""
    ours = Resource(
        {
            "service.name": service,
            "service.version": __version__,
            "service.namespace": namespace,
            # As the ledger has it of a consumer.
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        }
    )
    return Resource.create(ours.merge(OTELResourceDetector().detect()).attributes)
