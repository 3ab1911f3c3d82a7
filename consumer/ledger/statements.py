"""What is asked of the tables, inside one transaction: synchronous, by SQLAlchemy Core, alike on SQLite and PostgreSQL.

Every function takes the open connection and the ledger's clock (`now_ms`). None raises on a lost race: it says so, so
that the other saves in the same transaction are not undone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from signalq.consumer.ledger import Epoch, LedgerEntry, paces
from signalq.consumer.ledger.leases import LEASE_MS
from signalq.consumer.ledger.schema import intents, lanes, steps
from signalq.consumer.orders.delays import KnownSkew
from signalq.consumer.orders.order import Found, Order
from signalq.consumer.orders.outcomes import of_row
from signalq.consumer.orders.state import ENDINGS, IntentState
from signalq.message.creation import Creation
from signalq.message.outcome import Outcome

# How long the lane's consumer may have been dead before its last sign of life was noted, and acknowledgements it sent
# just before that may have been lost with it.
LAST_ACKS_MS = 60_000
# A lane that was noted as looked after within so long need not be noted again.
ALIVE_NOTED_MS = 200
# A lane whose queue is gone is forgotten when nobody has looked after it for so long.
FORGET_LANE_MS = 7 * 86_400_000
# Of endings that may not have been told, the latest so many are told again: an event is late by ms.
MAYBE_UNTOLD_MAX = 100
# Statuses in which the message can't have been acknowledged: it will surely be delivered again.
SURELY_UNACKED = ("received", "sending", "retrying", "dying")

T = TypeVar("T", str, str | None)

_by_identity = select(intents).where(
    intents.c.strategy == bindparam("strategy"), intents.c.intent_id == bindparam("intent_id")
)
_by_digest = (
    select(intents)
    .where(
        intents.c.digest == bindparam("digest"),
        ~intents.c.has_message_id,
        intents.c.strategy.in_(bindparam("strategies", expanding=True)),
    )
    .order_by(intents.c.number)
)
_step = (
    update(intents)
    .where(
        intents.c.strategy == bindparam("by_strategy"),
        intents.c.intent_id == bindparam("by_intent_id"),
        intents.c.version == bindparam("by_version"),
    )
    .values(
        {
            column: bindparam(f"new_{column}")
            for column in (
                "version",
                "status",
                "reason",
                "detail",
                "attempts",
                "attempts_counted",
                "first_post_ms",
                "next_attempt_ms",
                "in_doubt",
                "why",
                "http_status",
                "generation",
                "updated_ms",
                "ended_ms",
                "owner",
                "lease_until_ms",
                "wait_ms",
                "answer",
            )
        }
    )
)


def recall(
    connection: Connection, now_ms: int, order: Order, epoch: Epoch, owner: str, is_held: Callable[[str], bool]
) -> LedgerEntry:
    """What is known of the order's intent; for one without a message_id, by its bytes where it came redelivered.

    `is_held` says whether another message in this consumer stands for an intent.
    """
    rows: dict[tuple[str, str], Row[Any] | None] = {}

    def look(strategy: str, intent_id: str) -> Found | None:
        row = rows[strategy, intent_id] = row_of(connection, strategy, intent_id)
        return Found(bytes(row.digest), row.origin_user) if row is not None else None

    order = order.identified(look)
    if (order.strategy, order.intent_id) not in rows:
        look(order.strategy, order.intent_id)
    row = rows[order.strategy, order.intent_id]
    if row is not None:
        return _known(connection, order, order.intent_id, row, owner, now_ms)
    if order.message_id is None and order.redelivered:
        return _recall_by_bytes(connection, now_ms, order, epoch, owner, is_held)
    return _first_receipt(connection, now_ms, order, owner)


def _first_receipt(connection: Connection, now_ms: int, order: Order, owner: str) -> LedgerEntry:
    """Nothing is known yet. What nobody dated is recorded, so that its first receipt is kept; and what is delayed, so
    that it is pending before anything behind it in its lane is looked at: a cancel that follows it finds it. What is
    dated ahead counts as created now, and not again when it comes again.
    """
    state = IntentState(order.intent_id, order.digest)
    created, has_id = order.creation, order.message_id is not None
    is_needed = not order.is_due or created.is_ahead or (created.pinned and has_id)
    if is_needed and save(connection, now_ms, order, state, owner, 0):
        return LedgerEntry(replace(order, recorded=True), replace(state, version=1))
    return LedgerEntry(order, state)


def _recall_by_bytes(
    connection: Connection, now_ms: int, order: Order, epoch: Epoch, owner: str, is_held: Callable[[str], bool]
) -> LedgerEntry:
    """Equal bodies without an identity can be exchanged for each other. One that can't have been acknowledged is
    surely among what comes redelivered: this message may be taken for it. One that may have been acknowledged, or
    not, makes this message a possible second delivery; one that surely was acknowledged does not.
    """
    adopted: Row[Any] | None = None
    again: list[Row[Any]] = []
    # The clock may have been set forward between an ending and the last sign of life, and make them look far apart.
    since_ms = (epoch.alive_before_ms or 0) - LAST_ACKS_MS - order.skew.forward_ms(now_ms)
    settled_after = math.inf if epoch.settled_after is None else epoch.settled_after
    names = {order.strategy, order.by_label[0] if order.by_label is not None else order.strategy}
    keys = {"strategies": sorted(map(_storable, names)), "digest": order.digest}
    for row in connection.execute(_by_digest, keys):
        if is_held(row.intent_id) or row.origin_user != _storable(order.origin_user):
            continue
        # A replayed one has a message that carries its id now: it is not among those that are told by their bytes.
        if row.status in SURELY_UNACKED and row.replayed_ms is None:
            adopted = adopted or row
        elif row.updated_ms >= since_ms and row.number <= settled_after:
            again.append(row)
    maybe_unpublished = _maybe_untold(again)
    if adopted is not None:
        named = replace(order, strategy=adopted.strategy)
        known = _known(connection, named, adopted.intent_id, adopted, owner, now_ms)
        return replace(known, maybe_unpublished=maybe_unpublished)
    if not again:
        return _first_receipt(connection, now_ms, order, owner)
    # If it is one of these, it was POSTed first when that one was.
    posted_ms = [row.first_post_ms for row in again if row.first_post_ms is not None]
    first_post_ms = min(posted_ms, default=None)
    state = IntentState(order.intent_id, order.digest, first_post_ms=first_post_ms, maybe_second_delivery=True)
    return LedgerEntry(order, state, maybe_unpublished=maybe_unpublished)


def _maybe_untold(again: list[Row[Any]]) -> tuple[Outcome, ...]:
    """The endings among these: whoever recorded the last of them may have died before it told."""
    ended = sorted((row for row in again if row.status in ENDINGS), key=lambda row: row.updated_ms)
    return tuple(of_row(row, row.status) for row in ended[-MAYBE_UNTOLD_MAX:])


def _known(connection: Connection, order: Order, intent_id: str, row: Row[Any], owner: str, now_ms: int) -> LedgerEntry:
    created = Creation(row.age_from_ms, row.delay_from_ms, row.created_from)
    if order.creation.pinned or created != order.creation:
        created = replace(created, pinned=True)  # this message doesn't carry it: it is written down when passed on
    theirs = row.status == "sending" and row.owner != owner
    leased_for_ms = max(0, (row.lease_until_ms or 0) - now_ms) if theirs else 0
    if leased_for_ms > LEASE_MS:  # the clock was set back since: who lives renews it, for others it ends like any
        leased_for_ms = LEASE_MS
        shortened = update(intents).where(intents.c.number == row.number, intents.c.owner == row.owner)
        connection.execute(shortened.values(lease_until_ms=now_ms + LEASE_MS))
    state = IntentState(
        intent_id=intent_id,
        digest=bytes(row.digest),
        generation=row.generation,
        status=row.status,
        reason=row.reason,
        detail=row.detail,
        attempts=row.attempts,
        attempts_counted=row.attempts_counted,
        first_post_ms=row.first_post_ms,
        next_attempt_ms=row.next_attempt_ms,
        in_doubt=row.in_doubt,
        why=row.why,
        http_status=row.http_status,
        version=row.version,
        leased_for_ms=leased_for_ms,
        replayed_ms=row.replayed_ms,
        updated_ms=row.updated_ms,
        wait_ms=row.wait_ms,
        answer=row.answer,
    )
    return LedgerEntry(order.known_as(intent_id, created, row.replayed_ms), state)


def save(connection: Connection, now_ms: int, order: Order, state: IntentState, owner: str, lease_ms: int) -> bool:
    """Insert the first version, or step the saved one on; False where the ledger has another version."""
    changing: dict[str, Any] = {
        "version": state.version + 1,
        "status": state.status,
        "reason": state.reason,
        "detail": state.detail,
        "attempts": state.attempts,
        "attempts_counted": state.attempts_counted,
        "first_post_ms": state.first_post_ms,
        "next_attempt_ms": state.next_attempt_ms,
        "in_doubt": state.in_doubt,
        "why": state.why,
        "http_status": state.http_status,
        "generation": state.generation,
        "updated_ms": now_ms,
        "ended_ms": now_ms if state.status in ENDINGS else None,
        "owner": owner if state.status == "sending" else None,
        "lease_until_ms": now_ms + lease_ms if state.status == "sending" else None,
        "wait_ms": state.wait_ms,
        "answer": state.answer,
    }
    if state.version:
        keys: dict[str, Any] = {
            "by_strategy": _storable(order.strategy),
            "by_intent_id": _storable(order.intent_id),
            "by_version": state.version,
        }
        result = connection.execute(_step, keys | {f"new_{column}": value for column, value in changing.items()})
    else:
        result = connection.execute(_first_save(connection), _first_values(order, state) | changing)
    return result.rowcount == 1


def _first_values(order: Order, state: IntentState) -> dict[str, Any]:
    return {
        "strategy": _storable(order.strategy),
        "intent_id": _storable(order.intent_id),
        "has_message_id": order.message_id is not None,
        "digest": state.digest,
        "connector": order.connector,
        "action": order.intent.action,
        "client_order_id": _storable(order.intent.client_order_id),
        "origin_user": _storable(order.origin_user),
        "age_from_ms": order.creation.age_ms,
        "delay_from_ms": order.creation.delay_ms,
        "created_from": order.creation.source,
        "due_ms": order.due_ms,
        "received_ms": order.received_ms,
    }


def _storable(text: T) -> T:
    """Foreign text without NUL characters, which PostgreSQL can't hold."""
    return text if text is None else text.replace("\x00", "\\x00")


