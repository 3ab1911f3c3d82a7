"""The plot of ./run bench: the ratios to naive, of CPU and of latency."""

from __future__ import annotations

from benchmarks import svg
from benchmarks.results import BASELINE, Results

FIGURES = {
    "cpu_us": "CPU an order, as a ratio to naive",
    "p50_ms": "p50 of the latency, as a ratio to naive",
    "p99_ms": "p99 of the latency, as a ratio to naive",
}
# Bars are no longer than so many times naive.
LONGEST = 5.0


def plot_of(results: Results) -> str:
    """A panel a figure, with a group of bars a phase; naive itself is the line at 1."""
    panels = []
    for figure, title in FIGURES.items():
        groups = {phase: _bars(results, phase, figure) for phase in results.titles}
        if found := {phase: group for phase, group in groups.items() if group}:
            panels.append(svg.Bars(title, found, LONGEST, mark=1.0))
    return svg.bars(panels)


def _bars(results: Results, phase: str, figure: str) -> dict[str, float]:
    found = {one.contender: one.ratio for one in results.of(phase) if one.contender != BASELINE}
    return {contender: ratio[figure] for contender, ratio in found.items() if figure in ratio}
