"""Skew: this machine's clock against others', and against its own former settings, as far as it can be known.

This clock judges the ages of orders, which other clocks have dated. As far as it is known to be ahead, it makes no exit
older than that is, so none dies of it; opens are judged by what the clock says.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Literal

import structlog

from signalq.consumer.orders.delays import KnownSkew, Segment

# A clock that jumps by so much was set. Adjusting its rate is no step: that adjusts the other clock, too.
STEP_MS = 500
STEPS_MAX = 100
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# The clock since the machine's start is Linux' alone.
_SINCE_START = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

Source = Literal["webhook", "ledger", "broker"]

log = structlog.get_logger()


class Skew:
    """Looks at the clock, and hears of others'; `tell` is called with a source, and the seconds that ours is ahead."""

    def __init__(
        self,
        tell: Callable[[Source, float], None] = lambda _source, _ahead_s: None,
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        even_ms: Callable[[], int] | None = None,
    ) -> None:
        self.machine = machine()
        self._tell = tell
        self._wall_ms = wall_ms
        self._even_ms = even_ms or since_start_ms
        self._ahead: dict[Source, int] = {}
        self._saved: set[Segment] = set()
        self._known = KnownSkew((self._segment(),))

    def known(self) -> KnownSkew:
        """Look at the clock; return what is known now."""
        now = self._segment()
        if self._is_step(self._known.segments[-1], now):
            self._known = KnownSkew((*self._known.segments, now)[-STEPS_MAX:])
            self._ahead.clear()
        return self._known

    def note(self, source: Source, at_least_ms: int, at_most_ms: int) -> None:
        """Note a reading of another clock: by how much ours is ahead of it, at least and at most; negative: behind.

        A broker's stamp only tells how far ours is behind at least: an old message may have waited.
        """
        ahead_ms = max(at_least_ms, 0) or min(at_most_ms, 0)
        self._tell(source, ahead_ms / 1000)
        if source == "broker":
            return
        self._ahead[source] = ahead_ms
        most_ms = max(0, *self._ahead.values())
        if most_ms != self._known.ahead_ms:
            self._known = KnownSkew(self._known.segments, most_ms)

    def recall(self, segments: Sequence[Segment]) -> None:
        """Take over what the ledger knows of this machine's clock since the machine's start; called once."""
        self._saved.update(segments)
        if not segments:
            return
        known = list(segments)
        # The segments that this process saw go behind, but for a first look that found the clock as the ledger knew it.
        for segment in self._known.segments:
            if self._is_step(known[-1], segment):
                known.append(segment)
        self._known = KnownSkew(tuple(known)[-STEPS_MAX:], self._known.ahead_ms)

    def unsaved(self) -> list[Segment]:
        """The segments that the ledger does not know yet."""
        return [segment for segment in self.known().segments if segment not in self._saved]

    def saved(self, segments: Sequence[Segment]) -> None:
        """Note that the ledger knows these now."""
        self._saved.update(segments)

    def _is_step(self, before: Segment, after: Segment) -> bool:
        step_ms = after.offset_ms - before.offset_ms
        if abs(step_ms) < STEP_MS:
            return False
        log.warning("clock.stepped", step_s=step_ms / 1000)
        return True

    def _segment(self) -> Segment:
        wall_ms = self._wall_ms()
        return Segment(wall_ms - self._even_ms(), wall_ms)


def since_start_ms() -> int:
    """Whole ms on a clock that nobody sets: since the machine's start, or, if it is no Linux, since some moment."""
    return time.clock_gettime_ns(_SINCE_START) // 1_000_000


@cache
def machine() -> str:
    """The id of the machine since its start; where it has none, an id of this process."""
    try:
        return BOOT_ID.read_text("ascii").strip()[:64] or uuid.uuid4().hex
    except (OSError, UnicodeDecodeError):
        return uuid.uuid4().hex
