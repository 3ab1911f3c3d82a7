"""Rates: alerts of a connector, refused requests of an address, lines of the log."""

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
        self._each_s = 1 / rate_per_s if rate_per_s is not None else 0.0
        self._bucket_s = max(self._each_s, 1.0 if burst is None else burst * self._each_s)
        self._clock = clock
        # When the bucket will be full again, the longest untouched first.
        self._full_at_s: OrderedDict[Hashable, float] = OrderedDict()

    def wait_s(self, *keys: Hashable) -> float:
        """Take one from the bucket of each key and return 0; or take none, and return the seconds until each has one.

        A key that is there several times takes as many, on credit where its bucket holds fewer: else an array larger
        than the bucket would never pass.
        """
        over_s = max(map(self.over_s, keys))
        if over_s == 0:
            for key in keys:
                self._take(key)
        return over_s

    def _take(self, key: Hashable) -> None:
        self._full_at_s[key] = self._full_after(key, self._clock())
        self._full_at_s.move_to_end(key)
        if len(self._full_at_s) > KEYS_MAX:
            self._full_at_s.popitem(last=False)

    def over_s(self, key: Hashable) -> float:
        """The seconds until there is one in the bucket, 0 if there is; none is taken."""
        now_s = self._clock()
        return max(0.0, self._full_after(key, now_s) - now_s - self._bucket_s)

    def _full_after(self, key: Hashable, now_s: float) -> float:
        """The moment at which the bucket would be full again if one were taken now."""
        return max(self._full_at_s.get(key, now_s), now_s) + self._each_s
