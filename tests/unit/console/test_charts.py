"""The charts that the server draws: a picture that can be seen, and a sentence that can be heard."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from signalq.ops.console.moment.snapshot import LONG_BUCKET_MS
from signalq.ops.console.rendering import charts
from tests.support.console_snapshots import LONG, NASTY, NOW_MS


def drawn(svg: str) -> ET.Element:
    """The picture, which has to be well-formed."""
    return ET.fromstring(svg)  # noqa: S314 - our own


def bars(svg: str, kind: str) -> list[tuple[float, float]]:
    """The bars of a kind: where each begins, and its height, negative above the axis."""
    (found,) = re.findall(rf'<path class="{kind}" d="([^"]*)"', svg) or [""]
    return [(float(x), float(height)) for x, height in re.findall(r"M([\d.]+) \d+v(-?\d+)h", found)]


def test_deliveries_rise_above_the_axis_and_deaths_hang_below_it() -> None:
    svg = charts.endings([0, 1, 10], [0, 0, 5], "15 delivered")
    assert bars(svg, "delivered") == [(4, -2), (8, -16)]
    assert bars(svg, "dead") == [(8, 4)]
    assert drawn(svg).get("width") == "12"


@pytest.mark.parametrize("many", [1, 1_000_000])
def test_one_death_among_many_orders_can_be_seen(many: int) -> None:
    assert bars(charts.endings([many], [1], ""), "dead")[0][1] >= 2
    assert bars(charts.large([many, many], [1, 0], NOW_MS, 1_000, ""), "dead")[0][1] >= 2


def test_a_chart_of_nothing_is_a_chart() -> None:
    for svg in (
        charts.endings([], [], "nothing"),
        charts.large([], [], NOW_MS, 1_000, "nothing"),
        charts.meter(0, 0, "x"),
    ):
        assert drawn(svg).get("role") == "img"


@pytest.mark.parametrize("name", NASTY)
def test_a_label_of_somebody_else_stays_a_label(name: str) -> None:
    if "\x00" in name or "\x1b" in name:
        name = ascii(name)  # templates escape before
    svg = charts.endings([1], [1], name)
    root = drawn(svg)
    assert (root.get("role"), root.get("aria-label")) == ("img", name.replace("\n", " "))
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "path"}


def test_the_large_chart_tells_its_scale_and_its_times_in_utc() -> None:
    svg = charts.large(LONG.delivered, LONG.dead, NOW_MS, LONG_BUCKET_MS, "a day")
    words = [element.text for element in drawn(svg) if element.tag == "text"]
    assert words[:3] == [str(max(LONG.delivered)), "0", "4"]
    assert (words[3], words[-1]) == ("20:26", "20:26 UTC")
    assert len(bars(svg, "delivered")) == sum(1 for count in LONG.delivered if count)


@pytest.mark.parametrize(("part", "whole", "filled"), [(0, 10, 0), (5, 10, 60), (20, 10, 120), (-3, 10, 0), (1, 0, 0)])
def test_a_meter_is_never_fuller_than_full(part: int, whole: int, filled: int) -> None:
    svg = drawn(charts.meter(part, whole, "passed"))
    assert [element.get("width") for element in svg] == ["120", str(filled)]


def test_no_chart_has_a_style_of_its_own() -> None:
    drawn = [charts.endings([1], [1], ""), charts.large([1], [1], NOW_MS, 1_000, ""), charts.meter(1, 2, "")]
    assert [svg for svg in drawn if "style" in svg or "<script" in svg] == []


def test_the_icon_has_another_shape_in_each_state() -> None:
    icons = {
        charts.icon(state, is_alarm=alarm)
        for state in ("open", "close-only", "paused", None)
        for alarm in (True, False)
    }
    assert len(icons) == 8
    assert all(icon.startswith("data:image/svg+xml,%3Csvg") and '"' not in icon for icon in icons)
