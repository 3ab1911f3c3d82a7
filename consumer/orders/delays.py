"""Pure time arithmetic: how long to park, and how old an order is after a clock was set.

Times are ms since the epoch, waits are seconds.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import inf

from signalq.names import LADDER_MAX_S

# The ladder is up to 50 ms late by itself (measured: p99 44 ms over hops of 1 to 12 s), so it holds an intent for that
# much less. The consumer's own clock waits out the rest, up to a second and this.
LADDER_SLACK_MS = 100
# How long before its due time an intent goes into its lane: it is there by then (p99 of the hop through a quorum queue,
# measured under load), and waits there for its moment without holding up another.
LANE_LEAD_MS = 25
# A clock that was set back may be set right at any time: a parked order is looked at so often once it would be due
# then. It is late by this at most, and 10,000 such orders cost some 300 messages a second.
SET_BACK_LOOK_S = 30
DAY_MS = 86_400_000
# A producer's word on the time makes no exit live longer than by this.
AHEAD_MS_MAX = DAY_MS


def park_seconds(due_ms: int, now_ms: int, behind_ms: int = 0) -> int:
    """Whole seconds to park on the ladder so that the intent comes back before it is due; 0: hold it here.

    The clock was set back by `behind_ms`, and may be set right at any time. So the intent comes back before it would be
    due then. From that moment on it comes back again and again: ever more seldom, but at least every SET_BACK_LOOK_S.
    """
    remaining_ms = due_ms - now_ms - LADDER_SLACK_MS
    seconds = min(max(remaining_ms // 1000, 0), LADDER_MAX_S)
    if behind_ms <= 0 or not seconds:
        return seconds
    until_right_ms = remaining_ms - behind_ms
    if until_right_ms >= 1000:
        return min(seconds, until_right_ms // 1000)
    return min(seconds, max(1, min(-until_right_ms // 2000, SET_BACK_LOOK_S)))


def remaining_ms(at_ms: int, now_ms: int, asked_ms: int) -> int:
    """The wait until `at_ms`, and no more than the `asked_ms` that were asked for: the clock may have been set back."""
    return max(0, min(at_ms - now_ms, asked_ms))


@dataclass(frozen=True, slots=True)
class Segment:
    """From `since_ms` on, the machine's clock is `offset_ms` ahead of the time since the machine's start."""

    offset_ms: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class KnownSkew:
    """The settings of the machine's clock, and how far it is ahead of others' clocks.

    `ahead_ms` is None where no other clock was seen since ours was set last.
    """

    segments: tuple[Segment, ...] = ()
    ahead_ms: int | None = None

    def ahead_of(self, dated_ms: int) -> int:
        """The lead of our clock, at most, over the clock that wrote `dated_ms`; 0 where ours is behind."""
        ahead_ms = self.forward_ms(dated_ms) if self.ahead_ms is None else self.ahead_ms
        set_ms = max((self.segments[-1].offset_ms - offset_ms for offset_ms in self._offsets_at(dated_ms)), default=0)
        return min(max(0, set_ms, ahead_ms), AHEAD_MS_MAX)

    def forward_ms(self, now_ms: int) -> int:
        """The lead of our clock over its slowest setting within a day: others' clocks may go by that one."""
        return max(self._set_within_a_day_of(now_ms))

    def behind_ms(self, now_ms: int) -> int:
        """The lag of our clock behind its fastest setting within a day: that one may be right, and may come again."""
        return -min(self._set_within_a_day_of(now_ms))

    def passed_ms(self, dated_ms: int, now_ms: int) -> int:
        """The time since this machine wrote `dated_ms`, however its clock was set since; the clock shows `now_ms` now.

        The clock may have shown `dated_ms` twice: the later time counts. Or it never showed it: an order that came
        before the clock was set goes on by the former setting.
        """
        if not self.segments:
            return now_ms - dated_ms
        even_ms = now_ms - self.segments[-1].offset_ms
        exact = [offset_ms for offset_ms in self._offsets_at(dated_ms) if dated_ms - offset_ms <= even_ms]
        begun = [self.segments[0], *(one for one in self.segments[1:] if one.since_ms <= dated_ms)]
        dated_on = [one.offset_ms for one in begun if dated_ms - one.offset_ms <= even_ms]
        offset_ms = exact[-1] if exact else max(dated_on, default=self.segments[-1].offset_ms)
        return even_ms - (dated_ms - offset_ms)

    def _offsets_at(self, dated_ms: int) -> list[int]:
        """The offsets by which the clock may have shown `dated_ms`, oldest first."""
        since = [-inf, *(one.since_ms for one in self.segments[1:])]
        until = [*(one.since_ms - one.offset_ms + before.offset_ms for before, one in pairwise(self.segments)), inf]
        shown = zip(self.segments, since, until, strict=False)
        return [one.offset_ms for one, since_ms, until_ms in shown if since_ms <= dated_ms <= until_ms]

    def _set_within_a_day_of(self, at_ms: int) -> list[int]:
        """The lead of the present setting over each one within a day, itself (0) first."""
        shown = [before.offset_ms for before, after in pairwise(self.segments) if after.since_ms >= at_ms - DAY_MS]
        return [0, *(self.segments[-1].offset_ms - offset_ms for offset_ms in shown)]
