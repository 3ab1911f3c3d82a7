"""Wall time in whole ms, by which due times go, and a time that nobody sets, by which waits go."""

import asyncio
import time

from signalq.consumer.clocks.skew import since_start_ms

# A wait is cut into slices, so that we notice within one that the wall clock was set.
SLICE_S = 1.0


class Clock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Whole ms since the epoch, rounded down: a moment has come only when it has come fully."""
        return time.time_ns() // 1_000_000

    def even_ms(self) -> int:
        """Whole ms since some moment, on a clock that nobody sets and that counts while the machine sleeps."""
        return since_start_ms()

    def slice_until(self, at_ms: int) -> float:
        """Seconds to wait before looking at the clock again; 0 once `at_ms` has come."""
        return min(max(at_ms * 1_000_000 - time.time_ns(), 0) / 1e9, SLICE_S)

    async def sleep(self, wait_ms: int) -> None:
        """Wait for so long, whatever the wall clock says meanwhile."""
        await asyncio.sleep(max(0, wait_ms) / 1000)
