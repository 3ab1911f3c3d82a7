"""The works that wait for the ledger's next transaction, lane by lane: no lane's flood holds up those of another."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

# Of one lane so many go into one transaction. The other lanes wait for its end, and for the step of the loop in which
# all of them are answered: beside a flood of cancels an exit took 1 s with 8, and takes 20 ms with 4. Few enough for
# that, and enough to divide the cost of a commit.
LANE_SHARE = 4

T = TypeVar("T")


class FairQueue(Generic[T]):
    """First in, first out within each lane; the lanes take turns."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[T]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, lane: str, item: T) -> None:
        """Put the item behind the others of its lane."""
        self._lanes.setdefault(lane, deque()).append(item)
        self._count += 1

    def take(self, count_max: int) -> list[T]:
        """At most LANE_SHARE of each lane: first of those that the last time took nothing of."""
        taken: list[T] = []
        for lane in list(self._lanes):
            if len(taken) >= count_max:
                break
            line = self._lanes.pop(lane)
            taken += [line.popleft() for _ in range(min(LANE_SHARE, len(line), count_max - len(taken)))]
            if line:
                self._lanes[lane] = line
        self._count -= len(taken)
        return taken
