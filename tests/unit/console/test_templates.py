"""The templates: whatever somebody else has chosen as a name is text in them, and nothing acts but our own scripts."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from signalq.consumer.orders.switch import State
from signalq.ops.console.gate.access import Viewer
from signalq.ops.console.moment.snapshot import REGIONS, Snapshot
from signalq.ops.console.rendering import render
from tests.support.console_snapshots import (
    ALICE,
    NASTY,
    WATCHER,
    calm,
    desk_of,
    ledger_away,
    own_files,
    shown,
    snapshot_of,
    with_all,
)

TEMPLATES = render.ROOM / "templates"
SCRIPTS = sorted(render.STATIC.glob("*.js"))
# The design gives the pages so little script: beyond it, a library would be the better choice.
MODULE_LINES_MAX, ALL_LINES_MAX = 400, 500
EMPTY = frozenset({"br", "hr", "img", "input", "link", "meta", "option", "path", "rect", "circle", "source", "wbr"})
PAGES = (
    "/",
    "/?wall=1",
    "/?state=paused&sort=oldest&page=2&quiet=1",
    "/?find=nothing-has-this-name",
    "/keys",
    "/switch?to=paused",
    "/switch?to=close-only",
    "/switch?to=open",
    "/switch?to=paused&connector=main",
    "/switch?to=close-only&connector=gamma",
    "/switch?to=open&connector=gamma",
    "/switch?to=open&connector=beta",
    "/parts/lane?connector=main",
    "/parts/lane",
)


class Page(HTMLParser):
    """A page as a browser reads it: its elements with their attributes, its text; fails where tags do not match."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: <{tag} {attrs}>"
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in EMPTY:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def values(self, attribute: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(attribute))]


async def pages_of(snapshot: Snapshot, viewer: Viewer = ALICE) -> dict[str, Page]:
    """Every page of ours that needs no ledger."""
    desk = desk_of(snapshot)
    return {path: Page(await shown(desk, path, viewer)) for path in PAGES}


@pytest.mark.parametrize("name", NASTY, ids=ascii)
async def test_a_name_of_somebody_else_is_text_on_every_page(name: str) -> None:
    for path, page in (await pages_of(snapshot_of(name))).items():
        scripts = page.all("script")
        assert all(script["src"] and script["src"].startswith("/static/") for script in scripts), path
        assert not page.all("img"), path
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")], path
        assert not page.values("style"), path
        # Nothing invisible turns the sentence round.
        shown_text = page.text + "".join(page.values("title") + page.values("aria-label"))
        assert re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08\x1b]", shown_text) is None, path


async def test_a_long_name_is_cut_and_whole_in_its_title() -> None:
    name = "x" * 255
    page = Page(await shown(desk_of(snapshot_of(name)), "/parts/lanes"))
    assert name not in page.text
    assert name in page.values("title")


@pytest.mark.parametrize("state", ["open", "close-only", "paused"])
@pytest.mark.parametrize("viewer", [ALICE, WATCHER], ids=["operate", "view"])
async def test_every_page_is_well_formed_and_no_id_is_there_twice(state: State, viewer: Viewer) -> None:
    for snapshot in (with_all(snapshot_of(), state), calm(), ledger_away(snapshot_of()), Snapshot()):
        for path, page in (await pages_of(snapshot, viewer)).items():
            twice = {one for one, count in Counter(page.values("id")).items() if count > 1}
            assert not twice, f"{path}: {twice}"
            for attribute in ("aria-describedby", "aria-labelledby", "for", "list"):
                assert set(page.values(attribute)) <= set(page.values("id")), path


async def test_every_field_has_a_label_and_every_table_a_caption_and_headings() -> None:
    for path, page in (await pages_of(snapshot_of())).items():
        labelled = set(page.values("for"))
        for field in [*page.all("input"), *page.all("select")]:
            assert field.get("type") == "hidden" or field.get("id") in labelled, f"{path}: {field}"
        assert len(page.all("caption")) == len(page.all("table")), path
        assert all(heading.get("scope") for heading in page.all("th")), path
        assert all(svg.get("role") == "img" and svg.get("aria-label") for svg in page.all("svg")), path


async def test_every_region_has_an_id_a_part_that_is_there_and_regions_that_are_known() -> None:
    desk = desk_of(snapshot_of())
    for path, page in (await pages_of(snapshot_of())).items():
        for _, region in page.elements:
            if part := region.get("data-region"):
                assert region.get("id"), path
                assert set((region["data-on"] or "").split()) <= REGIONS, path
                assert await shown(desk, part), path


