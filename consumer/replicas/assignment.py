"""Lanes and the replicas that should have them. Pure: the live replicas and the time are passed in.

The broker gives a lane to the consumer that stands first in the lane's line; one that leaves and comes back stands
last. So the replicas need no agreement: each works out by itself which replica each lane belongs to, and steps behind
that one where it stands before it. It need not know which of them is active: an idle lane doesn't show that before its
first message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from signalq.consumer.orders.delays import backoff_s

# Lanes are passed on once the same replicas have lived for so long: a kill, or a replica that starts and ends again and
# again, moves nothing.
SETTLE_S = 5.0
# A lane is kept for so long after its first message here: right after a failover there is better to do.
HOLD_S = 3.0
# How many lanes move at once, so that a replica that joins does not shake all: lanes known to be worked on here, and
# lanes that may be idle.
HANDOVERS_MAX = 8
STEPS_BACK_MAX = 32
# A lane that came back, as no other replica stood by for it, is not passed on again before that; doubled each time.
AGAIN_S = 30.0
AGAIN_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class KnownLane:
    """A lane as one replica knows it; `active_since_s` is None until it has brought a message."""

    queue: str
    active_since_s: float | None


@dataclass(frozen=True, slots=True)
class _Passed:
    """The times that a lane was passed on, and when last."""

    times: int
    at_s: float


def desired(queue: str, owners: Iterable[str]) -> str:
    """The replica that should have a lane, by rendezvous hashing: one that joins takes lanes from all, one that ends
    leaves its lanes to all.

    Raises ValueError for no replicas.
    """
    return max(owners, key=lambda owner: blake2b(f"{owner} {queue}".encode(), digest_size=8).digest())


class LaneAssignment:
    """One replica's view: the live replicas, since when they are the same, and the lanes passed on since."""

    def __init__(self) -> None:
        self._owners: frozenset[str] = frozenset()
        self._since_s = float("-inf")
        self._passed: dict[str, _Passed] = {}

    def note(self, owners: frozenset[str], now_s: float) -> None:
        """Note the replicas that live now; none where that is not known."""
        if owners != self._owners:
            self._owners, self._since_s = owners, now_s
            self._passed.clear()

    def to_pass_on(self, me: str, lanes: Iterable[KnownLane], now_s: float) -> list[str]:
        """The queues that `me` should step back from now."""
        if len(self._owners) < 2 or me not in self._owners or now_s - self._since_s < SETTLE_S:
            return []
        others = [lane for lane in lanes if desired(lane.queue, self._owners) != me and self._may_pass(lane, now_s)]
        active = [lane.queue for lane in others if lane.active_since_s is not None]
        maybe_idle = [lane.queue for lane in others if lane.active_since_s is None]
        return active[:HANDOVERS_MAX] + maybe_idle[:STEPS_BACK_MAX]

    def passed_on(self, queue: str, now_s: float) -> None:
        """Note that a lane was passed on; whether another replica stood by for it is not known."""
        before = self._passed.get(queue)
        self._passed[queue] = _Passed(before.times + 1 if before else 1, now_s)

    def _may_pass(self, lane: KnownLane, now_s: float) -> bool:
        before = self._passed.get(lane.queue)
        if lane.active_since_s is not None and now_s - lane.active_since_s < HOLD_S:
            return False
        if before is None:
            return True
        if lane.active_since_s is None:
            return False  # we stand behind all that were there; once the lane comes to us, its first message says so
        return now_s - before.at_s >= backoff_s(before.times, base_s=AGAIN_S, max_s=AGAIN_MAX_S, fraction=1.0)
