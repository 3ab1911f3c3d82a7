"""The last second of a delay: wait here, leave in order of due time, equal ones in the order of publishing.

The order of arrival is neither: of two with the same due time, the one that was parked for a second longer comes back
later; and after downtime what is overdue comes in the order in which the ladder let go of it.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import suppress
from itertools import count

from consumer.clock import Clock

# What a new session brings first may be a backlog: it is let go once nothing more of it has come for this long. Longer
# than a gap between two deliveries, shorter than the time (0.1 s) by which the ladder hands back before the due time.
QUIET_S = 0.03
BACKLOG_MAX_S = 3.0


class DueTimes:
    """A heap of moments and one task that waits for the nearest; run it as a task of the service."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._sequence = count()
        self._session: object = None
        self._began_s = self._last_s = float("-inf")
        self._sooner = asyncio.Event()

    async def wait_until(self, due_ms: int, *, rank: int = 0, session: object = None) -> None:
        """Return at `due_ms` or right after; among equal times by `rank`, then first come, first served.

        What is overdue when a `session` begins leaves in the same order.
        """
        self._note_arrival(session)
        moment = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (due_ms, rank, next(self._sequence), moment))
        if self._heap[0][-1] is moment:
            self._sooner.set()
        await moment

    async def run(self) -> None:
        """Wake the waiters, forever."""
        while True:
            self._sooner.clear()
            wait_s = self._quiet_in_s() or self._wake_due()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sooner.wait(), wait_s)

    def _note_arrival(self, session: object) -> None:
        now_s = time.monotonic()
        if session is not self._session:
            self._session, self._began_s, self._last_s = session, now_s, now_s
        elif self._quiet_in_s() > 0:
            self._last_s = now_s

    def _quiet_in_s(self) -> float:
        """Seconds until the backlog of the session will be in, if nothing more of it comes; 0 once it is."""
        return max(0.0, min(self._last_s + QUIET_S, self._began_s + BACKLOG_MAX_S) - time.monotonic())

    def _wake_due(self) -> float | None:
        """Let go of what is due; return the seconds until the clock has to be looked at again, None for no need."""
        now_ms = self._clock.now_ms()
        while self._heap and (self._heap[0][0] <= now_ms or self._heap[0][-1].done()):
            *_, moment = heapq.heappop(self._heap)
            if not moment.done():
                moment.set_result(None)
        return self._clock.slice_until(self._heap[0][0]) if self._heap else None
