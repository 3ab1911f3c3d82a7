"""The last second of a delay: wait here, leave in order of due time, equal ones in the order of arrival."""

from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from itertools import count

from consumer.clock import Clock


class DueTimes:
    """A heap of moments and one task that waits for the nearest; run it as a task of the service."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, asyncio.Future[None]]] = []
        self._sequence = count()
        self._sooner = asyncio.Event()

    async def wait_until(self, due_ms: int) -> None:
        """Return at `due_ms` or right after; among equal times first come, first served."""
        moment = asyncio.get_running_loop().create_future()
        heapq.heappush(self._heap, (due_ms, next(self._sequence), moment))
        if self._heap[0][2] is moment:
            self._sooner.set()
        await moment

    async def run(self) -> None:
        """Wake the waiters, forever."""
        while True:
            self._sooner.clear()
            self._wake_due()
            wait_s = self._clock.slice_until(self._heap[0][0]) if self._heap else None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sooner.wait(), wait_s)

    def _wake_due(self) -> None:
        now_ms = self._clock.now_ms()
        while self._heap and (self._heap[0][0] <= now_ms or self._heap[0][2].done()):
            _, _, moment = heapq.heappop(self._heap)
            if not moment.done():
                moment.set_result(None)
