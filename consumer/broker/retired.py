"""Retired lanes: own lanes of connectors that no setting gives one any more, read empty until their queues are gone.

Every message there is misrouted, and is forwarded in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog

from signalq.consumer.broker.backoff import Backoff
from signalq.consumer.broker.consume_options import ConsumeOptions
from signalq.consumer.broker.lane_consumer import Lane, LaneContext
from signalq.consumer.kept_going import kept_going
from signalq.names import Names

log = structlog.get_logger()


class RetiredLanes:
    """The retired lanes that are consumed. `options_of` says how a queue is consumed."""

    def __init__(self, names: Names, options_of: Callable[[str], ConsumeOptions], context: LaneContext) -> None:
        self.lanes: list[Lane] = []
        self._names = names
        self._options_of = options_of
        self._context = context

    async def run(self, queues: Sequence[str]) -> None:
        """Retire these queues, one after the other, and consume them until they are gone."""
        backoff = Backoff(self._context.jitter)
        waiting = list(queues)
        async with asyncio.TaskGroup() as consuming:
            while waiting:
                try:
                    lane = await self._retire(waiting[0])
                except Exception as error:  # noqa: BLE001 - a library's own, too: the others are still to be read empty
                    await backoff.wait_for(waiting[0], error)
                    continue
                waiting.pop(0)
                if lane is not None:
                    name = f"retired lane {lane.queue}"
                    consuming.create_task(kept_going(lane.run, name), name=name)

    async def _retire(self, queue: str) -> Lane | None:
        """Unbind a lane and make ready to consume it; None where its queue is gone already."""
        depth = await self._context.connection.depth(queue)
        if depth is None:
            await self._context.ledger.forget_lane(queue)
            return None
        unbound = await self._context.connection.unbind(self._names.connector_of(queue) or "")
        log.warning("lane.retired", queue=queue, waiting=depth.ready, unbound=unbound)
        lane = Lane(self._options_of(queue), self._context)
        self.lanes.append(lane)
        return lane
