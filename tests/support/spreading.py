"""The order in which several workers get the tests: each has its share of those that wait, and ends with quick ones.

The scheduler (pytest-xdist's worksteal) gives each worker as many tests, in the order of the list, and later lets it
take half of what another one has left, from the end. In the order of the folders one worker would get nearly all that
take their time, and the others would be without work at the end, while it goes through its last ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby, islice

import pytest

# Of these there are thousands, and a hundred a second.
QUICK = ("tests/unit/", "tests/deploy/")
# A browser and a world of its own for each worker that has a part of it.
WHOLE = ("tests/browser/",)
# It takes as long as a thousand others.
LONG = ("tests/unit/docs/test_site.py",)


def spread(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """The same tests, so that each of `workers` equal parts has as many files of those that take their time."""
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    quick = iter([item for item in items if _is_quick(item)])
    for number, (_, file) in enumerate(groupby([item for item in items if not _is_quick(item)], _place)):
        parts[number % workers] += file
    sizes = [len(items) // workers] * workers
    spread_out: list[pytest.Item] = []
    for part, size in zip(parts, sizes, strict=True):
        spread_out += [*part, *islice(quick, max(0, size - len(part)))]
    return [*spread_out, *quick]


def _is_quick(item: pytest.Item) -> bool:
    return item.nodeid.startswith(QUICK) and not item.nodeid.startswith(LONG)


def _place(item: pytest.Item) -> str:
    """The file, or the folder that one worker gets as a whole."""
    whole: Iterable[str] = (folder for folder in WHOLE if item.nodeid.startswith(folder))
    return next(iter(whole), item.nodeid.partition("::")[0])
