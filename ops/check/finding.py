"""What `signalq check` says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# So many are named; more than these are counted.
NAMED_MAX = 4

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what was found, and what to do where it is not as it should be."""

    check: str
    state: State
    found: str
    advice: str | None = None

    def row(self) -> dict[str, object]:
        """As a JSON object."""
        return {"check": self.check, "state": self.state, "found": self.found, "advice": self.advice}


def named(what: list[str], *, apart: str = ", ") -> str:
    """The first NAMED_MAX, and how many more there are."""
    more = f" and {len(what) - NAMED_MAX} more" if len(what) > NAMED_MAX else ""
    return apart.join(what[:NAMED_MAX]) + more
