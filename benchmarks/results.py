"""What ./run bench has measured: the figures of each turn, as a table and as JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from benchmarks.contenders import NAIVE
from benchmarks.figures import Figures, medians, ratios

BASELINE = NAIVE.name
# A figure, the heading of its column, and the digits behind its point.
COLUMNS = [
    ("cpu_us", "CPU µs", 0),
    ("per_s", "orders/s", 0),
    ("p50_ms", "p50 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("rss_mb", "RSS MB", 0),
    ("out_of_order", "misplaced", 0),
]


@dataclass(frozen=True, slots=True)
class Result:
    """The medians of a contender in a phase, their ratios to those of the baseline, and the figures of each round."""

    contender: str
    median: Figures
    ratio: dict[str, float]
    rounds: Sequence[Figures]


class Results:
    """Takes the figures of each turn. `titles` are those of the phases, by name, in the order of the tables."""

    def __init__(self, titles: dict[str, str]) -> None:
        self.titles = titles
        self._rounds: dict[str, dict[str, list[Figures]]] = defaultdict(lambda: defaultdict(list))

    def add(self, phase: str, contender: str, figures: Figures) -> None:
        """One turn."""
        self._rounds[phase][contender].append(figures)

    def of(self, phase: str) -> Iterator[Result]:
        """The results of a phase, in the order of the turns."""
        middle = {contender: medians(rounds) for contender, rounds in self._rounds[phase].items()}
        for contender, median in middle.items():
            ratio = ratios(median, middle[BASELINE]) if BASELINE in middle else {}
            yield Result(contender, median, ratio, self._rounds[phase][contender])

    def told(self) -> dict[str, object]:
        """For JSON: by phase and contender."""
        return {
            phase: {"title": title, "contenders": {result.contender: asdict(result) for result in self.of(phase)}}
            for phase, title in self.titles.items()
        }

    def table(self) -> str:
        """For a terminal: a table a phase; `x` is the ratio to the baseline."""
        return "\n\n".join("\n".join(self._lines(phase)) for phase in self.titles)

    def _lines(self, phase: str) -> Iterator[str]:
        found = list(self.of(phase))
        columns = [column for column in COLUMNS if any(getattr(one.median, column[0]) is not None for one in found)]
        yield f"{phase}: {self.titles[phase]}"
        yield f"{'':<20}" + "".join(f"{heading:>10}{'':>8}" for _, heading, _ in columns)
        for one in found:
            yield f"{one.contender:<20}" + "".join(_cell(one, name, digits) for name, _, digits in columns)


def _cell(result: Result, name: str, digits: int) -> str:
    """A figure, and behind it its ratio to the baseline's."""
    value, ratio = getattr(result.median, name), result.ratio.get(name)
    shown = "-" if value is None else f"{value:,.{digits}f}"
    return f"{shown:>10}" + (f"{'':>8}" if ratio is None else f"{f'x{ratio:.2f}':>8}")
