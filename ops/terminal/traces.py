"""The spans of a command, exported to its end where the environment asks for traces."""

from collections.abc import Iterator
from contextlib import contextmanager

from signalq.ops.terminal.plain import plural
from signalq.settings.sections import Settings
from signalq.traces.losses import Losses
from signalq.traces.process import exported


@contextmanager
def traced(settings: Settings) -> Iterator[None]:
    """A block whose spans are exported; those that are lost are told on standard error. Raises SettingsError."""
    with exported("signalq", namespace=settings.broker.prefix, losses=Losses(count=_uncounted, tell=_say_lost)):
        yield


def _uncounted(_spans: int) -> None:
    """A command has no metrics."""


def _say_lost(why: str, spans: int) -> None:
    # Imported here: a publish needs none of it.
    from signalq.ops.terminal.render import say  # noqa: PLC0415

    say(f"{plural(spans, 'span')} of the traces could not be exported: {why}")
