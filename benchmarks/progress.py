"""The one line that shows a person how far a benchmark is."""

from __future__ import annotations

import sys


def progress(words: str) -> None:
    """One line on a terminal, always the same; nothing elsewhere."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()
