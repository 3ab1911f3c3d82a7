"""The axis of a timeline: marks at round times since its beginning, each with the time of day."""

from bisect import bisect_left
from dataclasses import dataclass

from signalq.times import iso_ms

MARKS_MAX = 7
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
UNITS = ((DAY_MS, "d"), (HOUR_MS, "h"), (MINUTE_MS, "min"), (SECOND_MS, "s"), (1, "ms"))
# From one mark to the next: each a multiple of the largest unit that is in it.
STEPS_MS = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(number * SECOND_MS for number in (1, 2, 5, 10, 20, 30)),
    *(number * MINUTE_MS for number in (1, 2, 5, 10, 20, 30)),
    *(number * HOUR_MS for number in (1, 2, 6, 12)),
)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark: its place, the time since the beginning, and the time of day in UTC."""

    x: float
    after: str
    clock: str


def ticks(begin_ms: int, lasts_ms: int, width: float) -> list[Tick]:
    """The marks of an axis of that width; at most MARKS_MAX, the first at its beginning."""
    step_ms = _step(lasts_ms)
    unit_ms, unit = next(one for one in UNITS if one[0] <= step_ms)
    return [
        Tick(after_ms / lasts_ms * width, f"{after_ms // unit_ms} {unit}", _clock(begin_ms + after_ms, step_ms))
        for after_ms in range(0, lasts_ms + 1, step_ms)
    ]


def _step(lasts_ms: int) -> int:
    least_ms = lasts_ms / (MARKS_MAX - 1)
    place = bisect_left(STEPS_MS, least_ms)
    return STEPS_MS[place] if place < len(STEPS_MS) else -(-lasts_ms // ((MARKS_MAX - 1) * DAY_MS)) * DAY_MS


def _clock(at_ms: int, step_ms: int) -> str:
    iso = iso_ms(at_ms)
    if step_ms < SECOND_MS:
        return iso[11:23]
    return iso[11:19] if step_ms < HOUR_MS else iso[5:16].replace("T", " ")
