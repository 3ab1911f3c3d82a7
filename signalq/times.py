"""Times as they are written everywhere: in events, headers, listings and logs."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_utc(moment: datetime) -> str:
    """`2026-01-31T12:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_ms(at_ms: int) -> str:
    """The same of ms since the epoch."""
    return iso_utc(datetime.fromtimestamp(at_ms / 1000, tz=UTC))