def _first_save(connection: Connection) -> Any:
    """INSERT ... ON CONFLICT DO NOTHING: a lost race is no error that would undo the whole transaction."""
    return _FIRST_SAVE[connection.dialect.name]


_FIRST_SAVE = {
    "sqlite": sqlite.insert(intents).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(intents).on_conflict_do_nothing(),
}


def take_lane(connection: Connection, now_ms: int, lane: str, owner: str, *, alone: bool, skew: KnownSkew) -> Epoch:
    """Make `owner` the lane's consumer: `alone`, everyone before it becomes a stranger, else it joins them. `skew` says
    how the ledger's clock was set.
    """
    first = {"lane": lane, "epoch": 0, "owner": owner, "alive_ms": now_ms}
    connection.execute(_FIRST_OF_LANE[connection.dialect.name], first)
    before = connection.execute(_lane_to_take, {"by_lane": lane}).one()
    number = before.epoch + 1 if alone or not before.epoch else before.epoch
    was_left = alone and before.epoch > 0 and before.left_epoch == before.epoch
    settled_after = before.settled_after if was_left else connection.execute(_last_intent).scalar_one()
    changed = {"epoch": number, "owner": owner, "alive_ms": now_ms, "settled_after": settled_after}
    connection.execute(_change_lane, {"by_lane": lane, **changed})
    return Epoch(
        lane,
        number,
        before.alive_ms if before.epoch else None,
        settled_after=settled_after if was_left else None,
        remembered=paces.of_lane(connection, now_ms, lane, skew),
    )


