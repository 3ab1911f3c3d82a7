"""The navigation: by role, as docs/README.md has it; below two of its pages, the pages of their folders."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

INDEX = "docs/README"
CHAPTERS = {"docs/decisions/README": "0*", "examples/README": "*/README"}
"""Pages with pages of their own, and the pattern of these."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", add_navigation)
    return {"parallel_read_safe": True}


def add_navigation(app: Sphinx, page: str, source: list[str]) -> None:
    """Add tables of contents, which Markdown elsewhere needs not, behind the text of a page."""
    if page == app.config.root_doc:
        index = Path(app.srcdir, f"{INDEX}.md").read_text(encoding="utf-8")
        source[0] += contents([f"/{INDEX}"], ":hidden:")
        for role, pages in pages_by_role(index):
            source[0] += contents([f"/{one}" for one in pages], ":hidden:", f":caption: {role}")
    elif page in CHAPTERS:
        source[0] += contents([CHAPTERS[page]], ":glob:", ":maxdepth: 1")


def pages_by_role(index: str) -> Iterator[tuple[str, list[str]]]:
    """Each heading of the index, and the pages that its table links to, from the root of the repository."""
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        linked = re.findall(r"\]\(([^)#]+)\.md\)", section)
        yield section.splitlines()[0], [posixpath.normpath(f"docs/{page}") for page in linked]


def contents(pages: Sequence[str], *options: str) -> str:
    """A table of contents of these pages."""
    return "\n".join(["\n", "```{toctree}", *options, "", *pages, "```", ""])
