"""Which replica should have which lane, and which lanes to pass on now. Pure: it is told who lives, and the time.

The broker gives a lane to whoever stands first in the lane's line; whoever leaves it and comes back stands last. So
nobody has to agree with anybody: each replica works out by itself whose each lane is, and steps behind that one where
it stands before it. It need not know who is the active one, and an idle lane does not say so before its first message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

# The same replicas have to live for so long before lanes are passed on: one that starts and ends again and again, or a
# kill, moves nothing.
SETTLE_S = 5.0
# A lane is kept for so long after its first message here: right after a failover there is better to do.
HOLD_S = 3.0
# At once; one that joins does not shake everything. What is known to be worked on, and what may be idle.
HANDOVERS_MAX = 8
STEPS_BACK_MAX = 32
# A lane that came back (nobody else stood by for it) is not passed on again before that; doubled each time.
AGAIN_S = 30.0
AGAIN_MAX_S = 600.0


@dataclass(frozen=True, slots=True)
class Place:
    """A lane as one replica knows it; `active_since_s` is None until it has brought a message."""

    queue: str
    active_since_s: float | None


@dataclass(frozen=True, slots=True)
class _Passed:
    """How often a lane was passed on, and when last."""

    times: int
    at_s: float


def desired(queue: str, owners: Iterable[str]) -> str:
    """Whose lane it should be, by rendezvous hashing: who comes takes lanes from all, who goes leaves them to all.

    Raises ValueError where there is nobody.
    """
    return max(owners, key=lambda owner: blake2b(f"{owner} {queue}".encode(), digest_size=8).digest())


class LaneAssignment:
    """One replica's view: who lives, since when it is so, and what was passed on since."""

    def __init__(self) -> None:
        self._owners: frozenset[str] = frozenset()
        self._since_s = float("-inf")
        self._passed: dict[str, _Passed] = {}

    def note(self, owners: frozenset[str], now_s: float) -> None:
        """These live now (none: that is not known)."""
        if owners != self._owners:
            self._owners, self._since_s = owners, now_s
            self._passed.clear()

    def to_pass_on(self, me: str, lanes: Iterable[Place], now_s: float) -> list[str]:
        """The queues that `me` should step back from now."""
        if len(self._owners) < 2 or me not in self._owners or now_s - self._since_s < SETTLE_S:
            return []
        strange = [lane for lane in lanes if desired(lane.queue, self._owners) != me and self._may_pass(lane, now_s)]
        active = [lane.queue for lane in strange if lane.active_since_s is not None]
        others = [lane.queue for lane in strange if lane.active_since_s is None]
        return active[:HANDOVERS_MAX] + others[:STEPS_BACK_MAX]

    def passed_on(self, queue: str, now_s: float) -> None:
        """It was; whether anybody else stood by for the lane is not known."""
        before = self._passed.get(queue)
        self._passed[queue] = _Passed(before.times + 1 if before else 1, now_s)

    def _may_pass(self, lane: Place, now_s: float) -> bool:
        before = self._passed.get(lane.queue)
        if lane.active_since_s is not None and now_s - lane.active_since_s < HOLD_S:
            return False
        if before is None:
            return True
        if lane.active_since_s is None:
            return False  # we stand behind those who were there; if it comes to us, its first message says so
        return now_s - before.at_s >= min(AGAIN_S * 2.0 ** (before.times - 1), AGAIN_MAX_S)
