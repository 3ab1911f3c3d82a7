"""A ledger that forgets at a restart: for tests and for measuring what the durable one costs."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Self

from consumer.history import History
from consumer.ledger import Conflict, Epoch, Fenced, Known
from consumer.order import Order
from signalq.envelope import Creation

Key = tuple[str, str]

ENDED_MAX = 100_000


class MemoryLedger:
    """Keeps what has not ended, and the last ENDED_MAX endings."""

    name = "memory"
    ledger_id = ""
    why_not_writable: str | None = None

    def __init__(self, ended_max: int = ENDED_MAX) -> None:
        self._ended_max = ended_max
        self._open: dict[Key, tuple[History, Creation]] = {}
        self._ended: OrderedDict[Key, tuple[History, Creation]] = OrderedDict()
        # Digests of bodies that were met, for the intents that have no message_id to be known by.
        self._met: OrderedDict[tuple[str, bytes], int | None] = OrderedDict()
        self._epochs: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Nothing to close."""

    async def join_lane(self, lane: str) -> int | None:
        """See Ledger; it can't know."""
        del lane
        return None

    def leave_lane(self, lane: str) -> None:
        """See Ledger."""

    async def open_lane(self, lane: str) -> Epoch:
        """See Ledger."""
        self._epochs[lane] = self._epochs.get(lane, 0) + 1
        return Epoch(lane, self._epochs[lane], None)

    async def recall(self, order: Order, epoch: Epoch) -> Known:
        """See Ledger."""
        del epoch
        key = (order.strategy, order.intent_id)
        known = self._open.get(key) or self._ended.get(key)
        if known is not None:
            history, created = known
            if order.creation.pinned or created != order.creation:
                created = replace(created, pinned=True)
            return Known(order.known_as(order.intent_id, created, history.replayed_ms), history)
        if order.message_id is not None and order.creation.pinned:
            return await self.save(order, History(order.intent_id, order.digest))
        met = (order.strategy, order.digest)
        again = order.message_id is None and order.redelivered and met in self._met
        first_post_ms = self._met[met] if again else None
        return Known(
            order, History(order.intent_id, order.digest, first_post_ms=first_post_ms, maybe_second_delivery=again)
        )

    async def save(self, order: Order, history: History, epoch: Epoch | None = None) -> Known:
        """See Ledger."""
        if epoch is not None and self._epochs.get(epoch.lane) != epoch.number:
            raise Fenced
        key = (order.strategy, order.intent_id)
        known = self._open.get(key) or self._ended.get(key)
        if (known[0].version if known else 0) != history.version:
            raise Conflict
        saved = replace(history, version=history.version + 1)
        if order.message_id is None:
            met = (order.strategy, order.digest)
            self._met[met] = self._met.get(met) or history.first_post_ms
            self._shrink(self._met)
        if saved.ended:
            self._open.pop(key, None)
            self._ended[key] = saved, order.creation
            self._shrink(self._ended)
        else:
            self._open[key] = saved, order.creation
        return Known(order, saved)

    def release(self, order: Order) -> None:
        """See Ledger."""

    def _shrink(
        self, entries: OrderedDict[Key, tuple[History, Creation]] | OrderedDict[tuple[str, bytes], int | None]
    ) -> None:
        while len(entries) > self._ended_max:
            entries.popitem(last=False)
