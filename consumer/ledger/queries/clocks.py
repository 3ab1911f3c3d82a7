"""How the machines' clocks were set: kept for whoever consumes next."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, insert, select

from signalq.consumer.clocks.skew import STEPS_MAX
from signalq.consumer.ledger.tables import clock_steps
from signalq.consumer.orders.delays import Segment


def clock_of(connection: Connection, machine: str) -> list[Segment]:
    """How the clock of a machine was set since the machine's start, oldest first."""
    query = select(clock_steps).where(clock_steps.c.machine == machine).order_by(clock_steps.c.number.desc())
    return [Segment(row.offset_ms, row.since_ms) for row in connection.execute(query.limit(STEPS_MAX))][::-1]


def note_clock(connection: Connection, machine: str, segments: Sequence[Segment]) -> None:
    """Keep how it was set."""
    if segments:
        rows = [{"machine": machine, "offset_ms": one.offset_ms, "since_ms": one.since_ms} for one in segments]
        connection.execute(insert(clock_steps), rows)


def forget(connection: Connection, now_ms: int, retention_ms: int, machine: str) -> None:
    """Forget what was noted before the retention; of this machine's clock all is kept."""
    before_ms = now_ms - retention_ms
    connection.execute(delete(clock_steps).where(clock_steps.c.since_ms < before_ms, clock_steps.c.machine != machine))
