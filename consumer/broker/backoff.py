"""The pauses between attempts at the broker: longer after each failure, and never long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from signalq.consumer.broker.connection import SharedFailure, described
from signalq.times import backoff_s

RECONNECT_BASE_S = 0.5
# Orders wait meanwhile, and each attempt at a broker that is away costs next to nothing.
RECONNECT_MAX_S = 5.0

log = structlog.get_logger()


class Backoff:
    """Counts failures in a row, and waits after each."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0

    def reset(self) -> None:
        """Begin anew: an attempt has succeeded."""
        self._failures = 0

    async def wait(self) -> None:
        """Wait after a failure."""
        await asyncio.sleep(self._next_s())

    async def wait_for(self, queue: str, error: Exception) -> None:
        """Wait after a failure at a queue; log it, unless another lane has just logged the same one."""
        wait_s = self._next_s()
        if not isinstance(error, SharedFailure):
            log.warning("broker.unreachable", queue=queue, why=described(error), retry_in_s=round(wait_s, 2))
        await asyncio.sleep(wait_s)

    def _next_s(self) -> float:
        self._failures += 1
        return backoff_s(self._failures, base_s=RECONNECT_BASE_S, max_s=RECONNECT_MAX_S, fraction=self._jitter())
