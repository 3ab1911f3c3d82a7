"""Times on a terminal, short and in the zone of the person who looks; and a moment that a person gives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
SECONDS_SHOWN_MAX, MINUTES_SHOWN_MAX, HOURS_SHOWN_MAX = 100, 100, 48
# So long ago a time is shown without its day, though midnight be in between: it is no other time.
RECENT = timedelta(hours=12)
# A day that is farther away may be taken for one of this year.
DAYS_SHOWN_MAX = 300


def clock_time(iso: object, now: datetime | None = None) -> str:
    """The local time of today, `08:31:43`; of another day its date as well, `Nov 29 21:50`."""
    at, now = _local(iso, now)
    return f"{at:%H:%M:%S}" if at.date() == now.date() else f"{_day(at, now)} {at:%H:%M}"


def time_or_day(iso: object, now: datetime | None = None) -> str:
    """The local time of today and of the last hours, `08:31:43`; of another day its date, `Nov 29`, or `Nov 2025`."""
    at, now = _local(iso, now)
    is_recent = timedelta(0) <= now - at < RECENT
    return f"{at:%H:%M:%S}" if is_recent or at.date() == now.date() else _day(at, now)


def _local(iso: object, now: datetime | None) -> tuple[datetime, datetime]:
    """The time and the present one, in the zone of the person who looks."""
    at = datetime.fromisoformat(str(iso)).astimezone()
    return at, (now or datetime.now().astimezone()).astimezone(at.tzinfo)


def _day(at: datetime, now: datetime) -> str:
    is_near = abs((now.date() - at.date()).days) <= DAYS_SHOWN_MAX
    return f"{MONTHS[at.month - 1]} {at.day if is_near else at.year}"


def ago(iso: object, now: datetime | None = None) -> str:
    """How long ago it was, or how soon it will be: `12s ago`, `3m ago`, `in 5h`, `now`."""
    at = datetime.fromisoformat(str(iso))
    seconds = ((now or datetime.now().astimezone()) - at).total_seconds()
    length = span(abs(seconds))
    if length == "0s":
        return "now"
    return f"{length} ago" if seconds > 0 else f"in {length}"


def span(seconds: float) -> str:
    """A length of time in one unit: `45s`, `12m`, `5h`, `3d`."""
    if seconds < SECONDS_SHOWN_MAX:
        return f"{seconds:.0f}s"
    if seconds < MINUTES_SHOWN_MAX * 60:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.0f}h" if seconds < HOURS_SHOWN_MAX * 3600 else f"{seconds / 86_400:.0f}d"


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """A moment as an option has it, see moment_of."""
    try:
        return None if value is None else moment_of(value)
    except ValueError as error:
        # Imported here: completion tells times as well, and must be quick.
        from click import BadParameter  # noqa: PLC0415

        raise BadParameter(str(error)) from None


def moment_of(text: str) -> datetime | timedelta:
    """A moment: so long ago (`15m`), or a time in ISO 8601, in UTC unless it says otherwise. Raises ValueError."""
    try:
        if found := _DURATION.fullmatch(text):
            return timedelta(seconds=float(found[1]) * _UNITS_S[found[2]])
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        example = "15m, 2h or 1d, nor a time like 2026-01-31T12:00"
        raise ValueError(f"{text} is neither a duration like {example}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
