"""How far this machine's clock is from others', and from what it was: as far as that can be known.

Ages are judged by this clock, and dated by others'. What it is known to be ahead makes nothing older than it is, so no
exit dies of it; opens are judged by what the clock says.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import structlog

from signalq.consumer.orders.delays import KnownSkew, Segment

# What a clock is set by is a step from here on; what adjusts its rate adjusts the other clock, too.
STEP_MS = 500
STEPS_MAX = 100
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

Source = Literal["webhook", "ledger", "broker"]

log = structlog.get_logger()


class Skew:
    """Looks at the clock, and hears of others'; `tell` is told of each source, in seconds that ours is ahead."""

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
        """What is known now, with a look at the clock."""
        now = self._segment()
        if self._is_step(self._known.segments[-1], now):
            self._known = KnownSkew((*self._known.segments, now)[-STEPS_MAX:])
            self._ahead.clear()
        return self._known

    def note(self, source: Source, at_least_ms: int, at_most_ms: int) -> None:
        """Another clock was read: ours is between so much ahead of it and so much; negative where it is behind.

        A broker's stamp only tells how far ours is behind at least: a message that is old may have waited.
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
        """What the ledger knows of this machine's clock since its start; once."""
        self._saved.update(segments)
        if not segments:
            return
        known = list(segments)
        # What was seen by this process goes behind it, but for a first look that found the clock as it was known.
        for segment in self._known.segments:
            if self._is_step(known[-1], segment):
                known.append(segment)
        self._known = KnownSkew(tuple(known)[-STEPS_MAX:], self._known.ahead_ms)

    def unsaved(self) -> list[Segment]:
        """What the ledger does not know yet."""
        return [segment for segment in self.known().segments if segment not in self._saved]

    def saved(self, segments: Sequence[Segment]) -> None:
        """The ledger knows these now."""
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
    """Whole ms since the machine's start, sleep included: a clock that nobody sets. Elsewhere than on Linux, since some
    moment.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.clock_gettime_ns(clock) if clock is not None else time.monotonic_ns()) // 1_000_000


def machine() -> str:
    """The machine since its start; where that has no name, this process."""
    try:
        return BOOT_ID.read_text("ascii").strip()[:64] or uuid.uuid4().hex
    except (OSError, UnicodeDecodeError):
        return uuid.uuid4().hex
