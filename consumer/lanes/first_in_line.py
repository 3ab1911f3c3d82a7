"""The orders that are first in the line of their connectors: how old they are, and when they are tried again."""

from typing import NamedTuple

from signalq.consumer.lanes.queues import ConnectorQueues


class FirstInLine(NamedTuple):
    """The first in line of a lane's connectors, in ms since the epoch.

    `oldest_ms`: where the age of the oldest begins. `next_ms`: when the soonest of those that wait for another attempt
    may make it; None where none waits for that.
    """

    oldest_ms: int | None
    next_ms: int | None


# Of a lane whose orders here are in no line: they are only just taken in, or on their way to the ladder.
NOBODY_IN_LINE = FirstInLine(None, None)


def first_in_line(queues: ConnectorQueues, even_ms: int, wall_ms: int) -> dict[str, FirstInLine]:
    """By the queue of each lane that has orders here; the two times are now, by the clock that nobody sets, and by the
    wall clock.
    """
    found: dict[str, FirstInLine] = {}
    for queue in queues:
        if (ticket := queue.first) is None:
            continue
        order, waits_ms = ticket.order, max(queue.backoff_until_ms, ticket.put_off_until_ms) - even_ms
        next_ms = wall_ms + waits_ms if waits_ms > 0 else None
        one = FirstInLine(order.timing.age_from_ms, next_ms)
        other = found.get(order.route.source_queue)
        found[order.route.source_queue] = one if other is None else FirstInLine(*map(_earliest, one, other))
    return found


def _earliest(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return other_ms if one_ms is None else one_ms
    return min(one_ms, other_ms)
