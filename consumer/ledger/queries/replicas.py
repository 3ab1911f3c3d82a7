"""The consumers that share this ledger, and when each was last known to live."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from signalq.consumer.ledger.database import upsert
from signalq.consumer.ledger.leases import LIVE_MS
from signalq.consumer.ledger.tables import lanes, replicas

# Who gave no sign of life for so long is forgotten: it ended without saying so.
FORGET_MS = 3_600_000
NAME_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True)
class Replica:
    """One consumer: `owner` is its id in this ledger, `name` what people call it (host and process id).

    `switch_seen` is the number of the last change of the switch that it acts by; `unacked` counts what it holds, by
    queue. `silent_ms` is the time since its last sign of life, by the ledger's clock.
    """

    owner: str
    name: str
    started_ms: int
    silent_ms: int
    switch_seen: int
    unacked: Mapping[str, int]

    @property
    def lives(self) -> bool:
        """Whether it gave a sign of life lately; one that lies ahead was given before the clock was set back."""
        return abs(self.silent_ms) < LIVE_MS


def note_alive(
    connection: Connection, now_ms: int, owner: str, name: str, switch_seen: int, unacked: Mapping[str, int]
) -> None:
    """A sign of life of one consumer; its first makes it known."""
    changing: dict[str, Any] = {
        "alive_ms": now_ms,
        "switch_seen": switch_seen,
        "unacked": json.dumps({queue: count for queue, count in unacked.items() if count}),
    }
    first = {"owner": owner, "name": name[:NAME_CHARACTERS_MAX], "started_ms": now_ms}
    upsert(connection, replicas, first, changing)


def living(connection: Connection, now_ms: int, silent_ms_max: int) -> frozenset[str]:
    """The owners of those that gave a sign of life within `silent_ms_max`."""
    return frozenset(
        connection.scalars(_living, {"since_ms": now_ms - silent_ms_max, "until_ms": now_ms + silent_ms_max})
    )


# One that lies further ahead was given before the clock was set back.
_living = select(replicas.c.owner).where(replicas.c.alive_ms.between(bindparam("since_ms"), bindparam("until_ms")))


def leave(connection: Connection, owner: str) -> None:
    """It ends."""
    connection.execute(delete(replicas).where(replicas.c.owner == owner))


def forget_silent(connection: Connection, now_ms: int) -> None:
    """Forget those that ended without saying so, long ago."""
    connection.execute(delete(replicas).where(replicas.c.alive_ms < now_ms - FORGET_MS))


def known(connection: Connection, now_ms: int) -> list[Replica]:
    """All that are known, the longest running first; whether one lives is to be seen from its silence."""
    rows = connection.execute(select(replicas).order_by(replicas.c.started_ms, replicas.c.owner))
    return [
        Replica(row.owner, row.name, row.started_ms, now_ms - row.alive_ms, row.switch_seen, json.loads(row.unacked))
        for row in rows
    ]


def owners(connection: Connection) -> dict[str, str]:
    """By lane: who has become its active consumer last, whether that one lives or not."""
    rows = connection.execute(select(lanes.c.lane, lanes.c.owner).where(lanes.c.epoch > 0))
    return {row.lane: row.owner for row in rows}
