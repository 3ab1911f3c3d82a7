"""A finding of `signalq check`: its state, its sentence, and its advice."""

from dataclasses import dataclass
from typing import Literal

from signalq.kinds import Kind

# A sentence names so many things, and counts the others.
NAMED_MAX = 4

FindingState = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do if it is not as it should be.

    `kind` is that of the error that was met, if any.
    """

    check: str
    state: FindingState
    found: str
    advice: str | None = None
    kind: Kind | None = None


def named(what: list[str], *, apart: str = ", ") -> str:
    """The first NAMED_MAX of them, and how many more there are."""
    more = f" and {len(what) - NAMED_MAX} more" if len(what) > NAMED_MAX else ""
    return apart.join(what[:NAMED_MAX]) + more
