"""Times as events, headers, listings and logs write them, and the wait before another attempt."""

from datetime import UTC, datetime


def iso_utc(moment: datetime) -> str:
    """An aware time in UTC, with whole ms: `2026-01-31T12:00:00.123Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_ms(at_ms: int) -> str:
    """The same from ms since the epoch."""
    return iso_utc(datetime.fromtimestamp(at_ms / 1000, tz=UTC))


def backoff_s(failures: int, *, base_s: float, max_s: float, fraction: float) -> float:
    """Exponential backoff with full jitter: `fraction` (0 to 1, random) of base * 2^(failures-1), at most max_s.

    Full jitter spreads retries best (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    exponent = min(max(failures - 1, 0), 62)
    return fraction * min(max_s, base_s * 2.0**exponent)
