"""The share of a consumer that the console may have: orders go first.

RENDERS_MAX pages are rendered in a second at most; a request waits a while for its turn. While the event loop is late
again and again, or its thread works nearly all the time, the console has no share at all, but for the switch: what it
takes then, orders lack.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from signalq.ops.console.gate.errors import Busy

RENDERS_MAX, RENDERS_S = 4, 1.0
WAIT_S = 2.0
STREAMS_MAX = 20
# Twice so late within LATE_WITHIN_S is busy, until it was not for CALM_S.
LATE_S = 0.05
LATE_WITHIN_S = 1.0
CALM_S = 5.0
# Of each SHARE_S the thread of the loop may work so much, the console's own work included.
SHARE_S = 0.5
SHARE_MAX = 0.75
# The loop is looked at so often, as long as somebody has asked for a page in the last WATCHED_S.
TICK_S = 0.025
WATCHED_S = 60.0

BUSY = "the consumer is busy with orders: `signalq console` does not share its time"


class Shed:
    """Tells each request whether, and when, it may take the consumer's time.

    A consumer that has no orders (`has_orders`) is never busy with them. `clock` is that of the event loop, `worked`
    gives the seconds that its thread has worked.
    """

    def __init__(
        self,
        has_orders: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self._has_orders = has_orders
        self._clock = clock
        self._sleep = sleep
        self._worked = worked
        # When the share was last told, and how much the thread had worked by then.
        self._share_from = 0.0, 0.0
        # The beginnings of the last renders; the next one begins RENDERS_S after the first of them.
        self._begun_s: deque[float] = deque(maxlen=RENDERS_MAX)
        self._late_s: deque[float] = deque(maxlen=2)
        self._busy_until_s = 0.0
        self._watched_until_s = 0.0
        self._tick: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        """Whether orders need all of the consumer's time."""
        return self._clock() < self._busy_until_s and self._has_orders()

    def admit(self, *, is_urgent: bool) -> None:
        """Let a request in. Raises Busy while the consumer is busy with orders, unless it `is_urgent`."""
        self._watched_until_s = self._clock() + WATCHED_S
        if self._tick is None:
            self._share_from = self._clock(), self._worked()
            self._look_again()
        if self.is_busy and not is_urgent:
            raise Busy(BUSY, retry_after_s=round(CALM_S))

    async def turn(self) -> None:
        """Wait until a page may be rendered. Raises Busy where too many wait for that."""
        now_s = self._clock()
        is_full = len(self._begun_s) == RENDERS_MAX
        begin_s = max(now_s, self._begun_s[0] + RENDERS_S) if is_full else now_s
        if begin_s - now_s > WAIT_S:
            raise Busy(BUSY)
        self._begun_s.append(begin_s)
        if begin_s > now_s:
            await self._sleep(begin_s - now_s)

    def was_late(self, late_s: float) -> None:
        """Note by how much the loop was late."""
        if late_s <= LATE_S:
            return
        now_s = self._clock()
        self._late_s.append(now_s)
        is_again = len(self._late_s) == 2 and now_s - self._late_s[0] <= LATE_WITHIN_S
        if is_again or now_s < self._busy_until_s:
            self._busy_until_s = now_s + CALM_S

    def has_worked(self) -> None:
        """Note how much the thread of the loop has worked lately, once SHARE_S are over."""
        (from_s, before_s), now_s = self._share_from, self._clock()
        if now_s - from_s >= SHARE_S:
            worked_s = self._worked()
            self._share_from = now_s, worked_s
            if worked_s - before_s > SHARE_MAX * (now_s - from_s):
                self._busy_until_s = now_s + CALM_S

    def close(self) -> None:
        """Look at the loop no more."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    def _look_again(self) -> None:
        self._tick = asyncio.get_running_loop().call_later(TICK_S, self._look, self._clock() + TICK_S)

    def _look(self, due_s: float) -> None:
        self._tick = None
        self.was_late(self._clock() - due_s)
        self.has_worked()
        if self._clock() < self._watched_until_s:
            self._look_again()
