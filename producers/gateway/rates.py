"""Rates: alerts of a connector, refused requests of an address, lines of the log."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

KEYS_MAX = 10_000


class Rates:
    """A bucket for each key, of one second's worth or of `burst`; without a `rate_per_s` nothing has to wait.

    The keys are bounded: the longest untouched is forgotten first, and has a full bucket when it comes again.
    """

    def __init__(
        self, rate_per_s: float | None, clock: Callable[[], float] = time.monotonic, *, burst: float | None = None
    ) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._clock = clock
        # When the bucket will be full again, the longest untouched first.
        self._full_at_s: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, key: Hashable) -> float:
        """Take one from the bucket and return 0; or return the seconds until there is one."""
        if self._rate_per_s is None or (over_s := self.over_s(key)) > 0:
            return 0.0 if self._rate_per_s is None else over_s
        now_s = self._clock()
        self._full_at_s[key] = max(self._full_at_s.get(key, now_s), now_s) + 1 / self._rate_per_s
        self._full_at_s.move_to_end(key)
        if len(self._full_at_s) > KEYS_MAX:
            self._full_at_s.popitem(last=False)
        return 0.0

    def over_s(self, key: Hashable) -> float:
        """The seconds until there is one in the bucket, 0 if there is; none is taken."""
        if self._rate_per_s is None:
            return 0.0
        now_s, each_s = self._clock(), 1 / self._rate_per_s
        bucket_s = 1.0 if self._burst is None else self._burst * each_s
        full_at_s = max(self._full_at_s.get(key, now_s), now_s) + each_s
        return max(0.0, full_at_s - now_s - max(bucket_s, each_s))
