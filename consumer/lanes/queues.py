"""Connectors side by side, each in order: a queue for each, which gives turns in the order of arrival.

In a lane that gives order up for throughput several orders have the turn at once.

A queue outlives its orders in one thing: backoff belongs to the lane, so the next order of a connector whose webhook is
down does not start from zero.

Each order has a ticket in its queue, from its arrival until it leaves. So an exit that waits finds the opens that wait
ahead of it.
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
from signalq.settings.sections import Settings


class Ticket:
    """One message's place in its connector's queue, behind all that came before it and wait or have the turn.

    `known`, by `settings`: what was known when a look ahead found that the order is an exit that would be POSTed now,
    and so ends the waiting of opens; None until then. `has_superseded`: it has done so, and does not wait for the
    lane's backoff.
    """

    def __init__(self, order: Order, message: Message, came_ms: int = 0, settings: Settings | None = None) -> None:
        self.order = order
        self.message = message
        self.settings = settings
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
        """Return at its end, or when woken. create_task comes first, so a wake-up cannot be lost."""
        self._sleeping = asyncio.create_task(until, name="between attempts")
        try:
            await asyncio.wait({self._sleeping})
        finally:
            self.wake()
            self._sleeping = None

    def wake(self) -> None:
        """End the order's sleep, if it sleeps: something has changed that the rules should know of."""
        if self._sleeping is not None:
            self._sleeping.cancel()


class ConnectorQueue:
    """One connector's queue: at most `places` orders have the turn at a time, first come, first served."""

    def __init__(self, places: int = 1) -> None:
        self.lock = asyncio.Lock() if places == 1 else asyncio.Semaphore(places)
        self.holders_and_waiters = 0
        self.failures = 0
        self.backoff_until_ms = 0
        self._tickets: dict[Ticket, None] = {}
        self._exits: list[Ticket] = []

    def join(self, ticket: Ticket) -> None:
        """An order has come, and is the last one for now."""
        self._tickets[ticket] = None

    def leave(self, ticket: Ticket) -> None:
        """The order has ended, or its message is not ours any more."""
        self._tickets.pop(ticket, None)
        if ticket in self._exits:
            self._exits.remove(ticket)

    @property
    def is_empty(self) -> bool:
        """Whether no order is here."""
        return not self._tickets

    def has(self, identity: tuple[str, str]) -> bool:
        """Whether an order with this identity is here."""
        return any(ticket.identity == identity for ticket in self._tickets)

    def ahead_of(self, ticket: Ticket) -> list[Ticket]:
        """The orders that came before it and are still here."""
        return [other for other in self._tickets if other.number < ticket.number]

    def exits_behind(self, ticket: Ticket) -> list[Ticket]:
        """The exits that came after it and would be POSTed now, as a look ahead has found, in order of arrival."""
        return [other for other in self._exits if other.number > ticket.number]

    def looked_ahead(self, ticket: Ticket, known: LedgerEntry) -> None:
        """The order is an exit that would be POSTed now: what sleeps ahead of it may not have to wait any longer."""
        ticket.known = known
        self._exits = sorted({*self._exits, ticket}, key=lambda other: other.number)
        for other in self.ahead_of(ticket):
            other.wake()

    def succeeded(self) -> None:
        """The webhook answered: the lane is open."""
        self.failures = 0
        self.backoff_until_ms = 0

    def failed(self, failures_before: int) -> int:
        """One more POST in vain; `failures_before` is how many there were when it began. Returns how many now.

        Those that were on the wire side by side count as one: they say the same of the webhook.
        """
        self.failures = max(self.failures, min(self.failures, failures_before) + 1)
        return self.failures

    def back_off_until(self, at_ms: int) -> None:
        """The lane's next POST is not before `at_ms`, on a clock that nobody sets."""
        self.backoff_until_ms = max(self.backoff_until_ms, at_ms)

    @property
    def forgettable(self) -> bool:
        """Whether nothing would be lost with it."""
        return not self.holders_and_waiters and not self.failures


class ConnectorQueues:
    """All connectors that have orders here, or whose webhook failed last time (at most `remembered_max`)."""

    def __init__(self, remembered_max: int = 10_000) -> None:
        self._queues: dict[Hashable, ConnectorQueue] = {}
        self._remembered_max = remembered_max
        self._numbers = count(1)

    def find(self, connector: str) -> ConnectorQueue | None:
        """The connector's queue, if an order is in it, or it is remembered."""
        return self._queues.get(connector)

    def remember(self, connector: str, failures: int, backoff_until_ms: int, *, places: int = 1) -> None:
        """Keep what the lane's consumer before us knew of a connector whose webhook failed."""
        queue = self._queues.setdefault(connector, ConnectorQueue(places))
        queue.failures = max(queue.failures, failures)
        queue.back_off_until(backoff_until_ms)

    @asynccontextmanager
    async def take(
        self, whose: Hashable, ticket: Ticket | None = None, *, places: int = 1
    ) -> AsyncIterator[ConnectorQueue]:
        """Wait for the turn in a queue; the first caller has it first. `ticket` is in the queue meanwhile."""
        queue = self._queues.get(whose)
        if queue is None:
            queue = self._queues[whose] = ConnectorQueue(places)
        queue.holders_and_waiters += 1
        if ticket is not None:
            ticket.number = next(self._numbers)
            queue.join(ticket)
        try:
            async with queue.lock:
                yield queue
        finally:
            queue.holders_and_waiters -= 1
            if ticket is not None:
                queue.leave(ticket)
            if queue.forgettable:
                self._queues.pop(whose, None)
            elif len(self._queues) > self._remembered_max:
                self._forget_one_idle()

    def _forget_one_idle(self) -> None:
        for name, queue in self._queues.items():
            if not queue.holders_and_waiters:
                del self._queues[name]
                return
