"""The spans of a process: exported while it runs, where its environment asks for that; else OpenTelemetry stays out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from signalq.errors import SettingsError
from signalq.kinds import Kind
from signalq.traces.environment import OFF, wanted_by
from signalq.traces.losses import Losses
from signalq.version import how_to_install

if TYPE_CHECKING:
    from signalq.traces.export import Export


@contextmanager
def exported(service: str, *, namespace: str, losses: Losses) -> Iterator[Export | None]:
    """Export the spans that this process makes, and at the end those that wait, for at most FLUSH_S; None: traces are
    off. `service` and `namespace` name the process unless the environment does. Raises SettingsError.
    """
    wanted = wanted_by(os.environ)
    if wanted is None:
        yield None
        return
    try:
        # Imported here: it needs packages of an extra, and where traces are off nothing of OpenTelemetry is loaded.
        from signalq.traces.export import Export  # noqa: PLC0415
    except ImportError as error:
        raise SettingsError(
            f"{wanted.variable} asks for traces, and the package {error.name} is not installed, or too old: "
            f"{how_to_install('otel')}; or {OFF}",
            kind=Kind.PACKAGE_MISSING,
        ) from None
    export = Export(service, namespace=namespace, shown_endpoint=wanted.shown_endpoint, losses=losses)
    try:
        yield export
    finally:
        export.close()
