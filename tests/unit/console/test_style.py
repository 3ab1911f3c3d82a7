"""The console's style: every text can be read, and every line and focus ring be seen, in both themes (WCAG 2.2 AA)."""

from __future__ import annotations

import re
from itertools import product

import pytest

from signalq.ops.console.rendering.render import STATIC, environment
from tests.support.console_snapshots import own_files

CSS = (STATIC / "console.css").read_text("utf-8")
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS)
}
THEMES = {"light": 0, "dark": 1}
TEXT_MIN, LINE_MIN = 4.5, 3.0
GROUNDS = ("page", "surface", "raised")
TINTS = ("ok-tint", "warn-tint", "bad-tint", "info-tint")
TEXTS = [
    *product(("text", "muted", "accent"), GROUNDS),
    *product(("text", "accent"), TINTS),
    *product(("ok", "warn", "bad", "info"), ("page", "surface", "raised")),
    *((kind, f"{kind}-tint") for kind in ("ok", "warn", "bad", "info")),
    *((f"on-{kind}", kind) for kind in ("solid", "accent", "danger", "paused", "careful")),
    ("on-careful", "careful-stripe"),
]
LINES = [
    *product(("edge", "delivered", "dead"), GROUNDS),
    *product(("focus",), (*GROUNDS, *TINTS)),
    *product(("accent",), GROUNDS),
    *((f"on-{kind}", kind) for kind in ("paused", "careful")),
]


def brightness(colour: str) -> float:
    """The relative luminance: https://www.w3.org/TR/WCAG22/#dfn-relative-luminance"""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((brightness(one), brightness(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_every_text_can_be_read_on_every_ground_that_it_stands_on(theme: str) -> None:
    faint = {pair: round(found, 2) for pair in TEXTS if (found := of(pair, theme)) < TEXT_MIN}
    assert faint == {}


@pytest.mark.parametrize("theme", THEMES)
def test_every_line_and_focus_ring_can_be_seen(theme: str) -> None:
    faint = {pair: round(found, 2) for pair in LINES if (found := of(pair, theme)) < LINE_MIN}
    assert faint == {}


def of(pair: tuple[str, str], theme: str) -> float:
    one, other = (TOKENS[name][THEMES[theme]] for name in pair)
    return contrast(one, other)


def test_the_contrast_of_black_and_white_is_21() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_no_colour_is_written_outside_the_tokens() -> None:
    """But in print, which is black on white, and in shadows."""
    rules = CSS.partition("@layer base {")[2].partition("@media print")[0]
    assert re.findall(r"#[0-9a-f]{3,8}\b", rules) == []


def test_every_token_that_is_used_is_there() -> None:
    known = set(re.findall(r"--([a-z-]+):", CSS))
    assert set(re.findall(r"var\(--([a-z-]+)\)", CSS)) <= known


def test_every_class_of_the_vocabulary_has_a_rule() -> None:
    words = (
        "card cards rows num muted tag ok warn bad info btn primary danger safe small actions notice grave empty facts"
    )
    more = (
        "filters field chart id visually-hidden cut sub steps progress scripted unscripted quiet band brand stale bare"
    )
    assert [word for word in f"{words} {more}".split() if not re.search(rf"\.{word}\b", CSS)] == []


def test_the_sheet_has_the_rules_that_the_design_asks_for() -> None:
    for rule in (
        "color-scheme: light dark",
        "prefers-reduced-motion",
        "forced-colors: active",
        "scripting: none",
        "@media print",
        "scroll-padding",
        "tabular-nums",
        ":focus-visible",
        "max-width: 640px",
        "min-height: 44px",
    ):
        assert rule in CSS, rule


def test_nothing_is_fetched_from_elsewhere() -> None:
    for file in own_files(STATIC):
        text = file.read_text("utf-8")
        assert not re.search(r"https?://|@import|url\(", re.sub(r"(?m)//.*$|/\*.*?\*/", "", text)), file
    loader = environment().loader
    assert loader is not None
    for name in loader.list_templates():
        source = loader.get_source(environment(), name)[0]
        assert not re.search(r"(?:src|href|action)=[\"']?(?:https?:)?//", source), name
