"""Connectors side by side, each in order: one turn per connector, taken in the order of arrival.

A lane that gives order up for throughput has a turn that several hold at once.

A turn outlives its intent in one thing: backoff belongs to the lane, so the next intent of a connector whose webhook is
down does not start from zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turn:
    """The state of one connector's lane: at most `places` intents have it at a time, first come, first served."""

    def __init__(self, places: int = 1) -> None:
        self.lock = asyncio.Lock() if places == 1 else asyncio.Semaphore(places)
        self.holders_and_waiters = 0
        self.failures = 0
        self.opens_ms = 0

    def succeeded(self) -> None:
        """The webhook answered: the lane is open."""
        self.failures = 0
        self.opens_ms = 0

    def failed(self, failures_before: int) -> int:
        """One more POST in vain; `failures_before` is how many there were when it began. Returns how many now.

        Those that were on the wire side by side count as one: they say the same of the webhook.
        """
        self.failures = max(self.failures, min(self.failures, failures_before) + 1)
        return self.failures

    def closed_until(self, at_ms: int) -> None:
        """The lane's next POST is not before `at_ms`."""
        self.opens_ms = max(self.opens_ms, at_ms)

    @property
    def forgettable(self) -> bool:
        """Whether nothing would be lost with it."""
        return not self.holders_and_waiters and not self.failures


class Turns:
    """All connectors that have intents here, or whose webhook failed last time (at most `remembered_max`)."""

    def __init__(self, remembered_max: int = 10_000) -> None:
        self._turns: dict[Hashable, Turn] = {}
        self._remembered_max = remembered_max

    @asynccontextmanager
    async def take(self, whose: Hashable, places: int = 1) -> AsyncIterator[Turn]:
        """Wait for the turn of a connector; whoever called first has it first."""
        turn = self._turns.get(whose)
        if turn is None:
            turn = self._turns[whose] = Turn(places)
        turn.holders_and_waiters += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.holders_and_waiters -= 1
            if turn.forgettable:
                self._turns.pop(whose, None)
            elif len(self._turns) > self._remembered_max:
                self._forget_one_idle()

    def _forget_one_idle(self) -> None:
        for name, turn in self._turns.items():
            if not turn.holders_and_waiters:
                del self._turns[name]
                return
