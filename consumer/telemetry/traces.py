"""The traces of orders: off, unless the environment asks for them; then spans.py makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from signalq.consumer.broker.session import Delivery
from signalq.consumer.telemetry.metrics import Metrics
from signalq.settings.sections import Settings
from signalq.traces.losses import Losses
from signalq.traces.process import exported

log = structlog.get_logger()


class Traces:
    """Makes spans of deliveries; this class makes none."""

    def begin(self, delivery: Delivery) -> Delivery:
        """The delivery as it is to be handled: its steps are noted, where its spans will be made of them."""
        return delivery

    def end(self, delivery: Delivery) -> None:
        """Make the spans of a delivery that is acknowledged, or let go."""

    def begin_flush(self) -> None:
        """No more deliveries come: export what waits, beside whatever else ends."""


NO_TRACES = Traces()


@asynccontextmanager
async def traces_of(settings: Settings, metrics: Metrics) -> AsyncIterator[Traces]:
    """The traces of a consumer; let its block be the outermost. At its end what is not exported yet may keep the loop
    to itself for FLUSH_S from `begin_flush` on. Raises SettingsError.
    """
    losses = Losses(count=metrics.spans_dropped.inc, tell=_log_lost)
    with exported("signalq-consumer", namespace=settings.broker.prefix, losses=losses) as export:
        if export is None:
            yield NO_TRACES
            return
        # Imported here: it loads OpenTelemetry.
        from signalq.consumer.telemetry.spans import OrderTraces  # noqa: PLC0415

        log.info("traces.started", endpoint=export.shown_endpoint)
        yield OrderTraces(settings, export.maker, export.begin_flush)


def _log_lost(why: str, spans: int) -> None:
    log.warning("traces.export_failed", why=why, spans=spans)
