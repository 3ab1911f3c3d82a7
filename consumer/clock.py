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

    def slice_until(self, at_ms: int) -> float:
        """Seconds to wait before looking at the clock again; 0 once `at_ms` has come."""
        return min(max(at_ms * 1_000_000 - time.time_ns(), 0) / 1e9, SLICE_S)

    async def sleep_until(self, at_ms: int) -> None:
        """Return at `at_ms` or right after, never before."""
        while wait_s := self.slice_until(at_ms):  # noqa: ASYNC110 - no event tells the time
            await asyncio.sleep(wait_s)
