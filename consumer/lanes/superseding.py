"""An exit that ends the waiting of the opens ahead of it; what it may end is said in rules.py.

It takes its place in its connector's turn at once, as any other, and is looked up beside. Once it is known that it
would be POSTed if only it had the turn, whoever waits ahead of it for a backoff is woken, and asks here.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

from signalq.consumer.broker.session import Delivery
from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.queues import Place, Turn, Turns
from signalq.consumer.lanes.waits import Waits
from signalq.consumer.ledger import Ledger, LedgerEntry
from signalq.consumer.orders import rules
from signalq.consumer.orders.order import Message, Order, renewed
from signalq.consumer.orders.rules import Deliver, Hold, Wait
from signalq.consumer.settling import epoch_of
from signalq.settings.reload import CurrentSettings


class Superseding:
    """Judges the exits that wait behind others."""

    def __init__(self, current: CurrentSettings, *, ledger: Ledger, turns: Turns, waits: Waits, clock: Clock) -> None:
        self._current = current
        self._ledger = ledger
        self._turns = turns
        self._waits = waits
        self._clock = clock

    def begin_to_judge(
        self, delivery: Delivery, place: Place, recalling: asyncio.Task[LedgerEntry] | None
    ) -> asyncio.Task[None] | None:
        """Judge it beside, if it is an exit that could end somebody's waiting. Where one ahead has its identity, only
        its turn can tell what it is.
        """
        order, turn = place.order, self._turns.find(place.order.connector)
        if turn is None or not order.is_due or not rules.supersedes(order):
            return None
        if turn.is_empty or turn.has(place.identity):
            return None
        judging = asyncio.create_task(self._judge(delivery, place, turn, recalling), name="judge")
        judging.add_done_callback(seen)
        return judging

    async def _judge(
        self, delivery: Delivery, place: Place, turn: Turn, recalling: asyncio.Task[LedgerEntry] | None
    ) -> None:
        """Tell the turn once the exit would be POSTed now, if only it had the turn and the lane were open."""
        while turn.ahead_of(place):
            known = await (recalling or self._ledger.recall(place.order, epoch_of(delivery)))
            recalling = None
            known = replace(known, order=known.order.fallen_due(place.order.received_ms))
            decision = self._if_open(known, place)
            if isinstance(decision, Deliver):
                turn.judged(place, known)
            if not isinstance(decision, (Wait, Hold)):
                return
            await self._clock.sleep(decision.until_ms - self._waits.now_ms(place))

    def exit_behind(self, order: Order, turn: Turn, place: Place) -> Place | None:
        """The first exit behind it that ends its waiting, if it has to wait: one that would still be POSTed now."""
        for other in turn.exits_behind(place):
            if other.known is None:
                continue
            known = replace(other.known, order=as_of_now(other.known.order, other.message, self._current))
            if rules.is_superseded_by(order, known.order) and isinstance(self._if_open(known, other), Deliver):
                return other
        return None

    def _if_open(self, known: LedgerEntry, place: Place) -> rules.Before:
        """What would be done with it if it had its turn and nothing were waited for but the switch."""
        switched, now_ms = self._ledger.switched(known.order.connector), self._waits.now_ms(place)
        state = self._waits.put_off(known.state, place, now_ms)
        return rules.before(known.order, state, 0, now_ms, switched=switched)


def as_of_now(order: Order, message: Message, current: CurrentSettings) -> Order:
    """The order by the settings that hold now: it may have waited since it was read."""
    return order if order.settings is current.settings else renewed(order, message, current.settings)


def seen(task: asyncio.Task[object]) -> None:
    """Of a task that nobody may ask any more: how it failed is told by what asks the same itself."""
    if not task.cancelled():
        task.exception()
