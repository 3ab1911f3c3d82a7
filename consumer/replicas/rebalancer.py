"""Passes lanes on to the replicas whose they should be, and gives them up where our ledger can't be written.

Both leave a lane by closing its channel: what is unacknowledged goes back in order, to whoever stands next in line.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from signalq.consumer.broker.lane_consumer import Lane, Session
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.replicas.assignment import KnownLane, LaneAssignment

SPREAD_PERIOD_S = 2.0
# What the ledger said of who lives is not believed for longer.
LIVE_MAX_S = 2.0
# So long what is on the wire may take when its lane is passed on; then it finishes as after a lost connection.
HANDOVER_S = 3.0
# A replica that can't write the ledger for so long gives its lanes up. Where it knew of no other it waits longer: one
# may have been started since, but most likely nobody is there to take them, and what it holds can be recorded later.
LEDGER_LOST_S = 5.0
LEDGER_LOST_ALONE_S = 30.0
LEDGER_LOOK_S = 0.5


class LaneRebalancer:
    """Looks every SPREAD_PERIOD_S; `finish` lets go of what waits of a session, and returns when the rest is done."""

    def __init__(
        self, ledger: Ledger, lanes: Callable[[], Sequence[Lane]], finish: Callable[[Session], Awaitable[None]]
    ) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._finish = finish
        self._spread = LaneAssignment()

    async def run(self) -> None:
        """Forever."""
        while True:
            await asyncio.sleep(SPREAD_PERIOD_S)
            async with asyncio.TaskGroup() as group:
                for lane in self._to_pass_on():
                    group.create_task(self._pass_on(lane), name=f"pass on {lane.queue}")

    def _to_pass_on(self) -> list[Lane]:
        live, now_s = self._ledger.live, time.monotonic()
        if live is None or now_s - live.seen_s > LIVE_MAX_S:
            self._spread.note(frozenset(), now_s)
            return []
        self._spread.note(live.owners, now_s)
        lanes = {lane.queue: lane for lane in self._lanes() if lane.has_order and lane.consuming.is_set()}
        places = [KnownLane(queue, lane.active_since_s) for queue, lane in lanes.items()]
        return [lanes[queue] for queue in self._spread.to_pass_on(live.me, places, now_s)]

    async def _pass_on(self, lane: Lane) -> None:
        self._spread.passed_on(lane.queue, time.monotonic())
        await lane.hand_over(self._finish, HANDOVER_S)


class LedgerWatch:
    """Gives the lanes up while the ledger can't be written, and takes them again afterwards."""

    def __init__(self, ledger: Ledger, lanes: Callable[[], Sequence[Lane]]) -> None:
        self._ledger = ledger
        self._lanes = lanes

    async def run(self) -> None:
        """Forever. Lost is what is so twice in a row: a process that thaws has not asked the ledger yet."""
        was_lost = False
        while True:
            await asyncio.sleep(LEDGER_LOOK_S)
            is_lost = self._ledger.silent_s > self._lost_s()
            for lane in self._lanes():
                if is_lost and was_lost:
                    lane.suspend("our ledger can't be written: another consumer may have one that can")
                elif not is_lost:
                    lane.resume()
            was_lost = is_lost

    def _lost_s(self) -> float:
        live = self._ledger.live
        return LEDGER_LOST_S if live is not None and len(live.owners) > 1 else LEDGER_LOST_ALONE_S
