"""Charts as SVG, drawn by the server: they print, follow the theme by `currentColor`, and need no script.

Each has `role="img"` and a sentence as its label. No `style=`: sizes are attributes, colours are classes.
"""

from collections.abc import Sequence

from markupsafe import Markup

BAR_WIDTH, GAP = 3, 1
UP, DOWN = 16, 8


def endings(delivered: Sequence[int], dead: Sequence[int], label: str) -> Markup:
    """Bars of delivered above the axis, and of dead below it, one bucket beside the other."""
    highest = max([1, *delivered, *dead])
    bars = []
    for place, (up, down) in enumerate(zip(delivered, dead, strict=True)):
        x = place * (BAR_WIDTH + GAP)
        if up:
            height = max(1, round(up / highest * UP))
            bars.append(
                Markup('<rect class="delivered" x="{}" y="{}" width="{}" height="{}"/>').format(
                    x, UP - height, BAR_WIDTH, height
                )
            )
        if down:
            height = max(2, round(down / highest * DOWN))
            bars.append(
                Markup('<rect class="dead" x="{}" y="{}" width="{}" height="{}"/>').format(x, UP + 1, BAR_WIDTH, height)
            )
    width = max(1, len(delivered)) * (BAR_WIDTH + GAP)
    return Markup(
        '<svg class="chart" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}</svg>'
    ).format(label, width, UP + DOWN + 1, width, UP + DOWN + 1, Markup("").join(bars))
