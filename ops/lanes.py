"""The lanes as people see them, and the switch: pausing connectors, and letting them go on.

A change is committed to the ledger, which every claim reads; then the command waits until each consumer that lives has
said that it has taken the change up.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

from aio_pika.abc import AbstractConnection
from sqlalchemy import Connection

from signalq.amqp.connection import close_in_time, connect
from signalq.amqp.inspect import Inspector, QueueDepth
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit, replicas, switches
from signalq.consumer.ledger.queries.audit import Act
from signalq.consumer.ledger.queries.replicas import Replica
from signalq.consumer.orders.switch import ALL, Change, State, Switch, milder_for
from signalq.consumer.replicas.assignment import desired
from signalq.kinds import Kind
from signalq.names import Names
from signalq.ops.ledger import open_ledger
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings
from signalq.times import iso_ms

# How long to wait until every consumer has taken a change up; a sign of life comes every 0.4 s.
SWITCH_WAIT_S = 10.0
SWITCH_POLL_S = 0.1
WHY_CHARACTERS_MAX = 1000
# So many changes that a person has not seen are told.
MOVED_MAX = 20
_FILE_HINT = ", or stop the consumers (one that stands still in the middle of a write holds a ledger's file: end it)"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Committed:
    """A change of the switch that is in the ledger, and the switch after it."""

    change: Change
    switch: Switch


@dataclass(frozen=True, slots=True)
class Moved:
    """The answer where nothing was changed: the switch is another one than the person has seen.

    `changes` made it so, the oldest first.
    """

    switch: Switch
    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class ChangedSwitch:
    """A change of the switch, the switch after it, and the living consumers that have taken it up, or not yet."""

    change: Change
    switch: Switch
    taken_up_by: Sequence[str]
    not_taken_up_by: Sequence[str]

    @property
    def effective(self) -> State:
        """The state that holds now for the changed connector, or for all that have no stricter switch of their own."""
        return self.switch.state_of(self.change.connector)

    def row(self) -> dict[str, object]:
        """The change as a JSON object."""
        return {
            "connector": self.change.connector or None,
            "set": self.change.state,
            "state": self.effective,
            "changed_at": iso_ms(self.change.at_ms),
            "who": self.change.who,
            "why": self.change.why or None,
            "taken_up_by": list(self.taken_up_by),
            "not_taken_up_by": list(self.not_taken_up_by),
        }


@dataclass(frozen=True, slots=True)
class _Known:
    """The ledger's record: the switch, the consumers that live, and the last owner of each lane."""

    switch: Switch
    living: Sequence[Replica]
    owners: Mapping[str, str]

    def active_consumer(self, queue: str, depth: QueueDepth | None) -> str | None:
        """The name of the consumer that serves a queue, if one does.

        A consumer records its lane with the first message. Without a record, it is the consumer to which the lane
        assignment, which is the same for all, gives the queue.
        """
        names = {one.owner: one.name for one in self.living}
        recorded = names.get(self.owners.get(queue, ""))
        if recorded is not None or depth is None or not depth.consumers or not names:
            return recorded
        return names[desired(queue, names)]


async def list_lanes(settings: Settings) -> list[dict[str, object]]:
    """The rows of the lanes as they are now; see LaneReader."""
    async with LaneReader(settings) as reader:
        return await reader.rows()


async def lanes_of(settings: Settings, ledger: LedgerClient, inspector: Inspector) -> list[dict[str, object]]:
    """A row for each lane, the shared one last, and for each further connector that the switch names.

    Raises LedgerUnavailable, BrokerUnreachable.
    """
    names = Names(settings.broker.prefix)
    known = await ledger.read(_look)
    own = {connector: names.lane(connector) for connector in settings.own_lanes()}
    depths = {queue: await inspector.depth(queue) for queue in (*own.values(), names.orders)}
    rows = [_row(known, connector, queue, depths[queue]) for connector, queue in own.items()]
    rows.append(_row(known, None, names.orders, depths[names.orders]))
    named = sorted(known.switch.states.keys() - own.keys() - {ALL})
    return rows + [_row(known, connector, names.orders, None) | {"unacked": None} for connector in named]


