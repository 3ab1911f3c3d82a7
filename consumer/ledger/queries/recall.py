"""The look at the intent that a message stands for: found by its identity, or by its bytes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, select, update

from signalq.consumer.ledger import LEASE_MS, Epoch, LedgerEntry
from signalq.consumer.ledger.queries.events import FORWARDED, SCHEDULED
from signalq.consumer.ledger.queries.intents import row_of, save
from signalq.consumer.ledger.row import creation_of, from_row, storable
from signalq.consumer.ledger.tables import events, intents
from signalq.consumer.orders.order import Order, RowIdentity
from signalq.consumer.orders.outcomes import of_row
from signalq.consumer.orders.state import ENDINGS, IntentState
from signalq.message.outcome import Outcome

# How long the lane's consumer may have been dead before its last sign of life was noted, and acknowledgements it sent
# just before that may have been lost with it.
LAST_ACKS_MS = 60_000
# Of endings that may not have been told, the latest so many are told again: an event is late by ms.
MAYBE_UNTOLD_MAX = 100
# Statuses in which the message can't have been acknowledged: it will surely be delivered again.
SURELY_UNACKED = ("received", "sending", "retrying", "dying")

_by_digest = (
    select(intents)
    .where(
        intents.c.digest == bindparam("digest"),
        ~intents.c.has_message_id,
        intents.c.strategy.in_(bindparam("strategies", expanding=True)),
    )
    .order_by(intents.c.number)
)
_passed_on = select(func.max(events.c.at_ms)).where(
    events.c.intent == bindparam("intent"),
    events.c.generation == bindparam("generation"),
    events.c.what.in_((SCHEDULED, FORWARDED)),
)


def recall(
    connection: Connection, now_ms: int, order: Order, epoch: Epoch, owner: str, holds: IdlessHolds
) -> LedgerEntry:
    """Return what is known of the order's intent; without a message_id, and redelivered, it is known by its bytes."""
    rows: dict[tuple[str, str], Row[Any] | None] = {}

    def lookup(strategy: str, intent_id: str) -> RowIdentity | None:
        row = rows[strategy, intent_id] = row_of(connection, strategy, intent_id)
        return RowIdentity(bytes(row.digest), row.origin_user) if row is not None else None

    order = order.identified(lookup)
    if (order.strategy, order.intent_id) not in rows:
        lookup(order.strategy, order.intent_id)
    row = rows[order.strategy, order.intent_id]
    is_known_by_bytes = order.identity.message_id is None and order.provenance.redelivered
    if row is not None:
        known = _known(connection, order, order.intent_id, row, owner, now_ms)
        if is_known_by_bytes and order.provenance.recorded:  # handling it failed, perhaps before it was told
            _, again = _equal_ones(connection, now_ms, order, epoch, holds)
            return replace(known, maybe_unpublished=_maybe_unpublished(again))
        return known
    if is_known_by_bytes:
        return _recall_by_bytes(connection, now_ms, order, epoch, owner, holds)
    return _first_receipt(connection, now_ms, order)


def _first_receipt(connection: Connection, now_ms: int, order: Order) -> LedgerEntry:
    """Nothing is known yet. What nobody dated is recorded, so that its first receipt is kept; and what is delayed, so
    that it is pending before anything behind it in its lane is looked at: a cancel that follows it finds it. What is
    dated ahead counts as created now, and not again when it comes again.
    """
    state = IntentState(order.intent_id, order.identity.digest)
    created, has_id = order.timing.creation, order.identity.message_id is not None
    is_needed = not order.timing.is_due or created.is_ahead or (created.pinned and has_id)
    if is_needed and save(connection, now_ms, order, state):
        return LedgerEntry(order.as_recorded(), replace(state, version=1))
    return LedgerEntry(order, state)


def _recall_by_bytes(
    connection: Connection, now_ms: int, order: Order, epoch: Epoch, owner: str, holds: IdlessHolds
) -> LedgerEntry:
    """Equal bodies without an identity can be exchanged for each other. One that can't have been acknowledged is
    surely among what comes redelivered: this message may be taken for it. One that may have been acknowledged, or
    not, makes this message a possible second delivery; one that surely was acknowledged does not.
    """
    adopted, again = _equal_ones(connection, now_ms, order, epoch, holds)
    maybe_unpublished = _maybe_unpublished(again)
    if adopted is not None:
        named = order.named(adopted.strategy, adopted.intent_id)
        known = _known(connection, named, adopted.intent_id, adopted, owner, now_ms)
        return replace(known, maybe_unpublished=maybe_unpublished)
    if not again:
        return _first_receipt(connection, now_ms, order)
    # If it is one of these, it was POSTed first when that one was.
    posted_ms = [row.first_post_ms for row in again if row.first_post_ms is not None]
    first_post_ms = min(posted_ms, default=None)
    state = IntentState(order.intent_id, order.identity.digest, first_post_ms=first_post_ms, maybe_second_delivery=True)
    return LedgerEntry(order, state, maybe_unpublished=maybe_unpublished)


