"""How many alerts a second each connector may send."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

CONNECTORS_MAX = 10_000


class Rates:
    """A bucket for each connector, of one second's worth; `rate_per_s` None takes all of them."""

    def __init__(self, rate_per_s: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate_per_s = rate_per_s
        self._clock = clock
        # When the bucket will be full again, the longest untouched first.
        self._full_at_s: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, connector: str) -> float:
        """0 and one less in its bucket; or the seconds until there is one."""
        if self._rate_per_s is None:
            return 0.0
        now_s, each_s = self._clock(), 1 / self._rate_per_s
        full_at_s = max(self._full_at_s.get(connector, now_s), now_s) + each_s
        over_s = full_at_s - now_s - max(1.0, each_s)
        if over_s > 0:
            return over_s
        self._full_at_s[connector] = full_at_s
        self._full_at_s.move_to_end(connector)
        if len(self._full_at_s) > CONNECTORS_MAX:
            self._full_at_s.popitem(last=False)
        return 0.0
