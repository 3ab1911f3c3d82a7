"""Which replica should have which lane, and which lanes to hand over now. Pure: live replicas and times are given.

The broker gives a lane to the first consumer in the lane's line; a consumer that leaves and comes back stands last. So
replicas need not agree: each works out which replica should have each lane, and steps behind that one. It need not know
which consumer is the active one, and of an idle lane it can't before the first message.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from signalq.times import backoff_s

# The same replicas must live for so long before lanes are handed over: a kill, or a replica that starts and ends again
# and again, moves nothing.
SETTLE_S = 5.0
# A lane is kept for so long after its first message here: right after a failover there is more urgent work.
HOLD_S = 3.0
# How many lanes are left at once, so that a replica that joins does not move everything: active ones, and others.
HANDOVERS_MAX = 8
STEPS_BACK_MAX = 32
# A lane that came back (no other replica stood by for it) is handed over again after this time, doubled each time.
AGAIN_S = 30.0
AGAIN_MAX_S = 600.0


def desired(queue: str, owners: Iterable[str]) -> str:
    """The owner that should have a lane, by rendezvous hashing: a new replica takes lanes from all the others.

    Raises ValueError where there is none.
    """
    return max(owners, key=lambda owner: blake2b(f"{owner} {queue}".encode(), digest_size=8).digest())


class LaneAssignment:
    """One replica's view: which replicas live, and since when; which lanes it has handed over since then."""

    def __init__(self) -> None:
        self._owners: frozenset[str] = frozenset()
        self._since_s = float("-inf")
        # How often each lane was handed over, and when last.
        self._passed: dict[str, tuple[int, float]] = {}

    def note(self, owners: frozenset[str], now_s: float) -> None:
        """Note which replicas live now; none: that is not known."""
        if owners != self._owners:
            self._owners, self._since_s = owners, now_s
            self._passed.clear()

    def to_pass_on(self, me: str, active_since_s: Mapping[str, float | None], now_s: float) -> list[str]:
        """The queues in which `me` should step back now. `active_since_s` holds all that it consumes: since when it is
        the active consumer there, None where no message has come.
        """
        if len(self._owners) < 2 or me not in self._owners or now_s - self._since_s < SETTLE_S:
            return []
        strange = [
            queue
            for queue, since_s in active_since_s.items()
            if desired(queue, self._owners) != me and self._may_pass(queue, since_s, now_s)
        ]
        active = [queue for queue in strange if active_since_s[queue] is not None]
        others = [queue for queue in strange if active_since_s[queue] is None]
        return active[:HANDOVERS_MAX] + others[:STEPS_BACK_MAX]

    def passed_on(self, queue: str, now_s: float) -> None:
        """Note that a lane was left; whether another replica stood by for it is not known."""
        times, _ = self._passed.get(queue, (0, now_s))
        self._passed[queue] = times + 1, now_s

    def _may_pass(self, queue: str, active_since_s: float | None, now_s: float) -> bool:
        if active_since_s is not None and now_s - active_since_s < HOLD_S:
            return False
        if queue not in self._passed:
            return True
        if active_since_s is None:
            return False  # this replica stands behind the others; the first message says that a lane has come to it
        times, last_s = self._passed[queue]
        return now_s - last_s >= backoff_s(times, base_s=AGAIN_S, max_s=AGAIN_MAX_S, fraction=1.0)
