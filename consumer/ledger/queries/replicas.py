"""The consumers that share this ledger: when each was last known to live, and how its machine's clock was set."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from signalq.consumer.clocks.skew import STEPS_MAX
from signalq.consumer.ledger import LIVE_MS, LaneFacts
from signalq.consumer.ledger.database import upsert
from signalq.consumer.ledger.tables import clock_steps, lanes, replicas
from signalq.consumer.orders.delays import Segment

NAME_CHARACTERS_MAX = 255


@dataclass(frozen=True, slots=True)
class Replica:
    """A consumer: `owner` is its id in this ledger, `name` (host and process id) is for people.

    It acts by the change of the switch that has the number `switch_seen`. `unacked` counts the messages that it holds,
    by queue; `lanes` has what it knows of each of these queues, and nothing of a consumer of an earlier version.
    `silent_ms` is the time since its last sign of life, by the ledger's clock.
    """

    owner: str
    name: str
    started_ms: int
    silent_ms: int
    switch_seen: int
    unacked: Mapping[str, int]
    lanes: Mapping[str, LaneFacts] = field(default_factory=dict)

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


def describe(connection: Connection, owner: str, facts: Mapping[str, LaneFacts]) -> None:
    """Note what a consumer has of each lane."""
    # As lists: with the names of the fields, 1,900 lanes would take ten times as long.
    told = json.dumps({queue: (one.held, one.out, one.oldest_ms, one.next_ms) for queue, one in facts.items()})
    connection.execute(_describe, {"by_owner": owner, "lanes": told})


_describe = update(replicas).where(replicas.c.owner == bindparam("by_owner"))


def living(connection: Connection, now_ms: int) -> frozenset[str]:
    """The owners of those that live."""
    return frozenset(connection.scalars(_living, {"since_ms": now_ms - LIVE_MS, "until_ms": now_ms + LIVE_MS}))


# A sign of life that lies further ahead was given before the clock was set back.
_living = select(replicas.c.owner).where(replicas.c.alive_ms.between(bindparam("since_ms"), bindparam("until_ms")))


def leave(connection: Connection, owner: str) -> None:
    """Note that the consumer ends."""
    connection.execute(delete(replicas).where(replicas.c.owner == owner))


def known(connection: Connection, now_ms: int) -> list[Replica]:
    """All that are known, the longest running first; whether one lives is to be seen from its silence."""
    rows = connection.execute(select(replicas).order_by(replicas.c.started_ms, replicas.c.owner))
    return [
        Replica(
            row.owner,
            row.name,
            row.started_ms,
            now_ms - row.alive_ms,
            row.switch_seen,
            json.loads(row.unacked),
            {queue: LaneFacts(*facts) for queue, facts in json.loads(row.lanes or "{}").items()},
        )
        for row in rows
    ]


def owners(connection: Connection) -> dict[str, str]:
    """By lane: who has become its active consumer last, whether that one lives or not."""
    rows = connection.execute(select(lanes.c.lane, lanes.c.owner).where(lanes.c.epoch > 0))
    return {row.lane: row.owner for row in rows}


def clock_of(connection: Connection, machine: str) -> list[Segment]:
    """How the clock of a machine was set since the machine's start, oldest first."""
    return [Segment(row.offset_ms, row.since_ms) for row in connection.execute(_steps, {"of": machine})][::-1]


_steps = (
    select(clock_steps)
    .where(clock_steps.c.machine == bindparam("of"))
    .order_by(clock_steps.c.number.desc())
    .limit(STEPS_MAX)
)


def note_clock(connection: Connection, machine: str, segments: Sequence[Segment]) -> None:
    """Keep how it was set."""
    if segments:
        rows = [{"machine": machine, "offset_ms": one.offset_ms, "since_ms": one.since_ms} for one in segments]
        connection.execute(insert(clock_steps), rows)
