"""Pure time arithmetic: how long to park, how long to back off, and what a clock that was set says of an age.

Times are ms since the epoch, waits are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from signalq.names import LADDER_MAX_S

# The ladder is up to 50 ms late by itself (measured: p99 44 ms over hops of 1 to 12 s), so it gets that much less to
# hold; the rest, up to a second and this, is waited out by the consumer's own clock.
LADDER_SLACK_MS = 100
# How long before its due time an intent goes into its lane: the way there is over by then (p99 of the hop through a
# quorum queue, measured under load), and in the lane it waits for its moment without holding anybody up.
LANE_LEAD_MS = 25
DAY_MS = 86_400_000
# Nobody makes an exit live longer than this by what he says of the time.
AHEAD_MS_MAX = DAY_MS


def park_seconds(due_ms: int, now_ms: int) -> int:
    """Whole seconds to park on the ladder so that the intent comes back before it is due; 0: hold it here."""
    remaining_ms = due_ms - now_ms - LADDER_SLACK_MS
    return min(max(remaining_ms // 1000, 0), LADDER_MAX_S)


def backoff_s(failures: int, *, base_s: float, max_s: float, fraction: float) -> float:
    """Exponential backoff with full jitter: `fraction` (0 to 1, random) of base * 2^(failures-1), at most max_s.

    Full jitter spreads retries best (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """
    exponent = min(max(failures - 1, 0), 62)
    return fraction * min(max_s, base_s * 2.0**exponent)


def remaining_ms(at_ms: int, now_ms: int, asked_ms: int) -> int:
    """How long to wait until `at_ms`, where `asked_ms` were asked for: a clock that was set back makes it no longer."""
    return max(0, min(at_ms - now_ms, asked_ms))


@dataclass(frozen=True, slots=True)
class Segment:
    """From `since_ms` on, by the machine's clock, that is `offset_ms` ahead of the time since the machine's start."""

    offset_ms: int
    since_ms: int


@dataclass(frozen=True, slots=True)
class KnownSkew:
    """What is known: how the clock was set, and how far it is ahead of others'; None where nobody else's clock was seen
    since it was set last.
    """

    segments: tuple[Segment, ...] = ()
    ahead_ms: int | None = None

    def ahead_of(self, dated_ms: int) -> int:
        """How far the clock is ahead, at most, of the one that something was dated by; 0 where it is behind."""
        ahead_ms = self.ahead_ms if self.ahead_ms is not None else self._since_a_day(dated_ms)
        return min(max(0, self._set_since(dated_ms), ahead_ms), AHEAD_MS_MAX)

    def _set_since(self, dated_ms: int) -> int:
        """By how much it was set after that, if this machine has dated it."""
        set_ms = 0
        for before, after in pairwise(self.segments):
            step_ms = after.offset_ms - before.offset_ms
            if after.since_ms - step_ms >= dated_ms:
                set_ms += step_ms
        return set_ms

    def _since_a_day(self, dated_ms: int) -> int:
        """How far it is ahead of what it was within a day: that may have been right, and others' clocks be so still."""
        shown = [before for before, after in pairwise(self.segments) if after.since_ms >= dated_ms - DAY_MS]
        return max((self.segments[-1].offset_ms - before.offset_ms for before in shown), default=0)
