"""The lanes of this consumer, by its settings: which queues it consumes, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from signalq.consumer.broker.consume_options import (
    UNACKED_MAX_S,
    WATCHDOG_PERIOD_S,
    WATCHDOG_QUESTIONS_PER_S,
    ConsumeOptions,
)
from signalq.consumer.broker.intake import Room
from signalq.consumer.broker.lane_consumer import Lane, LaneContext
from signalq.consumer.broker.retired import RetiredLanes
from signalq.consumer.due_queue import DUE_BYTES, DUE_WINDOW
from signalq.consumer.orders import lanes
from signalq.names import Names
from signalq.settings.sections import Settings


class ConsumedLanes:
    """The shared lane, the due queue, connectors' own lanes, and retired lanes; an iteration yields them all.

    `due_room` makes the room for the messages of the due queue. `order_lanes` counts the lasting ones without it.
    """

    def __init__(
        self,
        settings: Settings,
        context: LaneContext,
        *,
        due_room: Callable[[], Room],
        unacked_max_s: float = UNACKED_MAX_S,
    ) -> None:
        names = Names(settings.broker.prefix)
        own = settings.own_lanes()
        options = partial(
            ConsumeOptions,
            watch_period_s=max(WATCHDOG_PERIOD_S, len(own) / WATCHDOG_QUESTIONS_PER_S),
            unacked_max_s=unacked_max_s,
        )
        retired = partial(options, prefetch=lanes.OWN_LANE_WINDOW, bytes_max=lanes.OWN_LANE_BYTES, is_retired=True)
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
        self._retired = RetiredLanes(names, retired, context)
        self._settings = settings
        self._context = context

    def __iter__(self) -> Iterator[Lane]:
        yield from self.lasting
        yield from self._retired.lanes

    @property
    def silent(self) -> list[str]:
        """The lasting ones that are not consumed now, by their queues."""
        return [lane.queue for lane in self.lasting if not lane.consuming.is_set()]

    def unacked(self) -> dict[str, int]:
        """How many messages of each lane are here, unacknowledged."""
        return {lane.queue: lane.unacked for lane in self}

    async def consume_retired(self) -> None:
        """Read empty the lanes that the ledger knows and no setting names any more, until their queues are gone."""
        await self._retired.run(lanes.retired(self._settings, await self._context.ledger.known_lanes()))

    def drain(self) -> None:
        """Take nothing more in."""
        for lane in self:
            lane.drain()

    async def close(self, *, is_settled: bool) -> None:
        """Close channels and connections; where all that has ended `is_settled`, the ledger notes it first."""
        if is_settled:
            await asyncio.gather(*(lane.leave_settled() for lane in self))
        await asyncio.gather(*(lane.close() for lane in self))
        await asyncio.gather(*(lane.disconnect() for lane in self))
        await self._context.connection.close()
