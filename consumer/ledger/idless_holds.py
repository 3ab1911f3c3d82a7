"""Which message in this consumer stands for which intent without a message_id."""

from __future__ import annotations

from collections.abc import Callable

from signalq.consumer.ledger import Epoch
from signalq.consumer.orders.order import Order


class IdlessHolds:
    """Intents without a message_id, and which message in this consumer stands for each: two equal redelivered
    messages must not be taken for the same intent.

    What came on a session that is lost comes again on the next one of its lane, while we may still be busy with it:
    then the two are the same message.
    """

    def __init__(self) -> None:
        self._holder_of: dict[str, tuple[str, Epoch]] = {}
        self._intent_of: dict[str, str] = {}

    def hold(self, order: Order, epoch: Epoch) -> None:
        """The order's message stands for its intent, and for no other, until released."""
        if order.identity.message_id is None:
            self.release(order)
            self._holder_of[order.intent_id] = order.provenance.receipt, epoch
            self._intent_of[order.provenance.receipt] = order.intent_id

    def by_another(self, order: Order, epoch: Epoch) -> Callable[[str], bool]:
        """Whether another message than the order's stands for an intent."""

        def is_held(intent_id: str) -> bool:
            receipt, since = self._holder_of.get(intent_id, (order.provenance.receipt, epoch))
            comes_again = since.lane == epoch.lane and since.opening < epoch.opening
            return receipt != order.provenance.receipt and not comes_again

        return is_held

    def release(self, order: Order) -> None:
        """The order's message is out of the consumer's hands."""
        intent_id = self._intent_of.pop(order.provenance.receipt, None)
        holder = self._holder_of.get(intent_id) if intent_id is not None else None
        if intent_id is not None and holder is not None and holder[0] == order.provenance.receipt:
            del self._holder_of[intent_id]
