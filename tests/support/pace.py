"""The pace of this machine: how much longer than usual it takes at the moment for work whose cost is known.

A bound in time holds on a core of the usual pace. One that is shared goes at a third of it, for minutes at a time, and
then the bound is three times as long.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Callable
from statistics import median

# The best of so many tries counts: other work on the machine does not.
TRIES = 7
# Parsing makes thousands of small values, as reading an order does: what slows down the one slows down the other.
_TEXT = "def total(first, *others, limit=10):\n    return first + sum(one for one in others if one < limit)\n" * 60
_USUAL_S = 0.0008


def cpu_s(work: Callable[[], object]) -> float:
    """The CPU time that it takes, in seconds of this thread, the best of TRIES."""
    return min(_spent_s(work) for _ in range(TRIES))


def paced_cpu_s(work: Callable[[], object]) -> float:
    """The same on a core of the usual pace, where this one is slower: the median of TRIES, for its pace changes."""
    return median(_spent_s(work) / _slowness_now() for _ in range(TRIES))


def slowness() -> float:
    """How many times as long as usual this core takes at the moment; 1 where it is no slower."""
    return median(_slowness_now() for _ in range(TRIES))


def _slowness_now() -> float:
    # The better of two: a moment's disturbance of the known work must not excuse the other.
    return max(1.0, min(_spent_s(_known_work), _spent_s(_known_work)) / _USUAL_S)


def _known_work() -> None:
    ast.parse(_TEXT)


def _spent_s(work: Callable[[], object]) -> float:
    began_s = time.thread_time()
    work()
    return time.thread_time() - began_s
