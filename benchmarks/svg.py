"""Plots as SVG, drawn without a library: panels of bars, and panels of lines.

Each returns a whole document, with a white ground and no font of its own: it looks the same on a light page and on a
dark one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

COLORS = ["#0b6e99", "#5fb0cf", "#d98e2b", "#5b9a3c", "#8a8a8a"]
INK, GRID = "#222222", "#dddddd"
FONT = 'font-family="Helvetica, Arial, sans-serif"'
MARGIN = 16
TITLE_HEIGHT = 26


# ---- bars ----

LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 130, 420, 60
BAR_HEIGHT, GROUP_GAP = 13, 10


@dataclass(frozen=True, slots=True)
class Bars:
    """A panel: groups of bars, one a name. A bar that is longer than `longest` is cut, and its value tells how long it
    is; `mark` is a line through all.
    """

    title: str
    groups: dict[str, dict[str, float]]
    longest: float
    mark: float | None = None


def bars(panels: Sequence[Bars]) -> str:
    """The panels below each other, and a legend."""
    names = list(dict.fromkeys(name for panel in panels for group in panel.groups.values() for name in group))
    colors = dict(zip(names, COLORS, strict=False))
    width = LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH + 2 * MARGIN
    parts, top = [_legend(colors, MARGIN)], MARGIN + TITLE_HEIGHT
    for panel in panels:
        drawn, height = _bar_panel(panel, colors, top)
        parts.append(drawn)
        top += height
    return _document(width, top, parts)


def _bar_panel(panel: Bars, colors: dict[str, str], top: float) -> tuple[str, float]:
    left, first = MARGIN + LABEL_WIDTH, top + TITLE_HEIGHT
    parts, y = [_text(MARGIN, top + 14, panel.title, weight="bold")], first
    for label, group in panel.groups.items():
        parts.append(_text(left - 8, y + len(group) * BAR_HEIGHT / 2 + 3, label, anchor="end"))
        for name, value in group.items():
            width = min(value, panel.longest) / panel.longest * BAR_WIDTH
            size = f'width="{width:.1f}" height="{BAR_HEIGHT - 2}"'
            parts.append(f'<rect x="{left}" y="{y}" {size} fill="{colors[name]}"/>')
            parts.append(_text(left + width + 4, y + 10, f"{value:.2f}", size=10))
            y += BAR_HEIGHT
        y += GROUP_GAP
    if panel.mark is not None:
        x = left + panel.mark / panel.longest * BAR_WIDTH
        parts.insert(0, _line(x, first - 4, x, y - GROUP_GAP + 4, INK, "4 3"))
    return "\n".join(parts), y + GROUP_GAP - top


# ---- lines ----

PANEL_WIDTH, PANEL_HEIGHT, AXIS_WIDTH, AXIS_HEIGHT = 300, 170, 52, 24


@dataclass(frozen=True, slots=True)
class Lines:
    """A panel: one line through points of x and y. x is drawn by its logarithm, with 0 at the left; y begins at 0."""

    title: str
    points: Sequence[tuple[float, float]]


def lines(panels: Sequence[Sequence[Lines]]) -> str:
    """Rows of panels."""
    width = max((len(row) for row in panels), default=0) * (PANEL_WIDTH + MARGIN) + MARGIN
    height = len(panels) * (PANEL_HEIGHT + MARGIN) + MARGIN
    parts = [
        _line_panel(panel, MARGIN + column * (PANEL_WIDTH + MARGIN), MARGIN + row * (PANEL_HEIGHT + MARGIN))
        for row, found in enumerate(panels)
        for column, panel in enumerate(found)
    ]
    return _document(width, height, parts)


def _line_panel(panel: Lines, left: float, top: float) -> str:
    x_left, y_top = left + AXIS_WIDTH, top + TITLE_HEIGHT
    width, height = PANEL_WIDTH - AXIS_WIDTH - MARGIN, PANEL_HEIGHT - TITLE_HEIGHT - AXIS_HEIGHT
    places = _places([x for x, _ in panel.points])
    highest = _round_up(max(y for _, y in panel.points))
    corners = [
        (x_left + place * width, y_top + height - y / highest * height)
        for place, (_, y) in zip(places, panel.points, strict=True)
    ]
    parts = [_text(left, top + 14, panel.title, weight="bold")]
    for share in (0, 0.5, 1):
        y = y_top + height - share * height
        parts.append(_line(x_left, y, x_left + width, y, GRID))
        parts.append(_text(x_left - 6, y + 4, f"{share * highest:,g}", anchor="end", size=10))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{COLORS[0]}" stroke-width="2"/>')
    for (x, y), (value, _) in zip(corners, panel.points, strict=True):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLORS[0]}"/>')
        parts.append(_text(x, y_top + height + 16, f"{value:,g}", anchor="middle", size=10))
    return "\n".join(parts)


def _places(values: Sequence[float]) -> list[float]:
    """Where each value lies, from 0 at the left to 1, by its logarithm. 0 has none: it stands one power before."""
    least = min((value for value in values if value > 0), default=1)
    logs = [math.log10(value) if value > 0 else math.log10(least) - 1 for value in values]
    span = max(logs) - min(logs)
    return [(log - min(logs)) / span if span else 0.5 for log in logs]


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 6, 8 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next((step * power for step in (1, 2, 4, 6, 8) if value <= step * power), 10 * power)


# ---- pieces ----


def _legend(colors: dict[str, str], top: float) -> str:
    parts, x = [], float(MARGIN)
    for name, color in colors.items():
        parts.append(f'<rect x="{x:g}" y="{top}" width="11" height="11" fill="{color}"/>')
        parts.append(_text(x + 16, top + 10, name))
        x += 34 + 7 * len(name)
    return "\n".join(parts)


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
        f' fill="{INK}">{escape(words)}</text>'
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str, dashes: str = "none") -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-dasharray="{dashes}"/>'
    )


def _document(width: float, height: float, parts: Iterable[str]) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    ground = f'<rect width="{width:g}" height="{height:g}" fill="#ffffff"/>'
    body = "\n".join([ground, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>\n{body}\n</svg>\n'
