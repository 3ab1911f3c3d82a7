"""Fits a table to a terminal: which of its columns are shown, how wide each is, and how much of an id. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

GAP = "  "
CUT = "…"
# An id is cut to what tells it from the others of its table, and to no less.
ID_CHARACTERS_MIN = 8
# Ids that begin alike are cut in their middles: so much stands before the cut, and at least so much behind it.
BEGINNING_CHARACTERS, END_CHARACTERS_MIN = 6, 9


@dataclass(frozen=True, slots=True)
class Measure:
    """A column's widest cell, the width that it may be cut to, and its rank: the highest is left out first, 0 never.

    `ample`: the width that others are left out for, at least as much as `least`.
    """

    width: int
    least: int
    ample: int
    rank: int = 0


def fitted(measures: Sequence[Measure], room: int) -> list[int]:
    """The width of each column, in all at most `room` if that can be; 0 for one that is left out.

    Columns are left out until the others have ample room. Then the widest is cut by one, again and again: down to what
    is ample, and if that does not do, to the least.
    """
    there = dict(enumerate(measures))
    while _total([min(one.width, one.ample) for one in there.values()]) > room:
        ranked = [at for at, one in there.items() if one.rank]
        if not ranked:
            break
        del there[max(ranked, key=lambda at: (there[at].rank, at))]
    widths = {at: one.width for at, one in there.items()}
    _cut(widths, {at: one.ample for at, one in there.items()}, room)
    _cut(widths, {at: one.least for at, one in there.items()}, room)
    return [widths.get(at, 0) for at in range(len(measures))]


def _cut(widths: dict[int, int], floors: Mapping[int, int], room: int) -> None:
    """Take from the widest until all fit, or all are down at their floors."""
    while _total(widths.values()) > room:
        cuttable = [at for at, width in widths.items() if width > floors[at]]
        if not cuttable:
            return
        widths[max(cuttable, key=lambda at: widths[at])] -= 1


def short_ids(ids: Iterable[str]) -> Callable[[str], str]:
    """Shortens each id to what tells it from the others: its beginning, or beginning and end where many begin alike."""
    known = set(ids)
    length = characters_apart(known)
    end = characters_apart((one[::-1] for one in known), END_CHARACTERS_MIN)
    whole = BEGINNING_CHARACTERS + len(CUT) + end
    if length <= whole:
        return lambda one: one[:length]
    return lambda one: one if len(one) <= whole else one[:BEGINNING_CHARACTERS] + CUT + one[-end:]


def characters_apart(ids: Iterable[str], least: int = ID_CHARACTERS_MIN) -> int:
    """How many characters of each id tell them all apart, or `least`."""
    common = (sum(1 for _ in takewhile(_are_equal, zip(*two, strict=False))) for two in pairwise(sorted(set(ids))))
    return max(least, max(common, default=0) + 1)


def _are_equal(two: tuple[str, str]) -> bool:
    return two[0] == two[1]


def _total(widths: Iterable[int]) -> int:
    there = list(widths)
    return sum(there) + len(GAP) * max(len(there) - 1, 0)
