"""docs/errors.md has an entry for each kind of error, and no other; the command carries the same page."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import signalq
from signalq.consumer.orders.state import REASONS
from signalq.errors import SignalQError
from signalq.kinds import Kind
from signalq.ops.terminal.error_page import PAGE, sections, summary_of, wrapped
from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.gateway.answers import STATUSES

ROOT = Path(__file__).parents[3]
DOCS_PAGE = ROOT / "docs" / "errors.md"
ENTRIES = {kind: text for entries in sections().values() for kind, text in entries.items()}
SUMMARY_CHARACTERS_MAX = 140


def classes(of: type[SignalQError] = SignalQError) -> Iterator[type[SignalQError]]:
    """Every class of errors, of all modules."""
    for below in of.__subclasses__():
        yield below
        yield from classes(below)


@pytest.fixture(scope="module")
def every_class() -> set[type[SignalQError]]:
    for module in pkgutil.walk_packages(signalq.__path__, "signalq."):
        if "migrations" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    return {one for one in classes() if one.__module__.startswith("signalq.")}


def test_every_kind_has_an_entry_and_every_entry_is_a_kind() -> None:
    assert list(ENTRIES) == list(Kind)


def test_the_page_of_the_command_is_that_of_the_docs() -> None:
    assert PAGE.read_text("utf-8") == DOCS_PAGE.read_text("utf-8"), "`./run docs` copies it"


def test_every_class_of_errors_has_a_kind_of_its_own_or_of_its_family(every_class: set[type[SignalQError]]) -> None:
    assert len(every_class) > 15
    without = {one for one in every_class if one.kind is Kind.COMMAND_FAILED}
    assert {one.__name__ for one in without} == {"CommandFailed", "OfAnEarlierVersion"}
    assert CommandFailed("it failed").kind is Kind.COMMAND_FAILED


def test_every_kind_is_that_of_some_error() -> None:
    folders = ("signalq", "consumer", "ops", "producers")
    files = {file for folder in folders for file in (ROOT / folder).rglob("*.py")} - {ROOT / "signalq" / "kinds.py"}
    used = {name for file in files for name in re.findall(r"\bKind\.([A-Z_]+)\b", file.read_text("utf-8"))}
    assert used == set(Kind.__members__)


@pytest.mark.parametrize("kind", Kind)
def test_an_entry_says_in_a_sentence_what_it_is_and_then_what_to_do(kind: Kind) -> None:
    entry = ENTRIES[kind]
    assert 10 < len(summary_of(entry)) <= SUMMARY_CHARACTERS_MAX
    assert len(entry.split()) > 15, "a meaning alone helps nobody"


@pytest.mark.parametrize("columns", [40, 80, 100])
def test_an_entry_fits_its_terminal_and_names_pages_in_place_of_links(columns: int) -> None:
    for entry in ENTRIES.values():
        text = wrapped(entry, columns)
        # A word alone, such as a path, may be longer.
        assert [line for line in text.splitlines() if len(line) > columns and " " in line.strip(" -")] == []
        assert "](" not in text
        for page in re.findall(r"docs/[\w/-]+\.md", text):
            assert (ROOT / page).exists()


def test_a_list_keeps_its_items_and_a_paragraph_its_distance() -> None:
    entry = "\nIt is so. And\nso.\n\n- one\n  more\n- two\n\nSee [a.md](operate/a.md#x) and\n[here](b.md), [out](https://x).\n"
    assert wrapped(entry, 80) == (
        "It is so. And so.\n\n- one more\n- two\n\nSee docs/operate/a.md and here (docs/b.md), out."
    )
    assert summary_of(entry) == "It is so"


def test_the_page_leads_to_every_reason_of_a_dead_letter_and_every_refusal_of_the_gateway() -> None:
    text = DOCS_PAGE.read_text("utf-8")
    letters, answers = text.split("## Dead letters\n")[1].split("## Answers of the gateway\n")
    assert set(re.findall(r"`([a-z-]+)`", letters)) == set(REASONS)
    named = {int(number) for row in re.findall(r"^\| ([\d, ]+) \|", answers, re.MULTILINE) for number in row.split(",")}
    assert named == {status for status in STATUSES if status >= 400}
