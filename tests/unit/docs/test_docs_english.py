"""The English of the pages: a sentence names its subject."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# Made from the help of the commands; and a record of what was.
APART = {ROOT / "docs" / "commands.md", ROOT / "CHANGELOG.md"}
FOLDERS = ("docs", "examples", "deploy")
PAGES = {*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))} - APART
OURS = sorted(page for page in PAGES if "node_modules" not in page.parts)
# Words that stand for a noun, where a sentence should have the noun itself: "What is parked waits."
NAMELESS = re.compile(r"[*_]*(?:What|Whatever|Who|Whoever|Whose|Those)\b")


def sentences(markdown: str) -> list[str]:
    """The sentences of a page, of its table cells and list items too; not its code, not its headings."""
    text = re.sub(r"^ *```.*?^ *```$", "\n", markdown, flags=re.DOTALL | re.MULTILINE)
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-|#]|\d+\.) ?)", text)
    cells = [cell for block in blocks if not block.lstrip().startswith("#") for cell in block.split("|")]
    return [
        part for cell in cells for part in re.split(r"(?<=[.!?:]) ", re.sub(r"^[\s\-\d.]+", "", " ".join(cell.split())))
    ]


def nameless(markdown: str) -> list[str]:
    """The sentences whose subject has no name. A question is none of them."""
    return [sentence for sentence in sentences(markdown) if NAMELESS.match(sentence) and not sentence.endswith("?")]


@pytest.mark.parametrize("page", OURS, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_has_a_subject_without_a_name(page: Path) -> None:
    assert nameless(page.read_text(encoding="utf-8")) == []


def test_such_sentences_are_found() -> None:
    page = "# What is there\n\nIt is so. What waits is let go. What is that?\n\n- Whoever asks\n  is told.\n"
    assert nameless(f"{page}\n| a | **Those** go. |\n") == [
        "What waits is let go.",
        "Whoever asks is told.",
        "**Those** go.",
    ]
    assert nameless("```\nWhat is code.\n```\n\n`What` is quoted. An order that waits is let go.\n") == []
