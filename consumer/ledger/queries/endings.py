"""The endings of intents, counted by connector, kind and period of time: for charts, and for a watch over them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Integer, Select, bindparam, func, literal_column, select

from signalq.consumer.ledger.tables import intents


@dataclass(frozen=True, slots=True)
class Endings:
    """The endings of one kind that a connector had within one period: `count` of them, the latest at `last_ms`.

    `period` is the number of the period: its beginning in ms since the epoch, divided by its length.
    """

    connector: str
    status: str
    reason: str | None
    http_status: int | None
    period: int
    count: int
    last_ms: int


def count_endings(connection: Connection, since_ms: int, until_ms: int, period_ms: int) -> list[Endings]:
    """Count the endings since then, and before `until_ms`, in periods of this length.

    An intent counts by its present ending: one that was replayed has left its earlier one. An ending is committed a
    moment after its time, on PostgreSQL by some seconds at most.
    """
    rows = connection.execute(_counted(period_ms), {"since_ms": since_ms, "until_ms": until_ms})
    return [Endings(*row) for row in rows]


@cache
def _counted(period_ms: int) -> Select[Any]:
    """The statement, for which the index of the endings has the rows."""
    ended_ms = intents.c.ended_ms
    # Written out: PostgreSQL takes two parameters for two values, and would not see that it groups by what it selects.
    period = ended_ms // literal_column(str(period_ms), Integer)
    kind = intents.c.connector, intents.c.status, intents.c.reason, intents.c.http_status, period
    within = ended_ms >= bindparam("since_ms"), ended_ms < bindparam("until_ms")
    return select(*kind, func.count(), func.max(ended_ms)).where(*within).group_by(*kind)
