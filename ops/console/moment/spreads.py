"""Spreads: the percentiles of the latest durations, by a bounded sample. Pure."""

from collections import deque
from math import ceil

from signalq.ops.console.moment.snapshot import SHORT_BUCKET_MS, SHORT_BUCKETS, Spread

WINDOW_MS = SHORT_BUCKETS * SHORT_BUCKET_MS
# Of more than so many within the window, the latest count.
DURATIONS_MAX = 5_000


class Durations:
    """The latest DURATIONS_MAX durations, in the order of their coming."""

    def __init__(self) -> None:
        self._found: deque[tuple[int, int]] = deque(maxlen=DURATIONS_MAX)

    def add(self, at_ms: int, duration_ms: int) -> None:
        """Add one that ended then."""
        self._found.append((at_ms, max(0, duration_ms)))

    def spread(self, now_ms: int) -> Spread:
        """The spread of those that ended within the window."""
        lasted = sorted(duration_ms for at_ms, duration_ms in self._found if now_ms - at_ms < WINDOW_MS)
        return Spread(_rank(lasted, 0.5), _rank(lasted, 0.99), len(lasted)) if lasted else Spread()


def _rank(ordered: list[int], share: float) -> int:
    """The smallest value that this share of all does not exceed."""
    return ordered[ceil(share * len(ordered)) - 1]
