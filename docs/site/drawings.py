"""The drawings: Mermaid's text in a page becomes an SVG in the site, with the colours of the theme, light or dark.

A page of the repository keeps the text, which GitHub and others draw; the site needs no JavaScript for it.
"""

from __future__ import annotations

import re
from typing import Any

import mmdr
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

LEGIBLE = 0.66
"""A drawing is shrunk to this share of its size, no further: a narrower window scrolls it."""
WIDTH = re.compile(r'width="100%"(.*?) style="max-width: ?([\d.]+)px;?"')
ITS_NAME = re.compile(r'(id="|#)merman(?=["_-])')
# The colours of a light page; site.css has those of both themes.
STYLE = re.compile(r"<style>.*?</style>", re.DOTALL)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_transform(DrawMermaid)
    return {"parallel_read_safe": True}


class DrawMermaid(SphinxTransform):
    """Puts a drawing in the place of each block of Mermaid's text."""

    default_priority = 500

    def apply(self, **_options: Any) -> None:
        """Called by Sphinx for each page."""
        blocks = [block for block in self.document.findall(nodes.literal_block) if block.get("language") == "mermaid"]
        for number, block in enumerate(blocks, 1):
            html = f'<div class="drawing" tabindex="0">{drawing(block.astext(), f"drawing-{number}")}</div>'
            block.replace_self(nodes.raw("", html, format="html"))


def drawing(text: str, name: str) -> str:
    """The SVG of Mermaid's text; `name` begins the ids in it. Raises ValueError for a text that is not Mermaid's."""
    svg = STYLE.sub("", mmdr.render(text).svg())
    svg = ITS_NAME.sub(rf"\g<1>{name}", svg)
    return WIDTH.sub(lambda found: f'{found[1]} style="{_size(float(found[2]))}"', svg, count=1)


def _size(width: float) -> str:
    return f"width: 100%; max-width: {width:.0f}px; min-width: {width * LEGIBLE:.0f}px"
