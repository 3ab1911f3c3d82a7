"""The figures of one contender in one phase, their medians over the rounds, and their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Figures:
    """CPU time of the contender's process an order, all its threads; orders a second; its resident memory at the end;
    the latency from the start of publish to the first byte of the POST; and how many orders were POSTed behind a later
    one of their connector. None where the phase has no such figure.
    """

    cpu_us: float
    per_s: float
    rss_mb: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    out_of_order: float | None = None


NAMES = [field.name for field in fields(Figures)]


def medians(rounds: Sequence[Figures]) -> Figures:
    """Of each figure, the median over the rounds."""
    found: dict[str, float] = {}
    for name in NAMES:
        values = [value for figures in rounds if (value := getattr(figures, name)) is not None]
        if values:
            found[name] = statistics.median(values)
    return Figures(**found)


def ratios(figures: Figures, baseline: Figures) -> dict[str, float]:
    """Each figure over that of the baseline, where both have one."""
    pairs = [(name, getattr(figures, name), getattr(baseline, name)) for name in NAMES if name != "out_of_order"]
    return {name: mine / other for name, mine, other in pairs if mine is not None and other}
