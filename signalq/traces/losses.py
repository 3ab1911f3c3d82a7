"""The spans that do not reach the collector, and who is told of them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Losses:
    """The listeners for spans that are lost: `count` is told of each loss, `tell` now and then of all since, and why.

    They are called in any thread.
    """

    count: Callable[[int], object]
    tell: Callable[[str, int], object]