async def test_a_region_is_the_same_on_the_page_and_by_itself() -> None:
    desk = desk_of(snapshot_of())
    page = await shown(desk, "/?sort=name")
    for part in ("/parts/attention", "/parts/lanes?sort=name", "/parts/throughput", "/parts/consumers"):
        assert (await shown(desk, part)).strip() in page


async def test_one_who_may_only_look_sees_the_buttons_and_why_they_do_nothing() -> None:
    pages = await pages_of(snapshot_of(), WATCHER)
    assert not [link for link in pages["/"].all("a") if (link.get("href") or "").startswith("/switch?")]
    assert "Pause…: you are signed in to view only" in re.sub(r"\s+", " ", pages["/"].text)
    assert pages["/switch?to=paused"].all("button")[-1].get("disabled", "") is None
    assert "You can't do that here" in pages["/switch?to=paused"].text


async def test_a_display_on_a_wall_has_nothing_to_press() -> None:
    page = (await pages_of(snapshot_of()))["/?wall=1"]
    assert not page.all("form")
    assert not [link for link in page.all("a") if "data-dialog" in link and link["href"] != "/keys"]
    assert ("html", {"lang": "en", "class": "wall"}) in page.elements


async def test_every_link_of_a_page_leads_below_the_base_of_the_console() -> None:
    desk = desk_of(snapshot_of(), console={"url": "https://desk.example/tools/signalq"})
    for path in PAGES:
        page = Page(await shown(desk, path))
        ours = [*page.values("href"), *page.values("src"), *page.values("action"), *page.values("data-region")]
        assert not [one for one in ours if not one.startswith(("/tools/signalq/", "#main", "data:"))], path


async def test_a_figure_that_is_not_known_is_no_zero() -> None:
    snapshot = snapshot_of()
    page = await shown(desk_of(replace(snapshot, broker=replace(snapshot.broker, away_since_ms=1))), "/parts/lanes")
    assert re.findall(r'data-label="Waits" class="num">(.*?)<', page) == ["—"] * len(snapshot.lanes)


async def test_the_page_says_what_to_do_where_nothing_is_there_yet() -> None:
    assert "Nothing needs you." in Page(await shown(desk_of(calm()), "/")).text
    empty = Page(await shown(desk_of(replace(calm(), lanes=(), replicas=())), "/")).text
    assert "No orders yet." in empty
    assert "signalq consume" in empty


def test_no_template_trusts_a_text_or_has_style_or_handlers_of_its_own() -> None:
    for file in TEMPLATES.rglob("*.html"):
        source = file.read_text("utf-8")
        assert not re.search(r"\|\s*safe\b|\bautoescape\b", source), file
        assert not re.search(r"\s(?:style|on[a-z]+)\s*=", re.sub(r"\{[{%#].*?[}%#]\}", "", source)), file
        assert not re.search(r"<script(?![^>]*\bsrc=)", source), file


def test_no_markup_is_made_but_by_format() -> None:
    for file in render.ROOM.rglob("*.py"):
        made = re.findall(r"Markup\((?!\s*(?:\"|'|$))[^\n]*", file.read_text("utf-8"))
        assert made == [], file


def test_every_template_is_used() -> None:
    sources = [file.read_text("utf-8") for folder in (TEMPLATES, render.ROOM) for file in own_files(folder)]
    everything = "\n".join(sources)
    for file in TEMPLATES.rglob("*.html"):
        assert f'"{file.relative_to(TEMPLATES).as_posix()}"' in everything, file


def test_the_scripts_are_short_and_make_no_code_of_texts() -> None:
    assert [file.name for file in SCRIPTS] == ["console.js", "keys.js", "plot.js"]
    lines = {file.name: len(file.read_text("utf-8").splitlines()) for file in SCRIPTS}
    assert max(lines.values()) <= MODULE_LINES_MAX
    assert lines["console.js"] + lines["keys.js"] <= ALL_LINES_MAX
    for file in SCRIPTS:
        source = file.read_text("utf-8")
        assert not re.search(
            r"\beval\b|new Function|document\.write|insertAdjacentHTML|outerHTML|\bcookie\b", source
        ), file
        assert max(map(len, source.splitlines())) <= 120, file
