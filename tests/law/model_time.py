"""Time for the model of the law: an event loop that jumps to its next timer, so that hours pass in no time."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from signalq.consumer.clocks.clock import SLICE_S, Clock

EPOCH_MS = 1_800_000_000_000
# While a thread works for us (the SQLite driver's), time stands still; longer than this, and it is stuck.
THREAD_ANSWER_S = 5.0


class Stuck(BaseException):
    """Nothing is left to happen, and yet somebody waits: no Exception, so that nobody takes it for one of his."""


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for nothing but threads: what would be a wait moves the loop's time on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 0
        self.threads_at_work = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self.threads_at_work:
            ready = super().select(THREAD_ANSWER_S)
            if ready:
                return ready
        if timeout is None:
            raise Stuck("nothing is left to happen")
        self.now_ns += math.ceil(timeout * 1e9)
        return []


class ModelLoop(asyncio.SelectorEventLoop):
    """An event loop on a time of its own, which begins at 0 and passes only in waits."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_ns / 1e9

    @property
    def now_ns(self) -> int:
        """The loop's time in whole ns."""
        return self._jumping.now_ns

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Time stands still meanwhile: a thread works for us."""
        self._jumping.threads_at_work += 1
        try:
            yield
        finally:
            self._jumping.threads_at_work -= 1


class ModelClock(Clock):
    """The machine's clock, told by the loop."""

    def __init__(self, loop: ModelLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return EPOCH_MS + self._loop.now_ns // 1_000_000

    def even_ms(self) -> int:
        return self._loop.now_ns // 1_000_000

    def slice_until(self, at_ms: int) -> float:
        return min(max((at_ms - EPOCH_MS) * 1_000_000 - self._loop.now_ns, 0) / 1e9, SLICE_S)
