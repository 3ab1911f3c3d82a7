"""The last second of a delay: wait here, leave in order of due time, equal ones in the order of publishing.

The order of arrival is neither: of two with the same due time, the one that was parked for a second longer comes back
later; and after downtime what is overdue comes in the order in which the ladder let go of it.
"""

import asyncio
import heapq
import time
from itertools import count
from typing import Protocol

from signalq.consumer.clocks.clock import Clock
from signalq.consumer.orders.delays import park_seconds

# The first messages of a new session may be a backlog: they are let go once nothing more of it has come for this long.
# Longer than a gap between two deliveries, shorter than the time (0.1 s) by which the ladder hands back early.
QUIET_S = 0.03
BACKLOG_MAX_S = 3.0
# Where all places are taken, sooner ones may wait behind those who have them: this part of the places is made free,
# by those who are due last, unless that is so soon that they would come back late.
MAKE_ROOM_PART = 8
MAKE_ROOM_MS_MIN = 250
# So many go in one step of the loop: thousands may be due in the same moment, and other lanes wait for the step to end.
STEP_MAX = 8

# When, its rank, its number, the bytes that it holds, and who waits.
Entry = tuple[int, int, int, int, asyncio.Future[bool]]


class Arrivals(Protocol):
    """A session: how many messages of the backlog that it found have not come in yet."""

    @property
    def backlog_left(self) -> int: ...


class DueTimes:
    """Moments, nearest first, and one timer for the nearest of them; close it at the end.

    `places_max` bounds how many wait here, `bytes_max` how many bytes they hold: when all is taken, those who are due
    last have to leave.
    """

    def __init__(self, clock: Clock, *, places_max: int, bytes_max: int) -> None:
        self._clock = clock
        self._places_max = places_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._heap: list[Entry] = []
        self._sequence = count()
        self._session: Arrivals | None = None
        self._began_s = self._last_s = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._heap)

    async def wait_until(
        self, at_ms: int, *, rank: int = 0, session: Arrivals | None = None, held_bytes: int = 0
    ) -> bool:
        """Return True at `at_ms` or right after; among equal times by `rank`, then first come, first served.

        False before that, for one that can't stay: its place is needed for sooner ones, or the clock was set back and
        it is not the last second any more. What is overdue when a `session` begins leaves in the same order.
        """
        self._note_arrival(session)
        moment: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        entry = (at_ms, rank, next(self._sequence), held_bytes, moment)
        heapq.heappush(self._heap, entry)
        self._bytes += held_bytes
        if self._is_full():
            self._make_room()
        if self._heap and self._heap[0] is entry:
            self._look()
        return await moment

    def close(self) -> None:
        """Wake nobody any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _note_arrival(self, session: Arrivals | None) -> None:
        now_s = time.monotonic()
        if session is not self._session:
            self._session, self._began_s, self._last_s = session, now_s, now_s
        elif self._quiet_in_s() > 0:
            self._last_s = now_s

    def _quiet_in_s(self) -> float:
        """Seconds until the backlog of the session will be in, if nothing more of it comes; 0 once it is."""
        now_s = time.monotonic()
        is_coming = self._session is not None and self._session.backlog_left > 0
        return max(0.0, min((now_s if is_coming else self._last_s) + QUIET_S, self._began_s + BACKLOG_MAX_S) - now_s)

    def _look(self) -> None:
        """Let go of whose time has come, and set the timer for the next look."""
        self.close()
        wait_s = self._quiet_in_s() or self._let_go()
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._look) if wait_s is not None else None

    def _let_go(self) -> float | None:
        """Let go of what is due; return the seconds until the clock has to be looked at again, None for no need."""
        now_ms, gone = self._clock.now_ms(), 0
        while self._heap and gone < STEP_MAX and (self._heap[0][0] <= now_ms or self._heap[0][-1].done()):
            at_ms, *_, held_bytes, moment = heapq.heappop(self._heap)
            self._bytes -= held_bytes
            if not moment.done():
                moment.set_result(at_ms <= now_ms)
                gone += 1
        if self._heap and park_seconds(self._heap[0][0], now_ms) > 0:
            self._send_away(list(self._heap))  # the clock was set back
        return self._clock.slice_until(self._heap[0][0]) if self._heap else None

    def _is_full(self) -> bool:
        return len(self._heap) >= self._places_max or self._bytes >= self._bytes_max

    def _make_room(self) -> None:
        """Send away those who are due last; first of all those who have left already (their session was lost)."""
        self._keep([entry for entry in self._heap if not entry[-1].done()])
        if not self._is_full():
            return
        places = max(1, self._places_max // MAKE_ROOM_PART) if len(self._heap) >= self._places_max else 0
        room_bytes = self._bytes_max // MAKE_ROOM_PART if self._bytes >= self._bytes_max else 0
        soon_ms = self._clock.now_ms() + MAKE_ROOM_MS_MIN
        last: list[Entry] = []
        last_bytes = 0
        for entry in sorted(self._heap, reverse=True):
            if entry[0] <= soon_ms or (len(last) >= places and last_bytes >= room_bytes):
                break
            last.append(entry)
            last_bytes += entry[-2]
        self._send_away(last)

    def _send_away(self, entries: list[Entry]) -> None:
        for *_, moment in entries:
            if not moment.done():
                moment.set_result(False)
        self._keep([entry for entry in self._heap if not entry[-1].done()])

    def _keep(self, entries: list[Entry]) -> None:
        heapq.heapify(entries)
        self._heap = entries
        self._bytes = sum(entry[-2] for entry in entries)
