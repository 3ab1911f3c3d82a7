"""Times as events, headers, listings and logs write them."""

from datetime import UTC, datetime


def iso_utc(moment: datetime) -> str:
    """An aware time in UTC, with whole ms: `2026-01-31T12:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_ms(at_ms: int) -> str:
    """The same from ms since the epoch."""
    return iso_utc(datetime.fromtimestamp(at_ms / 1000, tz=UTC))