def _equal_ones(
    connection: Connection, now_ms: int, order: Order, epoch: Epoch, holds: IdlessHolds
) -> tuple[Row[Any] | None, list[Row[Any]]]:
    """The intents of equal bytes without an identity: the first that can't have been acknowledged, and those that may
    have been, or not.
    """
    adopted: Row[Any] | None = None
    again: list[Row[Any]] = []
    # The clock may have been set forward between an ending and the last sign of life, and make them look far apart.
    since_ms = (epoch.alive_before_ms or 0) - LAST_ACKS_MS - order.timing.skew.forward_ms(now_ms)
    settled_after = math.inf if epoch.settled_after is None else epoch.settled_after
    by_label, digest = order.identity.by_label, order.identity.digest
    names = {order.strategy, by_label[0] if by_label is not None else order.strategy}
    keys = {"strategies": sorted(map(storable, names)), "digest": digest}
    for row in connection.execute(_by_digest, keys):
        if holds.by_another(row.intent_id, order, epoch) or row.origin_user != storable(order.identity.origin_user):
            continue
        # An intent that was parked, forwarded or replayed has a message that carries its id now, and is not told by its
        # bytes. The message without an id was acknowledged, or was not, when the intent was passed on.
        is_unacked = row.status in SURELY_UNACKED and row.replayed_ms is None
        passed_on_ms = _passed_on_ms(connection, row) if is_unacked else None
        if is_unacked and passed_on_ms is None:
            adopted = adopted or row
        elif (passed_on_ms or row.updated_ms) >= since_ms and row.number <= settled_after:
            again.append(row)
    return adopted, again


def _passed_on_ms(connection: Connection, row: Row[Any]) -> int | None:
    """When the ladder or the right lane had a copy of it that carries its id; None where neither ever had."""
    return connection.execute(_passed_on, {"intent": row.number, "generation": row.generation}).scalar()


def _maybe_unpublished(again: list[Row[Any]]) -> tuple[Outcome, ...]:
    """The endings among these: whoever recorded the last of them may have died before it told."""
    ended = sorted((row for row in again if row.status in ENDINGS), key=lambda row: row.updated_ms)
    return tuple(of_row(row, row.status) for row in ended[-MAYBE_UNTOLD_MAX:])


def _known(connection: Connection, order: Order, intent_id: str, row: Row[Any], owner: str, now_ms: int) -> LedgerEntry:
    created = creation_of(row)
    if order.timing.creation.pinned or created != order.timing.creation:
        created = replace(created, pinned=True)  # this message doesn't carry it: it is written down when passed on
    theirs = row.status == "sending" and row.owner != owner
    leased_for_ms = max(0, (row.lease_until_ms or 0) - now_ms) if theirs else 0
    if leased_for_ms > LEASE_MS:  # the clock was set back since: who lives renews it, for others it ends like any
        leased_for_ms = LEASE_MS
        shortened = update(intents).where(intents.c.number == row.number, intents.c.owner == row.owner)
        connection.execute(shortened.values(lease_until_ms=now_ms + LEASE_MS))
    state = from_row(row, intent_id, leased_for_ms)
    return LedgerEntry(order.known_as(intent_id, created, row.replayed_ms), state)


class IdlessHolds:
    """The messages in this consumer that stand for intents without a message_id: two equal redelivered ones must not be
    taken for the same intent.

    But a message of a lost session comes again on the next one of its lane, while we may still be busy with it: then
    the two are the same message.
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

    def by_another(self, intent_id: str, order: Order, epoch: Epoch) -> bool:
        """Whether another message than the order's stands for the intent."""
        receipt, since = self._holder_of.get(intent_id, (order.provenance.receipt, epoch))
        comes_again = since.lane == epoch.lane and since.opening < epoch.opening
        return receipt != order.provenance.receipt and not comes_again

    def release(self, order: Order) -> None:
        """The order's message is out of the consumer's hands."""
        intent_id = self._intent_of.pop(order.provenance.receipt, "")
        receipt, _ = self._holder_of.get(intent_id, (None, None))
        if receipt == order.provenance.receipt:
            del self._holder_of[intent_id]
