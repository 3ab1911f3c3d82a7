"""Pacing: the POSTs of a connector begin at least 1/`rate_per_s` apart. Its lane waits; nothing ends for it.

Counted on the loop's own clock, which nobody sets, and by each consumer for itself; who consumes a lane next is told
by the ledger when the last POST began.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

# A wait that is longer by less than this many digits of a ms is so by rounding alone.
ROUNDED_DIGITS = 6


@dataclass(slots=True)
class Pace:
    """When a connector's last POST began, in seconds of the loop's clock."""

    last_s: float = -math.inf

    def take(self, now_s: float) -> None:
        """A POST is about to begin, or begins."""
        self.last_s = max(self.last_s, now_s)


class Paces:
    """The connectors that have a rate; the others are never waited for."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._paces: dict[str, Pace] = {}

    def wait_ms(self, connector: str, rate_per_s: float | None) -> int:
        """For how long no POST may begin, in whole ms, rounded up; 0 where one may."""
        pace = self._paces.get(connector)
        if pace is None or rate_per_s is None:
            return 0
        wait_ms = (pace.last_s + 1 / rate_per_s - self._now_s()) * 1000
        return max(0, math.ceil(round(wait_ms, ROUNDED_DIGITS)))

    def posted_ago_ms(self, connector: str, rate_per_s: float | None) -> int | None:
        """How long ago the last POST of the connector began; None where it has no rate."""
        pace = self._paces.get(connector)
        return int((self._now_s() - pace.last_s) * 1000) if pace is not None and rate_per_s is not None else None

    def take(self, connector: str, rate_per_s: float | None) -> None:
        """Note that a POST of the connector is about to begin."""
        if rate_per_s is not None:
            self._paces.setdefault(connector, Pace()).take(self._now_s())

    def remember(self, connector: str, posted_ago_ms: int) -> None:
        """Somebody before us began a POST of the connector so long ago."""
        self._paces.setdefault(connector, Pace()).take(self._now_s() - posted_ago_ms / 1000)
