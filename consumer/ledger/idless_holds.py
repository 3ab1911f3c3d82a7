"""The messages in this consumer that stand for intents without a message_id."""

from __future__ import annotations

from signalq.consumer.ledger import Epoch
from signalq.consumer.orders.order import Order


class IdlessHolds:
    """Two equal redelivered messages must not be taken for the same intent.

    But a message of a lost session comes again on the next one of its lane, while we may still be busy with it: then
    the two are the same message.
    """

    def __init__(self) -> None:
        self._holder_of: dict[str, tuple[str, Epoch]] = {}
        self._intent_of: dict[str, str] = {}

    def hold(self, order: Order, epoch: Epoch) -> None:
        """The order's message stands for its intent, and for no other, until released."""
        if order.message_id is None:
            self.release(order)
            self._holder_of[order.intent_id] = order.receipt, epoch
            self._intent_of[order.receipt] = order.intent_id

    def by_another(self, intent_id: str, order: Order, epoch: Epoch) -> bool:
        """Whether another message than the order's stands for the intent."""
        receipt, since = self._holder_of.get(intent_id, (order.receipt, epoch))
        comes_again = since.lane == epoch.lane and since.opening < epoch.opening
        return receipt != order.receipt and not comes_again

    def release(self, order: Order) -> None:
        """The order's message is out of the consumer's hands."""
        intent_id = self._intent_of.pop(order.receipt, "")
        receipt, _ = self._holder_of.get(intent_id, (None, None))
        if receipt == order.receipt:
            del self._holder_of[intent_id]
