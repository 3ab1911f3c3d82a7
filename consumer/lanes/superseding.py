"""An exit that ends the waiting of the opens ahead of it; what it may end is said in rules.py.

The exit joins its connector's queue at once, as any order, and is looked up beside. Once it is known that it would be
POSTed if only it had the turn, the orders ahead of it that wait for a backoff wake up, and ask here.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.backoff import Backoffs
from signalq.consumer.lanes.queues import ConnectorQueue, ConnectorQueues, Ticket
from signalq.consumer.ledger import LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import rules
from signalq.consumer.orders.decisions import Before, Deliver, Hold, Wait, Waits
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import renewed
from signalq.consumer.orders.switch import SwitchedOff
from signalq.settings.reload import CurrentSettings


class Superseding:
    """Looks up the exits that wait behind other orders."""

    def __init__(
        self, current: CurrentSettings, *, ledger: Ledger, queues: ConnectorQueues, backoffs: Backoffs, clock: Clock
    ) -> None:
        self._current = current
        self._ledger = ledger
        self._queues = queues
        self._backoffs = backoffs
        self._clock = clock

    def begin_to_look_ahead(
        self, delivery: Delivery, ticket: Ticket, recalling: asyncio.Task[LedgerEntry] | None
    ) -> asyncio.Task[None] | None:
        """Look it up beside, if it is an exit that could end an order's waiting. Where one ahead has its identity, only
        its turn can tell what it is.
        """
        order, queue = ticket.order, self._queues.find(ticket.order.connector)
        if queue is None or not order.is_due or not rules.supersedes(order):
            return None
        if queue.is_empty or queue.has(ticket.identity):
            return None
        looking_ahead = asyncio.create_task(self._look_ahead(delivery, ticket, queue, recalling), name="look ahead")
        looking_ahead.add_done_callback(seen)
        return looking_ahead

    async def _look_ahead(
        self, delivery: Delivery, ticket: Ticket, queue: ConnectorQueue, recalling: asyncio.Task[LedgerEntry] | None
    ) -> None:
        """Tell the queue once the exit would be POSTed now, if only it had the turn and the lane were open."""
        while queue.ahead_of(ticket):
            known = await (recalling or self._ledger.recall(ticket.order, delivery.epoch))
            recalling = None
            known = replace(known, order=known.order.fallen_due(ticket.order.received_ms))
            decision = self._if_open(known, ticket)
            if isinstance(decision, Deliver):
                queue.looked_ahead(ticket, known)
            if not isinstance(decision, (Wait, Hold)):
                return
            await self._clock.sleep(decision.until_ms - self._backoffs.now_ms(ticket))

    def exit_behind(self, order: Order, queue: ConnectorQueue, ticket: Ticket) -> Ticket | None:
        """The first exit behind it that ends its waiting, if it has to wait: one that would still be POSTed now."""
        for other in queue.exits_behind(ticket):
            known = self._as_of_now(other)
            if known is None:
                continue
            if rules.is_superseded_by(order, known.order) and isinstance(self._if_open(known, other), Deliver):
                return other
        return None

    def _as_of_now(self, ticket: Ticket) -> LedgerEntry | None:
        """What is known of an exit behind, by the settings that hold now."""
        settings = self._current.settings
        if ticket.known is not None and ticket.settings is not settings:
            ticket.known = replace(ticket.known, order=renewed(ticket.known.order, ticket.message, settings))
            ticket.settings = settings
        return ticket.known

    def _if_open(self, known: LedgerEntry, ticket: Ticket) -> Before:
        """What would be done with it if it had its turn and nothing were waited for but the switch."""
        state = self._ledger.switched(known.order.connector)
        refusal = SwitchedOff(state) if state != "open" else None
        waits = Waits(backoff_ms=self._backoffs.retry_ms(known.state, ticket))
        return rules.before(known.order, known.state, self._backoffs.now_ms(ticket), waits, refusal)


def seen(task: asyncio.Task[object]) -> None:
    """Of a task that nobody may ask any more: how it failed is told by what asks the same itself."""
    if not task.cancelled():
        task.exception()