class LaneReader:
    """Reads the lanes, once or again and again, over one connection to the broker; use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connection: AbstractConnection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await close_in_time(connection)

    async def rows(self) -> list[dict[str, object]]:
        """See `lanes_of`. Raises CommandFailed, LedgerUnavailable, BrokerUnreachable."""
        async with open_ledger(self._settings) as ledger, self._inspector() as inspector:
            return await lanes_of(self._settings, ledger, inspector)

    @asynccontextmanager
    async def _inspector(self) -> AsyncIterator[Inspector]:
        """An inspector; a connection that breaks, or is left in the middle of an answer, is opened anew."""
        broker = self._settings.broker
        connection, self._connection = self._connection, None
        if connection is None or not connection.connected.is_set():
            url = broker.url.get_secret_value()
            connection = await connect(url, name="signalq lanes", heartbeat_s=broker.heartbeat_s)
        try:
            inspector = Inspector(connection)
            yield inspector
            await inspector.close()
        except BaseException:
            await close_in_time(connection)
            raise
        self._connection = connection


async def change_switch(ledger: LedgerClient, connector: str, state: State, *, why: str, actor: Actor) -> ChangedSwitch:
    """Set the switch of one connector, or of all with ALL, and wait for the consumers, at most SWITCH_WAIT_S.

    Raises CommandFailed.
    """
    committed = await _commit(ledger, partial(_set, connector=connector, state=state, why=why, actor=actor))
    change = committed.change
    try:
        living = await _taken_up(ledger, change.number)
    except LedgerUnavailable as error:
        why = f"it is changed, but it is not known which consumers act by it: {error}"
        raise CommandFailed(why, kind=Kind.NOT_TAKEN_UP) from error
    seen = [replica.name for replica in living if replica.switch_seen >= change.number]
    late = [one.name for one in living if one.switch_seen < change.number]
    return ChangedSwitch(change, committed.switch, seen, late)


async def commit_switch(
    ledger: LedgerClient, connector: str, state: State, *, why: str, actor: Actor, seen: int
) -> Committed | Moved:
    """Set the same without waiting for the consumers.

    A change that leads away from safety is made only where the switch has the version `seen` still: the person has
    looked at that, and at nothing newer. One towards safety is always made. Raises CommandFailed.
    """

    def work(connection: Connection) -> Committed | Moved:
        switches.hold(connection)
        switch = switches.read(connection, Switch())
        if switch.version != seen and milder_for(switch, connector, state):
            return Moved(switch, switches.changes_between(connection, seen, switch.version, MOVED_MAX))
        return _set(connection, connector, state, why, actor)

    return await _commit(ledger, work)


async def _commit(ledger: LedgerClient, work: Callable[[Connection], T]) -> T:
    try:
        return await ledger.transact(work)
    except LedgerUnavailable as error:
        why = f"the switch can't be counted on to be changed: {error}{_FILE_HINT}"
        raise CommandFailed(why, kind=error.kind) from error


def _set(connection: Connection, connector: str, state: State, why: str, actor: Actor) -> Committed:
    now_ms, about = clock_ms(connection), {"connector": connector or None, "state": state}
    change = switches.change(connection, now_ms, connector, state, who=actor.name, why=why)
    audit.note(connection, now_ms, actor, Act("switch", about, done=1, why=why))
    return Committed(change, switches.read(connection, Switch()))


async def _taken_up(ledger: LedgerClient, number: int) -> Sequence[Replica]:
    """The consumers that live, once all of them act by this change, or when the time is up.

    A silent consumer does not count: it can't claim anything now, and its next claim reads the switch. Raises
    LedgerUnavailable if the ledger never said who lives.
    """
    living: Sequence[Replica] | None = None
    with suppress(TimeoutError):  # the consumers that have not taken it up are named
        async with asyncio.timeout(SWITCH_WAIT_S):
            while True:
                living = (await ledger.read(_look)).living
                if all(replica.switch_seen >= number for replica in living):
                    return living
                await asyncio.sleep(SWITCH_POLL_S)
    if living is None:
        raise LedgerUnavailable(f"the ledger at {ledger.shown} did not answer within {SWITCH_WAIT_S:g} s")
    return living


def _look(connection: Connection) -> _Known:
    living = [replica for replica in replicas.known(connection, clock_ms(connection)) if replica.lives]
    return _Known(switches.read(connection, Switch()), living, replicas.owners(connection))


def _row(known: _Known, connector: str | None, queue: str, depth: QueueDepth | None) -> dict[str, object]:
    return {
        "connector": connector,
        "queue": queue,
        "ready": depth.ready if depth is not None else None,
        "unacked": sum(replica.unacked.get(queue, 0) for replica in known.living),
        "state": known.switch.state_of(connector or ALL),
        "active_consumer": known.active_consumer(queue, depth),
    }
