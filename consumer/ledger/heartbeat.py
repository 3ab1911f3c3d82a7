"""Signs of life: the lanes that are looked after, leases, the replica, and the switch as it is read with each."""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import count, islice

from signalq.consumer.clocks.skew import Skew, since_start_ms
from signalq.consumer.ledger import ALIVE_PERIOD_S, LaneFacts, Live
from signalq.consumer.ledger.database import machine_ms
from signalq.consumer.ledger.queries import intents, lanes, letters, replicas, schedule, switches
from signalq.consumer.ledger.queries.letters import Pile
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.transaction import Transaction
from signalq.consumer.ledger.writer import Writer
from signalq.consumer.orders.switch import Change, Switch

# Lanes that are noted as looked after with each sign of life; more take turns.
ALIVE_LANES_MAX = 100
COUNT_EVERY_BEATS = 12
DESCRIBE_EVERY_BEATS = 3
# So many changes of the switch are told one by one where several were made since the last sign of life.
SWITCH_CHANGES_MAX = 20
# How long it is tried, at the end, to say so; else it is noticed by its silence.
LEAVE_S = 1.0


class Heartbeat:
    """Says every ALIVE_PERIOD_S that this consumer lives; `live`, `scheduled` and `letters` are what it found last."""

    def __init__(self, writer: Writer, owner: str, skew: Skew) -> None:
        self.live: Live | None = None
        self.scheduled = 0
        self.letters = Pile()
        self._writer = writer
        self._owner = owner
        self._skew = skew
        self._replica = f"{socket.gethostname()}:{os.getpid()}"
        self._lanes: dict[str, None] = {}
        self._unacked: Callable[[], Mapping[str, int]] = dict
        self._facts: Callable[[], Mapping[str, LaneFacts]] = dict
        # As the one before the last sign of life was told.
        self._switch_told: Switch | None = None
        self._switch_watcher: Callable[[Switch, Sequence[Change]], None] = lambda _switch, _changes: None

    def join_lane(self, lane: str) -> None:
        """Say with each sign of life that this consumer looks after the lane."""
        self._lanes[lane] = None

    def leave_lane(self, lane: str) -> None:
        """Say so no more."""
        self._lanes.pop(lane, None)

    def watch_switch(self, watcher: Callable[[Switch, Sequence[Change]], None]) -> None:
        """Tell `watcher` how the switch stands by the next sign of life, and its changes by each that finds any."""
        self._switch_watcher = watcher
        self._switch_told = None

    def count_unacked(self, unacked: Callable[[], Mapping[str, int]]) -> None:
        """Ask `unacked` with each sign of life how many messages this consumer holds, by queue."""
        self._unacked = unacked

    def describe_lanes(self, facts: Callable[[], Mapping[str, LaneFacts]]) -> None:
        """Ask `facts` with each DESCRIBE_EVERY_BEATS-th sign of life what this consumer has of each lane, by queue."""
        self._facts = facts

    async def run(self) -> None:
        """Give signs of life until canceled."""
        # Before any lane is joined: what is asked is answered in order.
        self._skew.recall(await self._writer.ask(lambda now: replicas.clock_of(now.connection, self._skew.machine)))
        for beat in count():
            seen_s = time.monotonic()
            facts = self._facts() if beat % DESCRIBE_EVERY_BEATS == 0 else None
            owners, switch, changes = await self._writer.ask(partial(self._note_alive, facts=facts))
            self.live = Live(self._owner, owners, seen_s)
            await self._note_clock()
            # The sign of life that says by which switch we act is committed.
            if self._switch_told is None or self._switch_told.version != switch.version:
                self._switch_watcher(switch, changes)
            self._switch_told = switch
            if beat % COUNT_EVERY_BEATS == 0:
                await self._writer.ask(self._compare_clocks)
                self.scheduled, self.letters = await self._writer.ask(_counted)
            await asyncio.sleep(ALIVE_PERIOD_S)

    async def leave(self) -> None:
        """Say that this consumer ends; give up after LEAVE_S."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._writer.ask(lambda now: replicas.leave(now.connection, self._owner))

    def _note_alive(
        self, now: Transaction, facts: Mapping[str, LaneFacts] | None = None
    ) -> tuple[frozenset[str], Switch, Sequence[Change]]:
        """Give a sign of life, with the version of the switch that we act by: this very transaction has read it."""
        lanes.note_alive(now.connection, now.now_ms, self._some_lanes())
        intents.renew_leases(now.connection, now.now_ms, self._owner)
        switch, told = now.switch(), self._switch_told
        replicas.note_alive(now.connection, now.now_ms, self._owner, self._replica, switch.version, self._unacked())
        if facts is not None:
            replicas.describe(now.connection, self._owner, facts)
        owners = replicas.living(now.connection, now.now_ms)
        if told is None or told.version == switch.version:
            return owners, switch, ()
        changes = switches.changes_between(now.connection, told.version, switch.version, SWITCH_CHANGES_MAX)
        return owners, switch, changes

    async def _note_clock(self) -> None:
        """Keep how this machine's clock was set."""
        if segments := self._skew.unsaved():
            await self._writer.ask(lambda now: replicas.note_clock(now.connection, self._skew.machine, segments))
            self._skew.saved(segments)

    def _compare_clocks(self, now: Transaction) -> None:
        """Note how far this machine's clock is from the ledger's, where that is another's."""
        if now.connection.dialect.name != "sqlite":
            at_most_ms = machine_ms() - now.now_ms
            self._skew.note("ledger", at_most_ms - (since_start_ms() - now.began_ms), at_most_ms)

    def _some_lanes(self) -> list[str]:
        """Up to ALIVE_LANES_MAX of the lanes that are looked after, in turn."""
        some = list(islice(self._lanes, ALIVE_LANES_MAX))
        for lane in some:
            self._lanes[lane] = self._lanes.pop(lane)
        return sorted(some)


def _counted(now: Transaction) -> tuple[int, Pile]:
    """How many intents are pending, and how many letters are open."""
    return schedule.count(now.connection, Filter()), letters.pile(now.connection, now.now_ms)
