"""The results of a job on letters, put together by what became of the letters, and why."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from signalq.message.field_rules import Action
from signalq.ops.dead_letters.actions import LetterResult

# More lines than these are one: each row says why.
LINES_MAX = 20
_ACTIONS = frozenset(get_args(Action))
OTHERS = "for other reasons: each row says why"

# The fate of a letter: it is dealt with (or would be), it was replayed before, a person has to confirm it, it can't be
# done, or the broker or the ledger failed at it.
Fate = Literal["done", "already", "doubt", "refused", "failed"]
FATES: tuple[Fate, ...] = ("done", "already", "doubt", "refused", "failed")


@dataclass(slots=True)
class Line:
    """The letters of one fate, for one reason. `number` tells it from the others; `rows` are the places of its rows.

    `actions` counts what they order, and `marks` are their identities, one after the other.
    """

    number: int
    fate: Fate
    why: str | None
    actions: Counter[str] = field(default_factory=Counter)
    marks: bytearray = field(default_factory=bytearray)
    rows: array[int] = field(default_factory=lambda: array("L"))

    @property
    def count(self) -> int:
        """How many letters it has."""
        return len(self.rows)


class Tally:
    """The lines, as letters are added to them."""

    def __init__(self) -> None:
        self._lines: dict[tuple[Fate, str | None], Line] = {}
        # The opens among those that go or may go, by connector: close-only would let them die again.
        self.opens: Counter[str] = Counter()

    def add(
        self, number: int, identity: bytes, row: Mapping[str, object], result: LetterResult, *, is_open: bool
    ) -> None:
        """Add the letter that is the row of this number; `is_open`: its order opens something."""
        fate = fate_of(result)
        why = result.doubt if fate == "doubt" else None if fate == "already" else result.why
        # A doubt that a person may confirm is never one with another.
        if fate != "doubt" and (fate, why) not in self._lines and len(self._lines) >= LINES_MAX:
            why = OTHERS
        line = self._lines.setdefault((fate, why), Line(len(self._lines), fate, why))
        # A foreign word in its place may be anything.
        line.actions[str(row["action"]) if row["action"] in _ACTIONS else "no order"] += 1
        line.marks += identity
        line.rows.append(number)
        if is_open and fate in {"done", "doubt"} and isinstance(connector := row["connector"], str):
            self.opens[connector] += 1

    @property
    def lines(self) -> list[Line]:
        """All lines, in the order of the fates; of one fate the largest first."""
        return sorted(self._lines.values(), key=lambda line: (FATES.index(line.fate), -line.count, line.number))

    def line(self, number: int | None) -> Line | None:
        """The line of this number."""
        return next((line for line in self._lines.values() if line.number == number), None)

    def of(self, fate: Fate) -> list[Line]:
        """The lines of one fate."""
        return [line for line in self.lines if line.fate == fate]

    def count(self, *fates: Fate) -> int:
        """How many letters have one of these fates; all, where none is given."""
        return sum(line.count for line in self._lines.values() if not fates or line.fate in fates)


def fate_of(result: LetterResult) -> Fate:
    """The fate that a result is."""
    match result.result:
        case "replayed" | "discarded":
            return "done"
        case "replayed already":
            return "already"
        case "refused":
            return "refused" if result.doubt is None else "doubt"
        case "not done":
            return "failed"
