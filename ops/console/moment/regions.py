"""The regions of the pages that have changed from one moment to the next. Pure.

Ages are no change: a page lets them go on by itself. A page that is told of a region fetches it anew.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from signalq.ops.console.moment.snapshot import REGIONS, Region, Snapshot, Source

# A clock is told to be so much ahead; by less, no page would say anything else.
CLOCK_STEP_MS = 1_000


def changed(before: Snapshot, now: Snapshot) -> frozenset[Region]:
    """The regions that look different now."""
    return frozenset(region for region in REGIONS if _seen(region, before) != _seen(region, now))


def _seen(region: Region, moment: Snapshot) -> object:
    """All that a region shows of a moment, without ages."""
    figures = _FIGURES.get(region)
    mark = moment.marks.get(region)
    return mark if figures is None else (figures(moment), mark)


def _status(moment: Snapshot) -> object:
    return (
        _source(moment.ledger),
        _source(moment.broker),
        moment.other_ledger,
        moment.switch,
        moment.changes,
        len(moment.living),
        moment.letters.count,
        moment.scheduled,
        moment.ahead_ms // CLOCK_STEP_MS,
    )


def _source(source: Source) -> object:
    return source.seen_ms is None, source.away_since_ms, source.why, source.kind


def _consumers(moment: Snapshot) -> object:
    lanes: dict[str, int] = {}
    for lane in moment.lanes:
        if lane.is_own and lane.consumer is not None:
            lanes[lane.consumer] = lanes.get(lane.consumer, 0) + 1
    version = moment.switch.version
    each = [(one.owner, one.name, one.lives, one.switch_seen) for one in moment.replicas]
    return each, lanes, version, None if moment.living else moment.last_consumer


_FIGURES: Mapping[Region, Callable[[Snapshot], object]] = MappingProxyType(
    {
        "status": _status,
        "attention": lambda moment: moment.attention,
        "lanes": lambda moment: moment.lanes,
        "throughput": lambda moment: (moment.total, moment.posts, moment.late),
        "consumers": _consumers,
        "letters": lambda moment: moment.letters,
        "schedule": lambda moment: (moment.scheduled, moment.next_due_ms),
    }
)
