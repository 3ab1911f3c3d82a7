"""Lanes: their active consumers and epochs, when each was last looked after, and what its connectors wait for."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, update

from signalq.consumer.ledger import Epoch, LaneMemory
from signalq.consumer.ledger.database import insert_new, upsert
from signalq.consumer.ledger.tables import intents, lanes, paces
from signalq.consumer.orders.delays import KnownSkew

# A lane that was noted as looked after within so long need not be noted again.
ALIVE_NOTED_MS = 200
# A lane whose queue is gone is forgotten when nobody has looked after it for so long.
FORGET_LANE_MS = 7 * 86_400_000
MEMORIES_MAX = 10_000


def take_lane(connection: Connection, now_ms: int, lane: str, owner: str, *, alone: bool, skew: KnownSkew) -> Epoch:
    """Make `owner` the lane's consumer: `alone`, all before it become strangers, else it joins them. `skew` is that of
    the ledger's clock.
    """
    insert_new(connection, lanes, {"lane": lane, "epoch": 0, "owner": owner, "alive_ms": now_ms})
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
        remembered=_remembered(connection, now_ms, lane, skew),
    )


def leave_settled(connection: Connection, epoch: Epoch) -> None:
    """All endings of this epoch are acknowledged: the lane's next consumer need not doubt them."""
    is_ours = lanes.c.lane == epoch.lane, lanes.c.epoch == epoch.number
    connection.execute(update(lanes).where(*is_ours).values(left_epoch=epoch.number))


_lane_to_take = select(lanes).where(lanes.c.lane == bindparam("by_lane")).with_for_update()
_change_lane = update(lanes).where(lanes.c.lane == bindparam("by_lane"))
_last_intent = select(func.coalesce(func.max(intents.c.number), 0))


def join_lane(connection: Connection, now_ms: int, lane: str, owner: str) -> int | None:
    """Make the lane known; return when somebody last looked after it, None for never.

    The next sign of life notes that somebody does. A lane that is known is read alone: nothing here waits for a row
    that another consumer changes, nor holds one, or two that join and take lanes would wait for each other in a circle.
    On PostgreSQL also an insert that is to change nothing waits for whoever changes the row.
    """
    before_ms: int | None = connection.execute(_alive, {"by_lane": lane}).scalar()
    if before_ms is None:
        insert_new(connection, lanes, {"lane": lane, "epoch": 0, "owner": owner, "alive_ms": now_ms})
    return before_ms


_alive = select(lanes.c.alive_ms).where(lanes.c.lane == bindparam("by_lane"))


def known_lanes(connection: Connection) -> list[str]:
    """Every lane that has a row."""
    return list(connection.scalars(_names))


_names = select(lanes.c.lane).order_by(lanes.c.lane)


def silence_ms(connection: Connection, now_ms: int) -> dict[str, int]:
    """By lane: how long ago a consumer was last known to look after it."""
    rows = connection.execute(select(lanes.c.lane, lanes.c.alive_ms))
    return {row.lane: now_ms - row.alive_ms for row in rows}


def forget_lane(connection: Connection, now_ms: int, lane: str) -> None:
    """Forget a lane whose queue is gone, but only once nobody has looked after it for FORGET_LANE_MS: its epochs begin
    anew, and a consumer that was frozen meanwhile might take one of them for its own.
    """
    connection.execute(delete(lanes).where(lanes.c.lane == lane, lanes.c.alive_ms < now_ms - FORGET_LANE_MS))


def note_alive(connection: Connection, now_ms: int, joined: list[str]) -> None:
    """Note that these lanes are looked after."""
    if joined:
        noted = {"by_lanes": joined, "noted_since_ms": now_ms - ALIVE_NOTED_MS, "now_ms": now_ms, "alive_ms": now_ms}
        connection.execute(_note_lanes, noted)


# Other consumers of a lane note it as well: two need not wait for each other's rows, and do not. A time that lies ahead
# was noted before the clock was set back.
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


def remember(connection: Connection, now_ms: int, memories: Mapping[str, tuple[str, LaneMemory]]) -> None:
    """Keep what is known of each connector, by its name with its lane; always in the same order, so that two consumers
    never wait for each other in a circle.
    """
    for connector, (lane, memory) in sorted(memories.items()):
        values = {"lane": lane, "failures": memory.failures, "noted_ms": now_ms, "wait_ms": memory.wait_ms}
        if memory.posted_ago_ms is not None:
            values["posted_ms"] = now_ms - memory.posted_ago_ms
        upsert(connection, paces, {"connector": connector}, values)


def _remembered(connection: Connection, now_ms: int, lane: str, skew: KnownSkew) -> tuple[LaneMemory, ...]:
    """The memories of those connectors of a lane that wait for anything, the latest MEMORIES_MAX of them. An unknown
    setting of the clock makes no wait longer than it was.
    """
    return tuple(_memory(row, now_ms, skew) for row in connection.execute(_latest_waits, {"by_lane": lane}))


_latest_waits = (
    select(paces)
    .where(paces.c.lane == bindparam("by_lane"), or_(paces.c.failures > 0, paces.c.posted_ms.is_not(None)))
    .order_by(paces.c.noted_ms.desc())
    .limit(MEMORIES_MAX)
)


def _memory(row: Row[Any], now_ms: int, skew: KnownSkew) -> LaneMemory:
    waited_ms = max(0, skew.passed_ms(row.noted_ms, now_ms))
    posted_ago_ms = None if row.posted_ms is None else max(0, skew.passed_ms(row.posted_ms, now_ms))
    return LaneMemory(row.connector, row.failures, max(0, row.wait_ms - waited_ms), posted_ago_ms)
