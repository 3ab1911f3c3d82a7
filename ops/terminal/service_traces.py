"""The spans of a process that logs, exported while it runs where its environment asks for traces."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from signalq.settings.sections import Settings
from signalq.traces.losses import Losses
from signalq.traces.process import exported

log = structlog.get_logger()


def _uncounted(_spans: int) -> None:
    """The console has no metric of them."""


@contextmanager
def traced_service(service: str, settings: Settings, count: Callable[[int], object] = _uncounted) -> Iterator[None]:
    """A block whose spans are exported; those that are lost are in the log, and `count` is told of them.

    Raises SettingsError.
    """
    losses = Losses(count=count, tell=_log_lost)
    with exported(service, namespace=settings.broker.prefix, losses=losses) as export:
        if export is not None:
            log.info("traces.started", endpoint=export.shown_endpoint)
        yield


def _log_lost(why: str, spans: int) -> None:
    log.warning("traces.export_failed", why=why, spans=spans)
