"""What the lanes wait for: kept for their next consumers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, or_, select

from signalq.consumer.ledger import LaneMemory
from signalq.consumer.ledger.database import upsert
from signalq.consumer.ledger.tables import paces
from signalq.consumer.orders.delays import KnownSkew

MEMORIES_MAX = 10_000


def remember(connection: Connection, now_ms: int, memories: Mapping[str, tuple[str, LaneMemory]]) -> None:
    """Keep what is known of each connector, by its name with its lane; always in the same order, so that two consumers
    never wait for each other in a circle.
    """
    for connector, (lane, memory) in sorted(memories.items()):
        values: dict[str, Any] = {
            "lane": lane,
            "failures": memory.failures,
            "noted_ms": now_ms,
            "wait_ms": memory.wait_ms,
        }
        if memory.posted_ago_ms is not None:
            values["posted_ms"] = now_ms - memory.posted_ago_ms
        upsert(connection, paces, {"connector": connector}, values)


def of_lane(connection: Connection, now_ms: int, lane: str, skew: KnownSkew) -> tuple[LaneMemory, ...]:
    """The memories of those connectors of a lane that wait for anything, the latest MEMORIES_MAX of them. `skew` says
    how the ledger's clock was set. An unknown setting makes no wait longer than it was.
    """
    return tuple(_memory(row, now_ms, skew) for row in connection.execute(_latest, {"by_lane": lane}))


_latest = (
    select(paces)
    .where(paces.c.lane == bindparam("by_lane"), or_(paces.c.failures > 0, paces.c.posted_ms.is_not(None)))
    .order_by(paces.c.noted_ms.desc())
    .limit(MEMORIES_MAX)
)


def _memory(row: Row[Any], now_ms: int, skew: KnownSkew) -> LaneMemory:
    waited_ms = max(0, skew.passed_ms(row.noted_ms, now_ms))
    posted_ago_ms = None if row.posted_ms is None else max(0, skew.passed_ms(row.posted_ms, now_ms))
    return LaneMemory(row.connector, row.failures, max(0, row.wait_ms - waited_ms), posted_ago_ms)


def forget(connection: Connection, now_ms: int, retention_ms: int) -> None:
    """Forget the waits that nobody has noted anything of since."""
    connection.execute(delete(paces).where(paces.c.noted_ms < now_ms - retention_ms))
