"""A ledger that forgets at a restart: for tests and for measuring what the durable one costs."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Self

from signalq.consumer.ledger import Conflict, Epoch, Fenced, LaneMemory, LedgerEntry, Live, RateExceeded, SwitchWatcher
from signalq.consumer.ledger.database import machine_ms
from signalq.consumer.orders.limits import MINUTE_MS, Rate
from signalq.consumer.orders.order import Found, Order
from signalq.consumer.orders.pending import PENDING_STATUSES, Pending
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import State

Key = tuple[str, str]
Met = tuple[str, str | None, bytes]

ENDED_MAX = 100_000


class MemoryLedger:
    """Keeps what has not ended, and the last ENDED_MAX endings."""

    name = "memory"
    ledger_id = ""
    why_not_writable: str | None = None
    scheduled = 0
    silent_s = 0.0
    wal_bytes = 0
    live: Live | None = None

    def __init__(self, ended_max: int = ENDED_MAX) -> None:
        self._ended_max = ended_max
        self._open: dict[Key, tuple[IntentState, Order]] = {}
        self._ended: OrderedDict[Key, tuple[IntentState, Order]] = OrderedDict()
        # Digests of bodies that were met, for the intents that have no message_id to be known by.
        self._met: OrderedDict[Met, int | None] = OrderedDict()
        self._epochs: dict[str, int] = {}
        self._posted: dict[str, deque[int]] = {}
        self._openings = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """Nothing to close."""

    async def join_lane(self, lane: str) -> int | None:
        """See Ledger; it can't know."""
        self._epochs.setdefault(lane, 0)
        return None

    def leave_lane(self, lane: str) -> None:
        """See Ledger."""

    async def open_lane(self, lane: str, *, alone: bool = True) -> Epoch:
        """See Ledger."""
        number = self._epochs.get(lane, 0)
        self._epochs[lane] = number + 1 if alone or not number else number
        self._openings += 1
        return Epoch(lane, self._epochs[lane], None, self._openings)

    async def leave_settled(self, epoch: Epoch) -> None:
        """See Ledger; nobody comes after it."""

    def remember(self, lane: str, memory: LaneMemory) -> None:
        """See Ledger; nobody comes after it."""

    async def known_lanes(self) -> list[str]:
        """See Ledger."""
        return sorted(self._epochs)

    async def forget_lane(self, lane: str) -> None:
        """See Ledger."""
        self._epochs.pop(lane, None)

    async def recall(self, order: Order, epoch: Epoch) -> LedgerEntry:
        """See Ledger."""
        order = order.identified(self._look)
        known = self._find((order.strategy, order.intent_id))
        if known is not None:
            state, first = known
            created = first.creation
            if order.creation.pinned or created != order.creation:
                created = replace(created, pinned=True)
            return LedgerEntry(order.known_as(order.intent_id, created, state.replayed_ms), state)
        if order.message_id is None and order.redelivered:
            for name in (order.strategy, order.by_label[0] if order.by_label is not None else order.strategy):
                if (met := (name, order.origin_user, order.digest)) in self._met:
                    first_ms = self._met[met]
                    state = IntentState(
                        order.intent_id, order.digest, first_post_ms=first_ms, maybe_second_delivery=True
                    )
                    return LedgerEntry(order, state)
        return await self._first_receipt(order, epoch)

    def _find(self, key: Key) -> tuple[IntentState, Order] | None:
        return self._open.get(key) or self._ended.get(key)

    def _look(self, strategy: str, intent_id: str) -> Found | None:
        known = self._find((strategy, intent_id))
        return Found(known[0].digest, known[1].origin_user) if known is not None else None

    async def _first_receipt(self, order: Order, epoch: Epoch) -> LedgerEntry:
        state = IntentState(order.intent_id, order.digest)
        is_needed = order.creation.is_ahead or (order.message_id is not None and order.creation.pinned)
        if order.is_due and not is_needed:
            return LedgerEntry(order, state)
        known = await self.save(order, state, epoch if order.message_id is None else None)
        return replace(known, order=replace(order, recorded=True))

    async def save(
        self,
        order: Order,
        state: IntentState,
        epoch: Epoch | None = None,
        *,
        attempt: Attempt | None = None,
        rates: Sequence[Rate] = (),
    ) -> LedgerEntry:
        """See Ledger; it keeps no timelines."""
        del attempt
        if epoch is not None and self._epochs.get(epoch.lane) != epoch.number:
            raise Fenced
        key = (order.strategy, order.intent_id)
        known = self._find(key)
        if (known[0].version if known else 0) != state.version:
            raise Conflict
        now_ms = machine_ms()
        over = [] if not rates else [rate for rate in rates if self._posted_opens(rate, now_ms) >= rate.opens_max]
        if (enforced := next((rate for rate in over if rate.enforced), None)) is not None:
            raise RateExceeded(enforced)
        for rate in rates:
            self._posted[rate.key].append(now_ms)
        saved = replace(state, version=state.version + 1)
        if order.message_id is None:
            met = (order.strategy, order.origin_user, order.digest)
            self._met[met] = self._met.get(met) or state.first_post_ms
            self._shrink(self._met)
        self._put(key, saved, order)
        cancels = saved.status == "sending" and order.intent.kind in {"cancel", "cancelAll"}
        canceled = tuple(self._cancel_by(order)) if cancels else ()
        return LedgerEntry(order, saved, canceled, over_rates=tuple(over))

    def _posted_opens(self, rate: Rate, now_ms: int) -> int:
        posted = self._posted.setdefault(rate.key, deque())
        while posted and posted[0] <= now_ms - MINUTE_MS:
            posted.popleft()
        return len(posted)

    def _put(self, key: Key, state: IntentState, order: Order) -> None:
        if state.ended:
            self._open.pop(key, None)
            self._ended[key] = state, order
            self._shrink(self._ended)
        else:
            self._open[key] = state, order

    def _cancel_by(self, order: Order) -> Iterator[Pending]:
        for number, (key, (state, other)) in enumerate(list(self._open.items())):
            pending = state.status in PENDING_STATUSES and other.due_ms is not None
            if pending and other.is_canceled_by(order):
                self._put(key, state.canceled(), other)
                yield Pending(
                    number,
                    state.generation,
                    other.intent_id,
                    other.connector,
                    other.strategy,
                    other.intent.action,
                    other.intent.client_order_id,
                    other.due_ms or 0,
                    "canceled",
                    None,
                    state.attempts,
                    state.http_status,
                    other.creation.age_ms,
                    order.received_ms,
                )

    async def confirm(self, order: Order, claim: IntentState, epoch: Epoch) -> int:
        """See Ledger; it can't tell when."""
        if self._epochs.get(epoch.lane) != epoch.number:
            raise Fenced
        known = self._open.get((order.strategy, order.intent_id))
        if known is None or known[0].version != claim.version:
            raise Conflict
        return 0

    def switched(self, connector: str) -> State:
        """See Ledger; it has no switch."""
        del connector
        return "open"

    def watch_switch(self, watcher: SwitchWatcher) -> None:
        """See Ledger; there is nothing to watch."""

    def count_unacked(self, unacked: Callable[[], Mapping[str, int]]) -> None:
        """See Ledger; nobody else could read it."""

    def release(self, order: Order) -> None:
        """See Ledger."""

    def _shrink(self, entries: OrderedDict[Key, tuple[IntentState, Order]] | OrderedDict[Met, int | None]) -> None:
        while len(entries) > self._ended_max:
            entries.popitem(last=False)
