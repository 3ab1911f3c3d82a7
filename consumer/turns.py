"""Connectors side by side, each in order: one turn per connector, taken in the order of arrival.

A turn outlives its intent in one thing: backoff belongs to the lane, so the next intent of a connector whose webhook is
down does not start from zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turn:
    """The state of one connector's lane. asyncio.Lock hands itself on first come, first served."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.holders_and_waiters = 0
        self.failures = 0
        self.opens_ms = 0

    def succeeded(self) -> None:
        """The webhook answered: the lane is open."""
        self.failures = 0
        self.opens_ms = 0

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
        self._turns: dict[str, Turn] = {}
        self._remembered_max = remembered_max

    @asynccontextmanager
    async def take(self, connector: str) -> AsyncIterator[Turn]:
        """Wait for the connector's turn; whoever called first has it first."""
        turn = self._turns.setdefault(connector, Turn())
        turn.holders_and_waiters += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.holders_and_waiters -= 1
            if turn.forgettable:
                self._turns.pop(connector, None)
            elif len(self._turns) > self._remembered_max:
                self._forget_one_idle()

    def _forget_one_idle(self) -> None:
        for name, turn in self._turns.items():
            if not turn.holders_and_waiters:
                del self._turns[name]
                return
