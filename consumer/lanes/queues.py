"""Connectors side by side, each in order: a queue for each gives turns in the order of arrival.

The first order of a queue has the turn; in a lane that gives order up for throughput, the first few have it at once. So
an order that waits with the turn finds the exits that wait behind it.

A queue outlives its orders in one thing: backoff belongs to the lane, so the next order of a connector whose webhook is
down does not start from zero.
"""

import asyncio
from collections.abc import Coroutine, Hashable, Iterator
from itertools import islice
from typing import Any

from signalq.consumer.broker.session import Delivery
from signalq.consumer.ledger import LedgerEntry
from signalq.consumer.orders import rules
from signalq.consumer.orders.delays import remaining_ms
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import IntentState
from signalq.settings.sections import Settings


class Ticket:
    """One message's place in its connector's queue, behind all that came before it and wait or have the turn.

    `known`, by `settings`: what was known when an order ahead found that this one is an exit that would be POSTed now;
    None until then. `has_superseded`: it has ended the waiting of opens, and does not wait for the lane's backoff.
    `is_woken`: something has changed since its order asked the rules.
    """

    def __init__(self, order: Order, delivery: Delivery, came_ms: int = 0, settings: Settings | None = None) -> None:
        self.order = order
        self.delivery = delivery
        self.settings = settings
        self.known: LedgerEntry | None = None
        self.has_superseded = False
        self.is_woken = False
        self._came_ms = came_ms
        self._put_off: tuple[int, int] | None = None
        self._sleeping: asyncio.Task[None] | None = None

    @property
    def identity(self) -> tuple[str, str]:
        """Two messages with the same one stand for the same intent, or one of them is invalid."""
        return self.order.strategy, self.order.intent_id

    def now_ms(self, even_ms: int, wall_ms: int) -> int:
        """The time for its order: by the clock as it was when it came, and on from there by the even one. An open is
        never younger than the wall clock says; of a machine that stood still, that alone knows.
        """
        since_came_ms = self.order.timing.received_ms + even_ms - self._came_ms
        return since_came_ms if self.order.is_exit else max(since_came_ms, wall_ms)

    def put_off_ms(self, state: IntentState, longest_ms: int, even_ms: int, wall_ms: int) -> int:
        """How long its next attempt has to wait yet. What the ledger says in wall time is read once for each state that
        it is in, and from then on waited for by the even clock: setting the wall clock makes it no longer.
        """
        if self._put_off is None or self._put_off[0] != state.version:
            asked_ms = longest_ms if state.wait_ms is None else state.wait_ms
            self._put_off = state.version, even_ms + remaining_ms(state.next_attempt_ms, wall_ms, asked_ms)
        return max(0, self._put_off[1] - even_ms)

    @property
    def put_off_until_ms(self) -> int:
        """When its next attempt is due, by the clock that nobody sets; 0 where nothing was said of that yet."""
        return self._put_off[1] if self._put_off is not None else 0

    async def sleep(self, until: Coroutine[Any, Any, None]) -> None:
        """Return at its end, or when woken."""
        self._sleeping = asyncio.create_task(until, name="between attempts")
        try:
            if not self.is_woken:
                await asyncio.wait({self._sleeping})
        finally:
            self._sleeping.cancel()
            self._sleeping = None

    def wake(self) -> None:
        """End the order's sleep, now or when it begins: the rules are to be asked anew."""
        self.is_woken = True
        if self._sleeping is not None:
            self._sleeping.cancel()


class ConnectorQueue:
    """One connector's orders, in order of arrival: the first `places` of them have the turn."""

    def __init__(self, places: int = 1) -> None:
        self.failures = 0
        self.backoff_until_ms = 0
        self._places = places
        self._turns: dict[Ticket, asyncio.Future[None]] = {}

    async def join(self, ticket: Ticket) -> None:
        """Return when it is the order's turn. An order that sleeps with the turn is woken by one that might end its
        waiting.
        """
        if rules.supersedes(ticket.order):
            for other in islice(self._turns, self._places):
                other.wake()
        turn = self._turns[ticket] = asyncio.get_running_loop().create_future()
        self._pass_on()
        await turn

    def leave(self, ticket: Ticket) -> None:
        """Pass the turn on: the order has ended, or its message is not ours any more."""
        self._turns.pop(ticket, None)
        self._pass_on()

    def behind(self, ticket: Ticket) -> list[Ticket]:
        """The orders that came after it, in order of arrival. Where an order ahead has the same identity, only its own
        turn can tell what an order is: it is left out.
        """
        met, behind, has_passed = set[tuple[str, str]](), list[Ticket](), False
        for other in self._turns:
            if has_passed and other.identity not in met:
                behind.append(other)
            met.add(other.identity)
            has_passed = has_passed or other is ticket
        return behind

    @property
    def first(self) -> Ticket | None:
        """The order that has the turn, or had it first of several; None where no order is here."""
        return next(iter(self._turns), None)

    @property
    def is_idle(self) -> bool:
        """Whether no order is here."""
        return not self._turns

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

    def _pass_on(self) -> None:
        for turn in islice(self._turns.values(), self._places):
            if not turn.done():
                turn.set_result(None)


class ConnectorQueues:
    """All connectors that have orders here, or whose webhook failed last time (at most `remembered_max`)."""

    def __init__(self, remembered_max: int = 10_000) -> None:
        self._queues: dict[Hashable, ConnectorQueue] = {}
        self._remembered_max = remembered_max

    def __iter__(self) -> Iterator[ConnectorQueue]:
        return iter(self._queues.values())

    def of(self, whose: Hashable, *, places: int = 1) -> ConnectorQueue:
        """The queue of a connector; it may be forgotten unless an order joins it at once."""
        queue = self._queues.get(whose)
        if queue is None:
            queue = self._queues[whose] = ConnectorQueue(places)
        return queue

    def remember(self, connector: str, failures: int, backoff_until_ms: int, *, places: int = 1) -> None:
        """Keep what the lane's consumer before us knew of a connector whose webhook failed."""
        queue = self.of(connector, places=places)
        queue.failures = max(queue.failures, failures)
        queue.back_off_until(backoff_until_ms)

    def leave(self, whose: Hashable, ticket: Ticket) -> None:
        """Pass the turn on, and forget the queue if nothing would be lost; else, of too many, one without orders."""
        queue = self._queues[whose]
        queue.leave(ticket)
        if queue.is_idle and not queue.failures:
            del self._queues[whose]
        elif len(self._queues) > self._remembered_max:
            idle = next((name for name, other in self._queues.items() if other.is_idle), None)
            self._queues.pop(idle, None)
