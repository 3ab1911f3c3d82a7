"""The English of the pages and of the code: a sentence names its subject."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


# ---- the pages: each sentence ----

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


# ---- the code: the beginning of each docstring and of each comment ----

CODE = sorted(
    file
    for folder in ("consumer", "deploy/local", "ops", "producers", "signalq")
    for file in (ROOT / folder).rglob("*.py")
)
# `this` and its like are pronouns before a verb; before a noun they are none: "These libraries report", "this message".
PRONOUN = re.compile(
    r"(?:what|whatever|who|whoever|whose|those|it|they|he|she|we|one (?:that|which|who)"
    r"|(?:this|that|these) (?:is|isn't|are|was|were|has|have|had|do|does|did|can|can't|may|must|will|would|should"
    r"|say|says|mean|means|of|which|who))\b",
    re.IGNORECASE,
)


def told(source: str) -> Iterator[tuple[int, str]]:
    """Every docstring, an attribute's too, and every comment, with its line; a block of comments is one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, " ".join(node.value.value.split())
    above = (0, 0)
    block = (0, "")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        words = token.string.lstrip("#: ")
        if token.start == (above[0] + 1, above[1]) and token.line.lstrip().startswith("#"):
            block = (block[0], f"{block[1]} {words}")
        else:
            yield block
            block = (token.start[0], words)
        above = token.start
    yield block


def pronouns(source: str) -> list[str]:
    """The first sentence of each docstring and comment that begins with a pronoun, behind its line."""
    found = [(line, re.split(r"(?<=[.!?]) ", text)[0]) for line, text in told(source)]
    return [f"{line}: {first}" for line, first in sorted(found) if PRONOUN.match(first) and not first.endswith("?")]


def test_no_docstring_and_no_comment_begins_with_a_pronoun() -> None:
    found = [f"{file.relative_to(ROOT)}:{one}" for file in CODE for one in pronouns(file.read_text(encoding="utf-8"))]
    assert not found, "\n" + "\n".join(found)


def test_beginnings_with_a_pronoun_are_found() -> None:
    assert pronouns(
        '"""What is parked. It waits."""\n'
        "LIMIT = 1\n"
        '"""They\nare few."""\n'
        "# This is\n"
        "# so. It is.\n"
        "value = 2  # it is given up\n"
        "# One that lies ahead.\n"
    ) == [
        "1: What is parked.",
        "3: They are few.",
        "5: This is so.",
        "7: it is given up",
        "8: One that lies ahead.",
    ]
    assert (
        pronouns(
            '"""An order that waits. It is let go."""\n'
            "# This message is ours: it\n"
            "# we wrote.\n"
            "text = 'It is a text.'  # `it` is quoted\n"
            "# ---- what to run next ----\n"
            "# Who asks?\n"
        )
        == []
    )
