"""Connectors side by side, each in order: one turn per connector, taken in the order of arrival.

A lane that gives order up for throughput has a turn that several hold at once.

A turn outlives its intent in one thing: backoff belongs to the lane, so the next intent of a connector whose webhook is
down does not start from zero.

Whoever comes for a turn has a place in it, by its arrival, until it leaves. That is how an exit that waits finds the
opens that wait ahead of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from signalq.consumer.ledger import LedgerEntry
from signalq.consumer.orders.delays import remaining_ms
from signalq.consumer.orders.order import Message, Order
from signalq.consumer.orders.state import IntentState


class Place:
    """One message's place in its connector's turn: behind whoever came before it, whether they have the turn or wait.

    `known` is what was known of it when it was found that it would be POSTed now, if it is an exit that ends the
    waiting of opens; None until then. `has_superseded`: it has done so, and does not wait for the lane's backoff.
    """

    def __init__(self, order: Order, message: Message, came_ms: int = 0) -> None:
        self.order = order
        self.message = message
        self._came_ms = came_ms
        self._put_off: tuple[int, int] | None = None
        self.number = 0
        self.known: LedgerEntry | None = None
        self.has_superseded = False
        self._sleeping: asyncio.Task[None] | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Two messages with the same one stand for the same intent, or one of them is invalid."""
        return self.order.strategy, self.order.intent_id

    def now_ms(self, even_ms: int, wall_ms: int) -> int:
        """What time it is for its order: by the clock as it was when it came, and on from there by the even one. An
        open is never younger than the wall clock says; of a machine that stood still, that alone knows.
        """
        since_came_ms = self.order.received_ms + even_ms - self._came_ms
        return since_came_ms if self.order.is_exit else max(since_came_ms, wall_ms)

    def put_off_ms(self, state: IntentState, longest_ms: int, even_ms: int, wall_ms: int) -> int:
        """How long its next attempt has to wait yet. What the ledger says in wall time is read once for each state that
        it is in, and from then on waited for by the even clock: setting the wall clock makes it no longer.
        """
        if self._put_off is None or self._put_off[0] != state.version:
            asked_ms = longest_ms if state.wait_ms is None else state.wait_ms
            self._put_off = state.version, even_ms + remaining_ms(state.next_attempt_ms, wall_ms, asked_ms)
        return max(0, self._put_off[1] - even_ms)

    async def sleep(self, until: Coroutine[Any, Any, None]) -> None:
        """Return at its end, or when woken. Nothing is awaited before it can be woken, so no waking is missed."""
        self._sleeping = asyncio.create_task(until, name="between attempts")
        try:
            await asyncio.wait({self._sleeping})
        finally:
            self.wake()
            self._sleeping = None

    def wake(self) -> None:
        """End its sleep, if it sleeps: something has changed that the rules should know of."""
        if self._sleeping is not None:
            self._sleeping.cancel()


class Turn:
    """The state of one connector's lane: at most `places` intents have it at a time, first come, first served."""

    def __init__(self, places: int = 1) -> None:
        self.lock = asyncio.Lock() if places == 1 else asyncio.Semaphore(places)
        self.holders_and_waiters = 0
        self.failures = 0
        self.opens_ms = 0
        self._places: dict[Place, None] = {}
        self._exits: list[Place] = []

    def join(self, place: Place) -> None:
        """It has come, and is the last one for now."""
        self._places[place] = None

    def leave(self, place: Place) -> None:
        """It has ended, or its message is not ours any more."""
        self._places.pop(place, None)
        if place in self._exits:
            self._exits.remove(place)

    @property
    def is_empty(self) -> bool:
        """Whether nobody is here."""
        return not self._places

    def has(self, identity: tuple[str, str]) -> bool:
        """Whether somebody with this identity is here."""
        return any(place.identity == identity for place in self._places)

    def ahead_of(self, place: Place) -> list[Place]:
        """Those who came before it and are still here."""
        return [other for other in self._places if other.number < place.number]

    def exits_behind(self, place: Place) -> list[Place]:
        """Those who came after it and were found to be exits that would be POSTed now, in order of arrival."""
        return [other for other in self._exits if other.number > place.number]

    def judged(self, place: Place, known: LedgerEntry) -> None:
        """It is an exit that would be POSTed now: whoever sleeps ahead of it may not have to wait any longer."""
        place.known = known
        self._exits = sorted({*self._exits, place}, key=lambda other: other.number)
        for other in self.ahead_of(place):
            other.wake()

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
        """The lane's next POST is not before `at_ms`, on a clock that nobody sets."""
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
        self._numbers = count(1)

    def find(self, connector: str) -> Turn | None:
        """The connector's turn, if somebody has it, or it is remembered."""
        return self._turns.get(connector)

    def remember(self, connector: str, failures: int, opens_ms: int, *, places: int = 1) -> None:
        """What the lane's consumer before us knew of a connector whose webhook failed."""
        turn = self._turns.setdefault(connector, Turn(places))
        turn.failures = max(turn.failures, failures)
        turn.closed_until(opens_ms)

    @asynccontextmanager
    async def take(self, whose: Hashable, place: Place | None = None, *, places: int = 1) -> AsyncIterator[Turn]:
        """Wait for the turn of a connector; whoever called first has it first. `place` is joined to it meanwhile."""
        turn = self._turns.get(whose)
        if turn is None:
            turn = self._turns[whose] = Turn(places)
        turn.holders_and_waiters += 1
        if place is not None:
            place.number = next(self._numbers)
            turn.join(place)
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.holders_and_waiters -= 1
            if place is not None:
                turn.leave(place)
            if turn.forgettable:
                self._turns.pop(whose, None)
            elif len(self._turns) > self._remembered_max:
                self._forget_one_idle()

    def _forget_one_idle(self) -> None:
        for name, turn in self._turns.items():
            if not turn.holders_and_waiters:
                del self._turns[name]
                return
