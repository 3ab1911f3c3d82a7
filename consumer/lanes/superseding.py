"""An exit that ends the waiting of the opens ahead of it; what it may end is said in rules.py.

An order that waits for a backoff with the turn looks behind itself, and looks again when an exit joins its queue. It is
superseded once such an exit is known to be POSTed if only it had the turn.
"""

from dataclasses import replace

from signalq.consumer.lanes.backoff import Backoffs
from signalq.consumer.lanes.queues import ConnectorQueue, Ticket
from signalq.consumer.ledger import Fenced, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders import rules
from signalq.consumer.orders.decisions import Before, Deliver, Hold, Wait, Waits
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import renewed
from signalq.consumer.orders.switch import SwitchedOff
from signalq.settings.reload import CurrentSettings


class Superseding:
    """Looks up the exits that wait behind other orders."""

    def __init__(self, current: CurrentSettings, *, ledger: Ledger, backoffs: Backoffs) -> None:
        self._current = current
        self._ledger = ledger
        self._backoffs = backoffs

    async def look_behind(self, order: Order, queue: ConnectorQueue, ticket: Ticket) -> int | None:
        """Look up the exits behind an order until one would be POSTed now, if only it had the turn and the lane were
        open. Returns ms until the next look: 0 where one would, None where no look is needed.
        """
        next_ms: list[int] = []
        for other in queue.behind(ticket):
            if not other.order.timing.is_due or not rules.is_superseded_by(order, other.order):
                continue
            try:
                known = other.known or await self._ledger.recall(other.order, other.delivery.epoch)
            except Fenced:  # its own turn finds out
                continue
            known = replace(known, order=known.order.fallen_due(other.order.timing.received_ms))
            match self._if_open(known, other):
                case Deliver():
                    other.known = known
                    return 0
                case (Wait(until_ms) | Hold(until_ms)) as waiting:
                    next_ms.append(max(0, until_ms - self._backoffs.now_ms(other)))
                    if isinstance(waiting, Hold):  # a pause holds all of a connector
                        break
        return min(next_ms, default=None)

    def exit_behind(self, order: Order, queue: ConnectorQueue, ticket: Ticket) -> Ticket | None:
        """The first exit behind it that ends its waiting, if it has to wait: one that would still be POSTed now."""
        for other in queue.behind(ticket):
            known = self._as_of_now(other)
            if known is None:
                continue
            if rules.is_superseded_by(order, known.order) and isinstance(self._if_open(known, other), Deliver):
                return other
        return None

    def _as_of_now(self, ticket: Ticket) -> LedgerEntry | None:
        """Return the ledger's entry of an exit behind, read by the settings that hold now."""
        settings = self._current.settings
        if ticket.known is not None and ticket.settings is not settings:
            ticket.known = replace(ticket.known, order=renewed(ticket.known.order, ticket.delivery.message, settings))
            ticket.settings = settings
        return ticket.known

    def _if_open(self, known: LedgerEntry, ticket: Ticket) -> Before:
        """Ask the rules as if the exit had its turn and waited for nothing but the switch."""
        state = self._ledger.switched(known.order.connector)
        refusal = SwitchedOff(state) if state != "open" else None
        waits = Waits(backoff_ms=self._backoffs.retry_ms(known.state, ticket))
        return rules.before(known.order, known.state, self._backoffs.now_ms(ticket), waits, refusal)
