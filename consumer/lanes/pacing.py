"""Pacing: the POSTs of a connector begin at least 1/`rate_per_s` apart. Its lane waits; no order ends of it.

Each consumer counts for itself, on the loop's own clock, which nobody sets. The ledger tells the next consumer of a
lane when the last POST began.
"""

import math
from collections.abc import Callable

# A wait that is longer by less than this many digits of a ms is so by rounding alone.
ROUNDED_DIGITS = 6


class Paces:
    """The connectors that have a rate; the others never wait."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        # When a connector's last POST began, in seconds of the loop's clock.
        self._last_s: dict[str, float] = {}

    def wait_ms(self, connector: str, rate_per_s: float | None) -> int:
        """For how long no POST may begin, in whole ms, rounded up; 0 where one may."""
        last_s = self._last_s.get(connector)
        if last_s is None or rate_per_s is None:
            return 0
        wait_ms = (last_s + 1 / rate_per_s - self._now_s()) * 1000
        return max(0, math.ceil(round(wait_ms, ROUNDED_DIGITS)))

    def posted_ago_ms(self, connector: str, rate_per_s: float | None) -> int | None:
        """How long ago the last POST of the connector began; None where it has no rate."""
        last_s = self._last_s.get(connector)
        return int((self._now_s() - last_s) * 1000) if last_s is not None and rate_per_s is not None else None

    def take(self, connector: str, rate_per_s: float | None) -> None:
        """Note that a POST of the connector is about to begin."""
        if rate_per_s is not None:
            self._note(connector, self._now_s())

    def remember(self, connector: str, posted_ago_ms: int) -> None:
        """Note that another consumer began a POST of the connector so long ago."""
        self._note(connector, self._now_s() - posted_ago_ms / 1000)

    def _note(self, connector: str, began_s: float) -> None:
        self._last_s[connector] = max(self._last_s.get(connector, began_s), began_s)