def leave_settled(connection: Connection, epoch: Epoch) -> None:
    """All that has ended in this epoch is acknowledged. Whoever takes the lane next need not ask what became of it."""
    connection.execute(
        update(lanes).where(lanes.c.lane == epoch.lane, lanes.c.epoch == epoch.number).values(left_epoch=epoch.number)
    )


_lane_to_take = select(lanes).where(lanes.c.lane == bindparam("by_lane")).with_for_update()
_change_lane = update(lanes).where(lanes.c.lane == bindparam("by_lane"))
_last_intent = select(func.coalesce(func.max(intents.c.number), 0))


_FIRST_OF_LANE = {
    "sqlite": sqlite.insert(lanes).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(lanes).on_conflict_do_nothing(),
}


def current_epoch(connection: Connection, lane: str) -> int | None:
    """The lane's epoch, held still until this transaction ends."""
    number: int | None = connection.execute(_epoch_of_lane, {"lane": lane}).scalar()
    return number


# The weakest lock that take_lane's waits for, and the strongest that does not wait for who notes that he lives: two
# consumers that claim on lanes of their own and note each other's would wait in a circle, until PostgreSQL ends one.
_epoch_of_lane = (
    select(lanes.c.epoch).where(lanes.c.lane == bindparam("lane")).with_for_update(read=True, key_share=True)
)


