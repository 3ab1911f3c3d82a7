"""Handing lanes over to the replicas that should have them, and giving them up where our ledger can't be written.

Both leave a lane by closing its channel: unacknowledged messages go back in order, to the next consumer in line.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable

from signalq.consumer.broker.lane_consumer import Lane
from signalq.consumer.broker.session import Session
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.replicas.assignment import LaneAssignment

REBALANCE_PERIOD_S = 2.0
# The ledger's list of live replicas counts for so long.
LIVE_MAX_S = 2.0
# How long POSTs may take to finish when their lane is handed over; after that they finish as after a lost connection.
HANDOVER_S = 3.0
# A replica that can't write the ledger for so long gives its lanes up. Where it knew of no other it waits longer: one
# may have been started since, but most likely there is none to take them, and its own outcomes can be recorded later.
LEDGER_LOST_S = 5.0
LEDGER_LOST_ALONE_S = 30.0
LEDGER_LOOK_S = 0.5


class LaneRebalancer:
    """Hands over, every REBALANCE_PERIOD_S, the lanes that other replicas should have.

    `finish` withdraws the messages of a session, and returns when none is being handled any more.
    """

    def __init__(self, ledger: Ledger, lanes: Iterable[Lane], finish: Callable[[Session], Awaitable[None]]) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._finish = finish
        self._assignment = LaneAssignment()

    async def run(self) -> None:
        while True:
            await asyncio.sleep(REBALANCE_PERIOD_S)
            async with asyncio.TaskGroup() as group:
                for lane in self._to_pass_on():
                    self._assignment.passed_on(lane.queue, time.monotonic())
                    group.create_task(lane.hand_over(self._finish, HANDOVER_S), name=f"pass on {lane.queue}")

    def _to_pass_on(self) -> list[Lane]:
        live, now_s = self._ledger.live, time.monotonic()
        if live is None or now_s - live.seen_s > LIVE_MAX_S:
            self._assignment.note(frozenset(), now_s)
            return []
        self._assignment.note(live.owners, now_s)
        lanes = {lane.queue: lane for lane in self._lanes if lane.has_order and lane.consuming.is_set()}
        active_since_s = {queue: lane.active_since_s for queue, lane in lanes.items()}
        return [lanes[queue] for queue in self._assignment.to_pass_on(live.me, active_since_s, now_s)]


async def watch_ledger(ledger: Ledger, lanes: Iterable[Lane]) -> None:
    """Give the lanes up while the ledger can't be written, and take them again afterwards.

    Two looks in a row tell a loss: a process that thaws has not asked the ledger yet.
    """
    was_lost = False
    while True:
        await asyncio.sleep(LEDGER_LOOK_S)
        knows_others = ledger.live is not None and len(ledger.live.owners) > 1
        is_lost = ledger.silent_s > (LEDGER_LOST_S if knows_others else LEDGER_LOST_ALONE_S)
        for lane in lanes:
            if is_lost and was_lost:
                lane.suspend("our ledger can't be written: another consumer may have one that can")
            elif not is_lost:
                lane.resume()
        was_lost = is_lost
