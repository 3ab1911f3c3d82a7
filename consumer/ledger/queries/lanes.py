"""Lanes: who their active consumer is, by which epoch, and when each was last looked after."""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from signalq.consumer.ledger import Epoch
from signalq.consumer.ledger.queries import paces
from signalq.consumer.ledger.tables import intents, lanes
from signalq.consumer.orders.delays import KnownSkew

# A lane that was noted as looked after within so long need not be noted again.
ALIVE_NOTED_MS = 200
# A lane whose queue is gone is forgotten when nobody has looked after it for so long.
FORGET_LANE_MS = 7 * 86_400_000

_FIRST_OF_LANE = {
    "sqlite": sqlite.insert(lanes).on_conflict_do_nothing(),
    "postgresql": postgresql.insert(lanes).on_conflict_do_nothing(),
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


def note_alive(connection: Connection, now_ms: int, joined: list[str]) -> None:
    """Note that these lanes are looked after."""
    if joined:
        noted = {"by_lanes": joined, "noted_since_ms": now_ms - ALIVE_NOTED_MS, "now_ms": now_ms, "alive_ms": now_ms}
        connection.execute(_note_lanes, noted)


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
