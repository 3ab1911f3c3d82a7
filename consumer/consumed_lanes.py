"""The lanes of this consumer: which queues it consumes, by its settings and its ledger, and how."""

import asyncio
from collections.abc import Iterator
from functools import partial

import structlog

from signalq.consumer.broker.connection import Backoff
from signalq.consumer.broker.lane_consumer import Lane, LaneContext
from signalq.consumer.broker.session import UNACKED_MAX_S, WATCHDOG_PERIOD_S, WATCHDOG_QUESTIONS_PER_S, ConsumeOptions
from signalq.consumer.due_queue import DUE_BYTES, DUE_WINDOW, due_room
from signalq.consumer.kept_going import kept_going
from signalq.consumer.orders import lanes
from signalq.names import Names
from signalq.settings.sections import Settings

log = structlog.get_logger()


class ConsumedLanes:
    """The shared lane, the due queue, connectors' own lanes, and retired lanes; an iteration yields them all.

    A retired lane was the own lane of a connector that no setting gives one any more. Every message there is misrouted,
    and is forwarded in order. `order_lanes` counts the lasting lanes without the due queue.
    """

    def __init__(self, settings: Settings, context: LaneContext, *, unacked_max_s: float = UNACKED_MAX_S) -> None:
        names = Names(settings.broker.prefix)
        own = settings.own_lanes()
        options = partial(
            ConsumeOptions,
            watch_period_s=max(WATCHDOG_PERIOD_S, len(own) / WATCHDOG_QUESTIONS_PER_S),
            unacked_max_s=unacked_max_s,
        )
        shared = options(names.orders, settings.delivery.shared_window, lanes.SHARED_BYTES, is_apart=True)
        due = options(names.due, DUE_WINDOW, 2 * DUE_BYTES, is_apart=True, make_room=due_room)
        of_connectors = [
            options(
                names.lane(connector),
                lanes.window_of(settings, connector),
                lanes.OWN_LANE_BYTES,
                has_order=lanes.is_strict(settings, connector),
            )
            for connector in own
        ]
        # The lanes that the settings name, consumed as long as the service runs.
        self.lasting = [Lane(one, context) for one in (shared, due, *of_connectors)]
        self.order_lanes = 1 + len(of_connectors)
        self._retired: list[Lane] = []
        self._retired_options = partial(
            options, prefetch=lanes.OWN_LANE_WINDOW, bytes_max=lanes.OWN_LANE_BYTES, is_retired=True
        )
        self._settings = settings
        self._context = context

    def __iter__(self) -> Iterator[Lane]:
        yield from self.lasting
        yield from self._retired

    @property
    def silent(self) -> list[str]:
        """The lasting ones that are not consumed now, by their queues."""
        return [lane.queue for lane in self.lasting if not lane.consuming.is_set()]

    def unacked(self) -> dict[str, int]:
        """How many messages of each lane are here, unacknowledged."""
        return {lane.queue: lane.unacked for lane in self}

    async def consume_retired(self) -> None:
        """Retire the lanes that only the ledger still knows, one by one; consume each until its queue is gone."""
        waiting = lanes.retired(self._settings, await self._context.ledger.known_lanes())
        backoff = Backoff(self._context.jitter)
        async with asyncio.TaskGroup() as consuming:
            while waiting:
                try:
                    lane = await self._retire(waiting[0])
                except Exception as error:  # noqa: BLE001 - a library's own, too: the others are still to be read empty
                    await backoff.wait_for(waiting[0], error)
                    continue
                backoff.reset(waiting.pop(0))
                if lane is not None:
                    name = f"retired lane {lane.queue}"
                    consuming.create_task(kept_going(lane.run, name), name=name)

    async def _retire(self, queue: str) -> Lane | None:
        """Unbind a lane and make ready to consume it; None where its queue is gone already."""
        connection = self._context.connection
        depth = await connection.depth(queue)
        if depth is None:
            await self._context.ledger.forget_lane(queue)
            return None
        unbound = await connection.unbind(Names(self._settings.broker.prefix).connector_of(queue) or "")
        log.warning("lane.retired", queue=queue, waiting=depth.ready, unbound=unbound)
        lane = Lane(self._retired_options(queue), self._context)
        self._retired.append(lane)
        return lane

    def drain(self) -> None:
        """Take nothing more in."""
        for lane in self:
            lane.drain()

    async def close(self, *, is_settled: bool) -> None:
        """Close channels and connections; where all that has ended `is_settled`, the ledger notes it first."""
        if is_settled:
            await asyncio.gather(*(lane.leave_settled() for lane in self))
        await asyncio.gather(*(lane.close() for lane in self))
        await self._context.connection.close()
