"""The spans of a command, exported to its end where the environment asks for traces."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings
from signalq.traces.losses import Losses
from signalq.traces.process import exported

log = structlog.get_logger()


def _uncounted(_spans: int) -> None:
    """Most commands have no metrics."""


@contextmanager
def traced(settings: Settings) -> Iterator[None]:
    """A block whose spans are exported; those that are lost are told on standard error. Raises SettingsError."""
    with exported("signalq", namespace=settings.broker.prefix, losses=Losses(count=_uncounted, tell=_say_lost)):
        yield


@contextmanager
def traced_service(service: str, settings: Settings, count: Callable[[int], object] = _uncounted) -> Iterator[None]:
    """The same for a process that logs: what is lost is in the log, and `count` is told of it."""
    losses = Losses(count=count, tell=_log_lost)
    with exported(service, namespace=settings.broker.prefix, losses=losses) as export:
        if export is not None:
            log.info("traces.started", endpoint=export.shown_endpoint)
        yield


def _say_lost(why: str, spans: int) -> None:
    # Imported here: a publish needs none of it.
    from signalq.ops.terminal.render import say  # noqa: PLC0415

    say(f"{plural(spans, 'span')} of the traces could not be exported: {why}")


def _log_lost(why: str, spans: int) -> None:
    log.warning("traces.export_failed", why=why, spans=spans)
