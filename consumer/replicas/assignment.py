"""Which replica should have which lane, and which lanes to hand over now. Pure: live replicas and times are given.

The broker gives a lane to the first consumer in the lane's line; a consumer that leaves and comes back stands last. So
replicas need not agree: each works out by itself which replica should have each lane, and steps behind that one. It
need not know which consumer is the active one, and of an idle lane it can't before the first message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class KnownLane:
    """A lane as one replica knows it; `active_since_s` is None until a message has come."""

    queue: str
    active_since_s: float | None


@dataclass(frozen=True, slots=True)
class _Passed:
    """How often a lane was handed over, and when last."""

    times: int
    at_s: float


def desired(queue: str, owners: Iterable[str]) -> str:
    """The owner that should have a lane, by rendezvous hashing: a new replica takes lanes from all the others.

    Raises ValueError where there is none.
    """
    return max(owners, key=lambda owner: blake2b(f"{owner} {queue}".encode(), digest_size=8).digest())


class LaneAssignment:
    """One replica's view: which replicas live, since when, and which lanes were handed over since then."""

    def __init__(self) -> None:
        self._owners: frozenset[str] = frozenset()
        self._since_s = float("-inf")
        self._passed: dict[str, _Passed] = {}

    def note(self, owners: frozenset[str], now_s: float) -> None:
        """Note which replicas live now; none: that is not known."""
        if owners != self._owners:
            self._owners, self._since_s = owners, now_s
            self._passed.clear()

    def to_pass_on(self, me: str, lanes: Iterable[KnownLane], now_s: float) -> list[str]:
        """The queues in which `me` should step back now."""
        if len(self._owners) < 2 or me not in self._owners or now_s - self._since_s < SETTLE_S:
            return []
        strange = [lane for lane in lanes if desired(lane.queue, self._owners) != me and self._may_pass(lane, now_s)]
        active = [lane.queue for lane in strange if lane.active_since_s is not None]
        others = [lane.queue for lane in strange if lane.active_since_s is None]
        return active[:HANDOVERS_MAX] + others[:STEPS_BACK_MAX]

    def passed_on(self, queue: str, now_s: float) -> None:
        """Note that a lane was left; whether another replica stood by for it is not known."""
        before = self._passed.get(queue)
        self._passed[queue] = _Passed(before.times + 1 if before else 1, now_s)

    def _may_pass(self, lane: KnownLane, now_s: float) -> bool:
        before = self._passed.get(lane.queue)
        if lane.active_since_s is not None and now_s - lane.active_since_s < HOLD_S:
            return False
        if before is None:
            return True
        if lane.active_since_s is None:
            return False  # we stand behind the others; if the lane comes to us, its first message says so
        return now_s - before.at_s >= backoff_s(before.times, base_s=AGAIN_S, max_s=AGAIN_MAX_S, fraction=1.0)
