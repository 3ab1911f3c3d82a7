"""Charts as SVG, drawn by the server: they print, follow the theme by their classes, and need no script.

Each has `role="img"` and a sentence as its label. No `style=`: sizes are attributes, colours are classes. Deaths hang
below the axis, so that they are told from deliveries without any colour.
"""

from collections.abc import Sequence
from urllib.parse import quote

from markupsafe import Markup

from signalq.consumer.orders.switch import State
from signalq.times import iso_ms

# Of the small charts in rows, in units of the drawing, which are pixels there.
BAR_WIDTH, GAP = 3, 1
UP, DOWN = 16, 8
# Of a lane's own charts.
LARGE_WIDTH, LARGE_UP, LARGE_DOWN, LEFT, TOP, BELOW = 960, 130, 60, 44, 12, 22
TICKS = 6
METER_WIDTH, METER_HEIGHT = 120, 8

# The marks of the page's icon: a dot, a half one, two bars; and a question mark where nobody knows.
ICONS: dict[str, tuple[str, str]] = {
    "open": ("#1a7f4b", '<circle cx="8" cy="8" r="4" fill="#fff"/>'),
    "close-only": ("#b26a00", '<path d="M8 3v10a5 5 0 0 1 0-10z" fill="#fff"/>'),
    "paused": ("#c0271d", '<path d="M4 3.5h3v9H4zM9 3.5h3v9H9z" fill="#fff"/>'),
    "unknown": ("#5b6470", '<path d="M3 3l10 10M13 3L3 13" stroke="#fff" stroke-width="2.5"/>'),
}
ALARM = '<circle cx="13" cy="3" r="3" fill="#ffd23f"/>'


def endings(delivered: Sequence[int], dead: Sequence[int], label: str) -> Markup:
    """Bars of delivered above the axis, and of dead below it, one bucket beside the other."""
    highest = max([1, *delivered, *dead])
    width = max(1, len(delivered), len(dead)) * (BAR_WIDTH + GAP)
    drawn = [
        _bars("delivered", [_height(one, highest, UP, 1) for one in delivered], UP, -1),
        _bars("dead", [_height(one, highest, DOWN, 2) for one in dead], UP + 1, 1),
        Markup('<path class="axis" d="M0 {}h{}"/>').format(UP + 0.5, width),
    ]
    return _svg("chart", label, width, UP + DOWN + 1, drawn)


def large(delivered: Sequence[int], dead: Sequence[int], end_ms: int, bucket_ms: int, label: str) -> Markup:
    """The same with its scale and with times in UTC; the last bucket is the one that fills at `end_ms`."""
    count = max(1, len(delivered), len(dead))
    step = (LARGE_WIDTH - LEFT) / count
    axis = TOP + LARGE_UP
    most, most_dead = max([1, *delivered]), max([1, *dead])
    drawn = [
        _lines(axis),
        _bars("delivered", [_height(one, most, LARGE_UP, 1) for one in delivered], axis, -1, LEFT, step),
        _bars("dead", [_height(one, most_dead, LARGE_DOWN, 2) for one in dead], axis + 1, 1, LEFT, step),
        Markup('<path class="axis" d="M{} {}h{}"/>').format(LEFT, axis + 0.5, LARGE_WIDTH - LEFT),
        _text(LEFT - 6, TOP + 9, "end", f"{most:,}"),
        _text(LEFT - 6, axis + 4, "end", "0"),
        _text(LEFT - 6, axis + LARGE_DOWN, "end", f"{most_dead:,}") if any(dead) else Markup(""),
        *_times(end_ms, bucket_ms * count),
    ]
    return _svg("chart large", label, LARGE_WIDTH, axis + LARGE_DOWN + BELOW, drawn)


def meter(part: int, whole: int, label: str) -> Markup:
    """A bar of which `part` of the `whole` is filled."""
    filled = round(METER_WIDTH * min(1.0, max(0.0, part / whole if whole > 0 else 0.0)))
    drawn = [
        Markup('<rect class="track" width="{}" height="{}" rx="2"/>').format(METER_WIDTH, METER_HEIGHT),
        Markup('<rect class="filled" width="{}" height="{}" rx="2"/>').format(filled, METER_HEIGHT),
    ]
    return _svg("chart meter", label, METER_WIDTH, METER_HEIGHT, drawn)


def icon(state: State | None, *, is_alarm: bool) -> str:
    """The page's icon as an address; `is_alarm` adds a dot, None says that the state is not known."""
    colour, mark = ICONS[state or "unknown"]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" '
        f'fill="{colour}"/>{mark}{ALARM if is_alarm else ""}</svg>'
    )
    return f"data:image/svg+xml,{quote(svg)}"


def _height(count: int, most: int, height: int, least: int) -> int:
    """The height of a bar: never none for a count that is not 0."""
    return max(least, round(count / most * height)) if count else 0


def _bars(kind: str, heights: Sequence[int], axis: int, way: int, left: float = 0, step: float = 0) -> Markup:
    """The bars as one path, from the axis up (`way` -1) or down (1)."""
    step = step or BAR_WIDTH + GAP
    width = max(1.0, step - GAP)
    parts = [
        f"M{left + place * step:g} {axis}v{way * height}h{width:g}v{-way * height}z"
        for place, height in enumerate(heights)
        if height
    ]
    return Markup('<path class="{}" d="{}"/>').format(kind, "".join(parts)) if parts else Markup("")


def _lines(axis: int) -> Markup:
    """The lines of the scale behind the bars."""
    steps = [f"M{LEFT} {axis - LARGE_UP * part / 4 + 0.5:g}h{LARGE_WIDTH - LEFT}" for part in range(1, 5)]
    return Markup('<path class="grid" d="{}"/>').format("".join(steps))


def _times(end_ms: int, span_ms: int) -> list[Markup]:
    """The times of day below the bars, in UTC."""
    bottom = TOP + LARGE_UP + LARGE_DOWN + BELOW - 4
    words = []
    for tick in range(TICKS + 1):
        x = LEFT + (LARGE_WIDTH - LEFT) * tick / TICKS
        anchor = "start" if tick == 0 else "end" if tick == TICKS else "middle"
        at = iso_ms(end_ms - span_ms + round(span_ms * tick / TICKS))[11:16]
        words.append(_text(x, bottom, anchor, f"{at} UTC" if tick == TICKS else at))
    return words


def _text(x: float, y: float, anchor: str, words: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(f"{x:g}", f"{y:g}", anchor, words)


def _svg(kind: str, label: str, width: int, height: int, drawn: Sequence[Markup]) -> Markup:
    return Markup(
        '<svg class="{}" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>'
    ).format(kind, label, width, height, width, height, Markup("").join(drawn))
