"""The counts of one run of `signalq publish`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class RunTally:
    """The counts of lines by their results.

    `duplicates` of the `published` lines were published before, too (None: not known). `skipped` intents were confirmed
    by an earlier run. Every line up to `through_line` is dealt with.
    """

    published: int = 0
    duplicates: int | None = 0
    skipped: int = 0
    bad: int = 0
    unconfirmed: int = 0
    through_line: int = 0
    refused: str | None = None
    stopped_by: str | None = None
