"""How long an order waits besides its turn: its lane's backoff, its connector's pace, its own next attempt.

All of it goes by a clock that nobody sets, and is kept in the ledger for the lane's next consumer: what is read there
is cut to what can have been asked for, once, and waited for like anything else.
"""

import asyncio
from collections.abc import Callable

from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.pacing import Paces
from signalq.consumer.lanes.queues import ConnectorQueue, ConnectorQueues, Ticket
from signalq.consumer.ledger import Epoch, LaneMemory
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import lanes
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.settings.reload import CurrentSettings
from signalq.times import backoff_s


class Backoffs:
    """Knows how long; waits for nothing itself."""

    def __init__(
        self,
        current: CurrentSettings,
        *,
        ledger: Ledger,
        queues: ConnectorQueues,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._current = current
        self._ledger = ledger
        self._queues = queues
        self._clock = clock
        self._jitter = jitter
        self._paces = Paces(lambda: asyncio.get_running_loop().time())

    def remember(self, epoch: Epoch) -> None:
        """A lane is ours: what its consumer before us waited for, we wait for."""
        for one in epoch.remembered:
            if one.failures:
                places = lanes.concurrency_of(self._current.settings, one.connector)
                backoff_until_ms = self._clock.even_ms() + one.wait_ms
                self._queues.remember(one.connector, one.failures, backoff_until_ms, places=places)
            if one.posted_ago_ms is not None:
                self._paces.remember(one.connector, one.posted_ago_ms)

    def now_ms(self, ticket: Ticket) -> int:
        """Return the time for an order, as its age goes on."""
        return ticket.now_ms(self._clock.even_ms(), self._clock.now_ms())

    def retry_ms(self, state: IntentState, ticket: Ticket) -> int:
        """How long its own next attempt has to wait yet: no longer than it was put off."""
        if not state.next_attempt_ms:
            return 0
        delivery = self._current.settings.delivery
        longest_ms = round(max(delivery.backoff_max_s, delivery.retry_after_max_s) * 1000)
        return ticket.put_off_ms(state, longest_ms, self._clock.even_ms(), self._clock.now_ms())

    def lane_ms(self, queue: ConnectorQueue, ticket: Ticket) -> int:
        """How long the lane's backoff lasts yet; not for whoever has ended the waiting of others."""
        return 0 if ticket.has_superseded else max(0, queue.backoff_until_ms - self._clock.even_ms())

    def pace_ms(self, order: Order) -> int:
        """How long the connector's pace lets nobody go on."""
        return self._paces.wait_ms(order.connector, order.policy.rate_per_s)

    def claims(self, order: Order, epoch: Epoch, queue: ConnectorQueue) -> None:
        """A POST of the connector is about to begin; kept with the claim that is saved next."""
        self.begins(order)
        if order.policy.rate_per_s is not None:
            self._ledger.remember(epoch.lane, LaneMemory(order.connector, queue.failures, 0, posted_ago_ms=0))

    def begins(self, order: Order) -> None:
        """Note that the POST begins now."""
        self._paces.take(order.connector, order.policy.rate_per_s)

    def note_answer(
        self, order: Order, attempt: Attempt, epoch: Epoch, queue: ConnectorQueue, failures_before: int
    ) -> float:
        """Keep the lane's backoff, and when this POST began, here and with what is saved next; return how long it waits
        at least, in seconds.
        """
        posted_ago_ms = self._paces.posted_ago_ms(order.connector, order.policy.rate_per_s)
        if attempt.certainty in {"accepted", "refused"}:
            if queue.failures or posted_ago_ms is not None:
                queue.succeeded()
                self._ledger.remember(epoch.lane, LaneMemory(order.connector, 0, 0, posted_ago_ms))
            return 0.0
        failures, delivery = queue.failed(failures_before), self._current.settings.delivery
        wait_s = backoff_s(
            failures, base_s=delivery.backoff_base_s, max_s=delivery.backoff_max_s, fraction=self._jitter()
        )
        asked_s = min(attempt.retry_after_s or 0.0, delivery.retry_after_max_s)
        wait_ms = round(max(wait_s, asked_s) * 1000)
        queue.back_off_until(self._clock.even_ms() + wait_ms)
        self._ledger.remember(epoch.lane, LaneMemory(order.connector, failures, wait_ms, posted_ago_ms))
        return wait_s
