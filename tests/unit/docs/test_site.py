"""The documentation as a site: whole, with every link leading somewhere, and nothing fetched from another host."""

from __future__ import annotations

import json
import re
import zlib
from html import unescape
from pathlib import Path

import pytest

import signalq
from tests.support.docs_site import ROOT, faults, make

API = ROOT / "docs" / "api.md"
INDEX = ROOT / "docs" / "README.md"
# The names of `signalq.testing` that are for its users.
FOR_TESTS = {"testing.InMemoryOrderPublisher", "testing.Published"}
PUBLIC = {name for name in signalq.__all__ if not name.startswith("__")} | FOR_TESTS


def test_the_site_is_made_without_a_warning_and_keeps_its_promises(tmp_path: Path) -> None:
    """One test, since making it takes seconds."""
    made = make(tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert faults(tmp_path) == []
    pages = {path: (tmp_path / path).with_suffix(".html") for path in linked_by_the_index()}
    assert [path for path, page in pages.items() if not page.is_file()] == []
    assert captions(tmp_path / "README.html") == re.findall(r"^## (.+)$", INDEX.read_text("utf-8"), re.MULTILINE)
    assert documented(tmp_path) >= PUBLIC
    assert private(documented(tmp_path)) == set()
    assert "docs/operate/switch" in found_by(tmp_path, "paus")
    assert "docs/api" in found_by(tmp_path, "publish_timeout_")
    assert drawn(tmp_path / "docs" / "architecture.html") == (2, True)


def test_the_reference_has_every_public_name_and_no_other() -> None:
    named = re.findall(r"^\.\. auto(?:class|exception):: signalq\.(\S+)$", API.read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(PUBLIC)


def linked_by_the_index() -> list[str]:
    """The pages of docs/README.md, from the root of the repository."""
    targets = re.findall(r"\]\(([^)#]+\.md)\)", INDEX.read_text("utf-8"))
    return [str((INDEX.parent / target).resolve().relative_to(ROOT)) for target in targets]


def captions(page: Path) -> list[str]:
    """The headings of the navigation."""
    return [unescape(text) for text in re.findall(r'class="caption-text">([^<]*)<', page.read_text("utf-8"))]


def documented(site: Path) -> set[str]:
    """The names in the inventory of the reference, without `signalq.` before them."""
    head, *lines = (site / "objects.inv").read_bytes().split(b"\n", 4)
    assert head == b"# Sphinx inventory version 2"
    rows = [row.split(" ", 3) for row in zlib.decompress(lines[-1]).decode().splitlines()]
    # A name at which a thing is defined, and not documented, has the priority -1.
    return {name.removeprefix("signalq.") for name, kind, priority, _ in rows if kind[:3] == "py:" and priority == "1"}


def private(names: set[str]) -> set[str]:
    """The names that are not for users: with an underscore before a part, or of a class that is not public."""
    return {name for name in names if "._" in f".{name}" or not any(one in PUBLIC for one in upwards(name))}


def upwards(name: str) -> list[str]:
    """`a.b.c`, `a.b` and `a`."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), 0, -1)]


def found_by(site: Path, stem: str) -> set[str]:
    """The pages that the search finds for a word's stem."""
    script = (site / "searchindex.js").read_text("utf-8")
    assert 'src="searchindex.js"' in (site / "search.html").read_text("utf-8"), "a script loads from a folder, too"
    index = json.loads(script.removeprefix("Search.setIndex(").removesuffix(")"))
    found = index["terms"].get(stem, [])
    return {index["docnames"][number] for number in (found if isinstance(found, list) else [found])}


def drawn(page: Path) -> tuple[int, bool]:
    """How many drawings a page has, and whether it has none as text."""
    text = page.read_text("utf-8")
    return text.count('<div class="drawing"'), "flowchart LR" not in text


# ---- such faults are found ----

WHOLE = '<a href="b.html#there">b</a><a href="https://example.org/">elsewhere</a><link href="a.css" rel="stylesheet">'
FAULTS = {
    "a link to no page": ('<a href="c.html">c</a>', "a.html: links to c.html, which is not there"),
    "a link to no anchor": ('<a href="b.html#gone">b</a>', "a.html: links to b.html#gone, which has no such anchor"),
    "a link to no anchor here": ('<a href="#gone">b</a>', "a.html: links to #gone, which has no such anchor"),
    "a picture that lacks": ('<img src="c.png">', "a.html: links to c.png, which is not there"),
    "a script of another host": (
        '<script src="https://cdn.example.org/a.js"></script>',
        "a.html: fetches https://cdn.example.org/a.js",
    ),
    "a style of another host": ('<link href="//example.org/a.css">', "a.html: fetches //example.org/a.css"),
    "an import in a script": (
        '<script>import("https://example.org/a.mjs")</script>',
        "a.html: fetches https://example.org/a.mjs",
    ),
    "a font in a style": (
        "<style>@font-face {src: url(http://example.org/f)}</style>",
        "a.html: fetches http://example.org/f",
    ),
}


@pytest.mark.parametrize(("planted", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_found(planted: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(WHOLE + planted, "utf-8")
    (tmp_path / "b.html").write_text('<h2 id="there">there</h2>', "utf-8")
    (tmp_path / "a.css").write_text("a { background: url('data:image/svg+xml;charset=utf-8,') }", "utf-8")
    assert faults(tmp_path) == [fault]


@pytest.mark.parametrize("style", ["@import 'https://example.org/b.css';", "@import url(https://example.org/b.css);"])
def test_a_style_and_a_script_of_the_site_fetch_nothing_from_elsewhere(style: str, tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(style, "utf-8")
    (tmp_path / "a.js").write_text("// https://example.org/licence\nfetch('//example.org/b.json')", "utf-8")
    assert faults(tmp_path) == ["a.css: fetches https://example.org/b.css", "a.js: fetches //example.org/b.json"]
