"""The lanes of the overview: which are shown, in which order, and how many of them are folded away. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from signalq.consumer.orders.switch import State
from signalq.ops.console.moment.snapshot import SHORT_BUCKET_MS, Lane

ROWS_MAX = 100
# The rate of a lane is that of its last minute; the bucket that fills now would make it too low.
RATE_BUCKETS = 60_000 // SHORT_BUCKET_MS

Sort = Literal["need", "name", "waiting", "oldest"]
SORTS: dict[Sort, str] = {
    "need": "by what needs you",
    "name": "by name",
    "waiting": "by how many wait",
    "oldest": "by the oldest",
}


class Need(IntEnum):
    """How much a lane needs a person, the most first."""

    NOT_CONSUMED = 0
    IN_DOUBT = 1
    PAUSED = 2
    BACKS_OFF = 3
    CLOSE_ONLY = 4
    BUSY = 5
    QUIET = 6


@dataclass(frozen=True, slots=True)
class Choice:
    """The lanes that somebody wants to see: those in a state, with a text in their name; the quiet ones unfolded."""

    state: State | None = None
    find: str | None = None
    sort: Sort = "need"
    quiet: bool = False
    page: int = 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """A page of lanes: its rows, the number of the first, how many fit, and how many quiet ones are folded away."""

    lanes: Sequence[Lane]
    first: int
    fitting: int
    folded: int
    pages: int

    @property
    def last(self) -> int:
        """The number of the last row."""
        return self.first + len(self.lanes) - 1


def need_of(lane: Lane) -> Need:
    """How much it needs a person."""
    if lane.is_unread:
        return Need.NOT_CONSUMED
    if lane.doubts:
        return Need.IN_DOUBT
    if lane.state == "paused":
        return Need.PAUSED
    if lane.backs_off:
        return Need.BACKS_OFF
    if lane.state == "close-only":
        return Need.CLOSE_ONLY
    return Need.BUSY if lane.waiting or lane.out or lane.held else Need.QUIET


def chosen(lanes: Sequence[Lane], choice: Choice) -> Chosen:
    """The page of the lanes that fit. Quiet ones are folded away where all would not fit on one page.

    A page behind the last one is the last one: lanes may have become fewer.
    """
    fitting = [lane for lane in lanes if _fits(lane, choice)]
    shown = fitting
    if len(fitting) > ROWS_MAX and not choice.quiet and not choice.find:
        shown = [lane for lane in fitting if need_of(lane) is not Need.QUIET]
    shown = sorted(shown, key=lambda lane: _place(lane, choice.sort))
    pages = max(1, -(-len(shown) // ROWS_MAX))
    first = (min(choice.page, pages) - 1) * ROWS_MAX
    return Chosen(shown[first : first + ROWS_MAX], first + 1, len(shown), len(fitting) - len(shown), pages)


def rate_per_s(lane: Lane) -> float:
    """How many were delivered a second, in the last whole minute."""
    return sum(lane.short.delivered[-RATE_BUCKETS - 1 : -1]) / 60


def _fits(lane: Lane, choice: Choice) -> bool:
    if choice.state is not None and lane.state != choice.state:
        return False
    return not choice.find or choice.find.casefold() in (lane.connector or "shared lane").casefold()


def _place(lane: Lane, sort: Sort) -> tuple[float, float, bool, str]:
    """The place of a lane among the others; of equal ones the name decides, the shared lane last."""
    name = (lane.connector is None, lane.connector or "")
    oldest = lane.oldest_ms if lane.oldest_ms is not None else float("inf")
    if sort == "name":
        return (0, 0, *name)
    if sort == "waiting":
        return (-(lane.waiting or 0), oldest, *name)
    if sort == "oldest":
        return (oldest, 0, *name)
    return (need_of(lane), 0, *name)
