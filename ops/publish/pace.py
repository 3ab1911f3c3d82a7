"""The pace of `--rate`."""

# A smaller lateness is caught up; a larger one means that something held the run up, and no burst may follow.
CATCH_UP_S = 0.05


class EvenPace:
    """Spaces `rate_per_s` intents a second evenly. Pure: times are passed in, in seconds that only grow."""

    def __init__(self, rate_per_s: float) -> None:
        self._interval_s = 1 / rate_per_s
        self._next_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """The seconds that the next intent has to wait."""
        at_s = now_s if self._next_s is None else max(self._next_s, now_s - CATCH_UP_S)
        self._next_s = at_s + self._interval_s
        return max(0.0, at_s - now_s)
