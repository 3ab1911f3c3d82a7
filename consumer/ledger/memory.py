"""A ledger that forgets at a restart: for tests, and until a durable one is configured."""

from __future__ import annotations

from collections import OrderedDict

from consumer.history import History
from consumer.order import Order

Key = tuple[str, str]

ENDED_MAX = 100_000


class MemoryLedger:
    """Keeps what was scheduled or POSTed and has not ended, and the last ENDED_MAX endings."""

    name = "memory"

    def __init__(self, ended_max: int = ENDED_MAX) -> None:
        self._ended_max = ended_max
        self._open: dict[Key, History] = {}
        self._ended: OrderedDict[Key, History] = OrderedDict()
        # Digests of bodies that were POSTed, for the intents that have no message_id to be known by.
        self._posted: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    async def recall(self, order: Order) -> History:
        """See Ledger."""
        key = (order.strategy, order.intent_id)
        known = self._open.get(key) or self._ended.get(key)
        if known is not None:
            return known
        again = order.message_id is None and order.redelivered and (order.strategy, order.digest) in self._posted
        return History(order.intent_id, order.digest, maybe_second_delivery=again)

    async def save(self, order: Order, history: History) -> None:
        """See Ledger."""
        key = (order.strategy, order.intent_id)
        if history.status == "sending":
            self._posted[order.strategy, order.digest] = None
            self._shrink(self._posted)
        if not history.ended:
            self._open[key] = history
            return
        self._open.pop(key, None)
        self._ended[key] = history
        self._shrink(self._ended)

    def _shrink(self, entries: OrderedDict[Key, History] | OrderedDict[tuple[str, bytes], None]) -> None:
        while len(entries) > self._ended_max:
            entries.popitem(last=False)
