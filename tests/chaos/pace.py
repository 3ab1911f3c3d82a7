"""How fast a storm publishes, and when it strikes: both by the number of intents that were published."""

from __future__ import annotations

import asyncio
import random
import time

# Strikes come while this part of the intents is published.
FIRST, LAST = 0.03, 0.97


class Pace:
    """Call it before each publish: so many a second over all connectors, without catching up after a standstill."""

    def __init__(self, per_s: float) -> None:
        self._step_s = 1 / per_s
        self._next_s = time.monotonic()

    async def __call__(self) -> None:
        now_s = time.monotonic()
        self._next_s = max(self._next_s + self._step_s, now_s - 20 * self._step_s)
        if self._next_s > now_s:
            await asyncio.sleep(self._next_s - now_s)


def moments(rng: random.Random, count: int, intents: int) -> list[float]:
    """Intents published by then: spread over the whole run, each anywhere in its share of it."""
    share = (LAST - FIRST) / max(count, 1)
    return [(FIRST + (at + rng.random()) * share) * intents for at in range(count)]
