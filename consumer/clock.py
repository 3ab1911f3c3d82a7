"""Wall time in whole ms, and waiting for a moment of it."""

from __future__ import annotations

import asyncio
import time

# A wait is cut into slices, so that a wall clock that is set while we wait is noticed within one.
SLICE_S = 1.0


class Clock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Whole ms since the epoch, rounded down: a moment has come only when it has come fully."""
        return time.time_ns() // 1_000_000

    async def sleep_until(self, at_ms: int) -> None:
        """Return at `at_ms` or right after, never before."""
        at_ns = at_ms * 1_000_000
        while (remaining_ns := at_ns - time.time_ns()) > 0:  # noqa: ASYNC110 - no event tells the wall clock's time
            await asyncio.sleep(min(remaining_ns / 1e9, SLICE_S))
