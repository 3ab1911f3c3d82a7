"""The page on errors as the command carries it: an entry for each kind, wrapped for a terminal.

errors.md, beside this module, is a copy of docs/errors.md, which `./run docs` makes: a wheel has no docs.
"""

import re
from pathlib import Path

import click

PAGE = Path(__file__).with_name("errors.md")
_SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_ENTRY = re.compile(r"^### (\S+)\n(.*?)(?=^### |\Z)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\(([^)]+)\)")
# Between two paragraphs, and before each item of a list.
_BETWEEN_BLOCKS = re.compile(r"\n\s*\n|\n(?=- )")


def sections() -> dict[str, dict[str, str]]:
    """The text of each kind as Markdown, by the titles of the sections, in the order of the page."""
    found = {title: dict(_ENTRY.findall(text)) for title, text in _SECTION.findall(PAGE.read_text(encoding="utf-8"))}
    return {title: entries for title, entries in found.items() if entries}


def summary_of(entry: str) -> str:
    """The first sentence of an entry."""
    first = _without_links(entry).strip().split("\n\n")[0]
    return " ".join(first.split()).partition(". ")[0].removesuffix(".")


def wrapped(entry: str, columns: int) -> str:
    """An entry as plain text, its paragraphs and the items of its lists wrapped; a link shows the page."""
    text, was_item = "", True
    for block in _BETWEEN_BLOCKS.split(_without_links(entry).strip()):
        is_item = block.startswith("- ")
        # A blank line before each paragraph and each list, none between the items of a list.
        gap = "\n" if is_item and was_item else "\n\n"
        line = click.wrap_text(" ".join(block.split()), columns, subsequent_indent="  " if is_item else "")
        text, was_item = f"{text}{gap}{line}" if text else line, is_item
    return text


def _without_links(markdown: str) -> str:
    return _LINK.sub(lambda link: _shown(link[1], link[2]), markdown)


def _shown(text: str, target: str) -> str:
    """The text of a link, and its page; the text alone where it leads out of the docs."""
    page = target.partition("#")[0]
    return f"docs/{page}" if page.endswith(text) else f"{text} (docs/{page})" if ":" not in target else text
