"""Pure time arithmetic: how long to park, how long to back off. Times are ms since the epoch, waits are seconds."""

from __future__ import annotations

from signalq.names import LADDER_MAX_S

# The ladder is up to 50 ms late by itself (measured: p99 44 ms over hops of 1 to 12 s), so it gets that much less to
# hold; the rest, up to a second and this, is waited out by the consumer's own clock.
LADDER_SLACK_MS = 100
# How long before its due time an intent goes into its lane: the way there is over by then (p99 of the hop through a
# quorum queue, measured under load), and in the lane it waits for its moment without holding anybody up.
LANE_LEAD_MS = 25


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
