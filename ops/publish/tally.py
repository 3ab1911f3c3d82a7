"""The counts of one run of `signalq publish`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RunTally:
    """The counts of lines by their results.

    Every line up to `through_line` is dealt with. `known` of the `published` lines were published before, too.
    """

    published: int = 0
    known: int = 0
    bad: int = 0
    unconfirmed: int = 0
    through_line: int = 0
    refused: str | None = None
    stopped_by: str | None = None
