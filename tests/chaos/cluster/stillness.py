"""For how long nothing was POSTed after a strike: all connectors together, and the one that waited longest."""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.cluster.strikes import KINDS, Strike
from tests.support.accountant import Post

# What a strike did is looked for within so long from it; one that falls meanwhile ends that.
WINDOW_NS = 12_000_000_000
# A strike that falls sooner after another one, or before it is made good, shows the effects of both: it counts in the
# account and not here.
APART_NS = 4_000_000_000


@dataclass(frozen=True, slots=True)
class Still:
    """Seconds without a POST: of any connector, and of the one that waited longest."""

    all_s: float
    slowest_s: float


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of strike, or `calm`: the median and the longest of `count` times."""

    kind: str
    count: int
    all_p50_s: float
    all_max_s: float
    slowest_p50_s: float
    slowest_max_s: float


def table(posts: Sequence[Post], strikes: Iterable[Strike]) -> list[Row]:
    """A row for each kind of strike that was seen apart from others, and one for as long windows without any."""
    ordered = sorted(strikes, key=lambda strike: strike.at_ns)
    times = _Times(posts)
    found: dict[str, list[Still]] = defaultdict(list)
    for at, strike in enumerate(ordered):
        later = ordered[at + 1].at_ns if at + 1 < len(ordered) else times.last_ns
        earlier = max((before.over_ns for before in ordered[:at]), default=0)
        if strike.at_ns - earlier >= APART_NS and later - strike.at_ns >= APART_NS:
            found[strike.kind].append(times.still(strike.at_ns, min(strike.at_ns + WINDOW_NS, later)))
        if strike.at_ns - earlier >= 2 * APART_NS and earlier:
            found["calm"].append(times.still(strike.at_ns - APART_NS, strike.at_ns, is_calm=True))
    return [_row(kind, found[kind]) for kind in (*KINDS, "calm") if found[kind]]


def _row(kind: str, times: Sequence[Still]) -> Row:
    every, slowest = [time.all_s for time in times], [time.slowest_s for time in times]
    return Row(kind, len(times), statistics.median(every), max(every), statistics.median(slowest), max(slowest))


class _Times:
    """When each connector's POSTs came, in order."""

    def __init__(self, posts: Sequence[Post]) -> None:
        self._all = sorted(post.at_ns for post in posts)
        self._by_connector: dict[str, list[int]] = defaultdict(list)
        for post in sorted(posts, key=lambda post: post.at_ns):
            self._by_connector[post.connector].append(post.at_ns)
        self.last_ns = self._all[-1] if self._all else 0

    def still(self, since_ns: int, until_ns: int, *, is_calm: bool = False) -> Still:
        """What begins within the two is seen to its end; but what lasts from the calm into a strike, to that alone."""
        seen_ns = until_ns if is_calm else self.last_ns
        every = [_longest_s(times, since_ns, until_ns, seen_ns) for times in self._by_connector.values()]
        return Still(_longest_s(self._all, since_ns, until_ns, seen_ns), max(every, default=0.0))


def _longest_s(times_ns: Sequence[int], since_ns: int, until_ns: int, seen_ns: int) -> float:
    """The longest time without one that begins between `since_ns` and `until_ns`, as far as it is seen."""
    longest, before = 0, since_ns
    for at_ns in times_ns[bisect_left(times_ns, since_ns) :]:
        longest = max(longest, min(at_ns, seen_ns) - before)
        if at_ns >= until_ns:
            break
        before = at_ns
    return longest / 1e9