def join_lane(connection: Connection, now_ms: int, lane: str, owner: str) -> int | None:
    """Note that somebody looks after the lane; return when somebody last did before, None for never."""
    first = {"lane": lane, "epoch": 0, "owner": owner, "alive_ms": now_ms}
    if connection.execute(_FIRST_OF_LANE[connection.dialect.name], first).rowcount == 1:
        return None
    before_ms: int = connection.execute(_lane_to_join, {"by_lane": lane}).scalar_one()
    connection.execute(_change_lane, {"by_lane": lane, "alive_ms": now_ms})
    return before_ms


_lane_to_join = select(lanes.c.alive_ms).where(lanes.c.lane == bindparam("by_lane")).with_for_update(key_share=True)


def known_lanes(connection: Connection) -> list[str]:
    """Every lane that has a row."""
    return list(connection.execute(select(lanes.c.lane).order_by(lanes.c.lane)).scalars())


def forget_lane(connection: Connection, now_ms: int, lane: str) -> None:
    """Its queue is gone. Only once nobody has looked after it for FORGET_LANE_MS: its epochs begin anew then, and
    somebody who was frozen meanwhile might take one of them for its own.
    """
    connection.execute(delete(lanes).where(lanes.c.lane == lane, lanes.c.alive_ms < now_ms - FORGET_LANE_MS))


def keep_alive(connection: Connection, now_ms: int, joined: list[str], owner: str, lease_ms: int) -> None:
    """Note that this consumer lives, on the lanes that it looks after and on what it is POSTing."""
    if joined:
        noted = {"by_lanes": joined, "noted_since_ms": now_ms - ALIVE_NOTED_MS, "now_ms": now_ms, "alive_ms": now_ms}
        connection.execute(_note_lanes, noted)
    connection.execute(_renew_leases, {"by_owner": owner, "lease_until_ms": now_ms + lease_ms})


# Whoever looks after the same lanes notes it as well: two need not wait for each other's rows, and do not.
# One that lies ahead was noted before the clock was set back.
_note_lanes = update(lanes).where(
    lanes.c.lane.in_(
        select(lanes.c.lane)
        .where(
            lanes.c.lane.in_(bindparam("by_lanes", expanding=True)),
            ~lanes.c.alive_ms.between(bindparam("noted_since_ms"), bindparam("now_ms")),
        )
        .with_for_update(key_share=True, skip_locked=True)
    )
)
_renew_leases = update(intents).where(intents.c.owner == bindparam("by_owner"), intents.c.status == "sending")


def end_lease(connection: Connection, order: Order, owner: str) -> None:
    """Nobody is POSTing the order, whatever its claim says; whether it was POSTed stays in doubt."""
    connection.execute(
        update(intents)
        .where(
            intents.c.strategy == _storable(order.strategy),
            intents.c.intent_id == _storable(order.intent_id),
            intents.c.owner == owner,
            intents.c.status == "sending",
        )
        .values(owner=None, lease_until_ms=None)
    )


def prune(connection: Connection, now_ms: int, retention_ms: int, rows_max: int) -> int:
    """Forget at most `rows_max` of what ended before the retention; never what has not ended."""
    old = (
        select(intents.c.number)
        .where(intents.c.ended_ms < now_ms - retention_ms)
        .order_by(intents.c.ended_ms)
        .limit(rows_max)
        .scalar_subquery()
    )
    connection.execute(steps.delete().where(steps.c.intent.in_(old)))
    return connection.execute(intents.delete().where(intents.c.number.in_(old))).rowcount


def row_of(connection: Connection, strategy: str, intent_id: str) -> Row[Any] | None:
    """The row of an intent, if the ledger knows it."""
    return connection.execute(
        _by_identity, {"strategy": _storable(strategy), "intent_id": _storable(intent_id)}
    ).first()
