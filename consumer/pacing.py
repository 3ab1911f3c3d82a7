"""Pacing: the POSTs of a connector begin at least 1/`rate_per_s` apart. Its lane waits; nothing ends for it.

Counted on the loop's own clock, which nobody sets, and by each consumer for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """When a connector's next POST may begin, in seconds of the loop's clock."""

    next_s: float = -math.inf

    def take(self, now_s: float, interval_s: float) -> None:
        """A POST is about to begin, or begins: the next one is not before `interval_s` from now."""
        self.next_s = max(self.next_s, now_s + interval_s)


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
        # A rate that was raised meanwhile is not held up by what was noted under the old one.
        return max(0, math.ceil(min(pace.next_s - self._now_s(), 1 / rate_per_s) * 1000))

    def take(self, connector: str, rate_per_s: float | None) -> None:
        """Note that a POST of the connector is about to begin."""
        if rate_per_s is not None:
            self._paces.setdefault(connector, Pace()).take(self._now_s(), 1 / rate_per_s)
