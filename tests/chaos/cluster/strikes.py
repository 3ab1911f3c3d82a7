"""What is struck down, one kind a function: each returns when all that it took away is back."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from signalq.consumer.ledger.database import database_at, machine_ms
from signalq.consumer.ledger.queries import replicas
from signalq.local import PrivateRabbitMQ
from signalq.local.cluster import PrivateCluster
from tests.support.consumer import Consumer
from tests.support.postgres import connected
from tests.support.scene import Scene
from tests.support.waiting import elapsed, wait_until

Kind = Literal["node", "consumer", "database", "drain"]
KINDS: tuple[Kind, ...] = ("node", "consumer", "database", "drain")

# A killed node stays away for so long, and the sessions of the database are ended so often in a row.
DOWN_S = (1.0, 6.0)
SESSIONS_ENDED = (1, 4)
SESSIONS_PAUSE_S = (0.05, 0.6)
# Whoever is active on the lanes is known by the ledger; right after another strike it may be nobody.
ACTIVE_S = 30.0


@dataclass(frozen=True, slots=True)
class Strike:
    """One of them: when it fell (time.time_ns), when it was made good, and what it hit."""

    kind: Kind
    at_ns: int
    over_ns: int
    what: str
    exit_status: int | None = None

    @property
    def took_s(self) -> float:
        """Of a drain: from SIGTERM to the end of the process."""
        return (self.over_ns - self.at_ns) / 1e9


async def kill_the_leading_node(cluster: PrivateCluster, lanes: set[str], rng: random.Random) -> Strike:
    """SIGKILL to the node that leads the most lanes; it is started again, and returns when it has caught up."""
    leaders = await asyncio.to_thread(cluster.leaders)
    led = Counter(node.name for queue, node in leaders.items() if queue in lanes)
    name, count = led.most_common(1)[0]
    node = _named(cluster, name)
    at_ns = time.time_ns()
    await asyncio.to_thread(node.kill)
    await elapsed(rng.uniform(*DOWN_S))
    await asyncio.to_thread(node.start)
    await asyncio.to_thread(cluster.wait_until_whole)
    return Strike("node", at_ns, time.time_ns(), f"{name.partition('@')[0]}, which led {count} of {len(lanes)} lanes")


async def kill(victim: Consumer, lanes: int) -> Strike:
    """SIGKILL to a consumer that is active on so many lanes."""
    at_ns = time.time_ns()
    await asyncio.to_thread(victim.kill)
    return Strike("consumer", at_ns, time.time_ns(), f"active on {lanes} lanes")


async def drain(victim: Consumer, lanes: int, timeout_s: float) -> Strike:
    """SIGTERM to a consumer that is active on so many lanes, and its exit, which is waited for up to `timeout_s`."""
    at_ns = time.time_ns()
    victim.signal(signal.SIGTERM)
    status = await victim.exited(timeout_s)
    return Strike("drain", at_ns, time.time_ns(), f"active on {lanes} lanes", status)


async def end_the_databases_sessions(play: Scene, rng: random.Random) -> Strike:
    """Every session of the ledger's database but our own is ended by its server, once or several times in a row."""
    times = rng.randint(*SESSIONS_ENDED)
    at_ns, ended = time.time_ns(), 0
    ours = await connected(play.ledger_url)
    try:
        for _ in range(times):
            ended += await ours.fetchval(_END_SESSIONS)
            await elapsed(rng.uniform(*SESSIONS_PAUSE_S))
    finally:
        await ours.close()
    return Strike("database", at_ns, time.time_ns(), f"{ended} sessions ended in {times} goes")


async def an_active_consumer(play: Scene, rng: random.Random) -> tuple[Consumer, int]:
    """Of a lane that is chosen at random: the consumer that is active there, and on how many lanes it is in all."""
    chosen = rng.random()
    found: list[tuple[Consumer, int]] = []

    async def look() -> bool:
        by_pid = {str(consumer.pid): consumer for consumer in play.living}
        pids = [pid for pid in await _active_pids(play.ledger_url) if pid in by_pid]
        if pids:
            pid = pids[int(chosen * len(pids))]
            found.append((by_pid[pid], pids.count(pid)))
        return bool(pids)

    await wait_until(look, ACTIVE_S, what="a consumer that is active on a lane")
    return found[0]


_END_SESSIONS = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def _named(cluster: PrivateCluster, name: str) -> PrivateRabbitMQ:
    return next(node for node in cluster.nodes if node.name == name)


async def _active_pids(ledger_url: str) -> list[str]:
    """By lane: the process that has become its active consumer last, if it lives."""
    database = database_at(ledger_url, create=False)
    try:
        return await database.read(_pids)
    finally:
        await database.close()


def _pids(connection: Connection) -> list[str]:
    names = {replica.owner: replica.name for replica in replicas.known(connection, machine_ms()) if replica.lives}
    owners = replicas.owners(connection)
    active = (names[owner] for _, owner in sorted(owners.items()) if owner in names)
    return [name.rpartition(":")[2] for name in active]
