"""The handling of messages: each in a slot of its own, again after an unexpected failure, and given up in the end."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from itertools import count
from typing import Any

import structlog

from signalq.consumer.broker.session import Delivery, Session
from signalq.consumer.due_queue import DueQueue
from signalq.consumer.pipeline import Pipeline
from signalq.consumer.slots import Slot, Slots
from signalq.consumer.telemetry.traces import NO_TRACES, Traces
from signalq.names import Names
from signalq.settings.sections import Settings
from signalq.times import backoff_s

CRASH_PAUSE_S = 0.2
CRASH_PAUSE_MAX_S = 5.0

Handler = Callable[[Delivery, Slot], Coroutine[Any, Any, None]]

log = structlog.get_logger()


class Handling:
    """Handles the messages of the due queue, and by `pipeline` those of the lanes, in `slots`.

    Before the first one comes, `traces` may be set: they make the spans of each.
    """

    traces: Traces = NO_TRACES

    def __init__(self, settings: Settings, pipeline: Pipeline, due_queue: DueQueue) -> None:
        self.pipeline = pipeline
        self.due_queue = due_queue
        self.slots = Slots()
        self._crashes_max = settings.delivery.crashes_max
        self._due_queue_name = Names(settings.broker.prefix).due

    def start(self, delivery: Delivery) -> None:
        """Handle a message in a task of its own."""
        is_from_ladder = delivery.message.queue == self._due_queue_name
        handler = self.due_queue.handle if is_from_ladder else self.pipeline.handle
        delivery = self.traces.begin(delivery)
        self.slots.start(delivery.session, lambda slot: self._guarded(handler, delivery, slot))

    async def finish(self, session: Session) -> None:
        """Withdraw a session's messages; return when none is being handled any more."""
        self.slots.withdraw(session)
        await self.slots.finished(session)

    async def drained(self) -> None:
        """Return when no message is being handled, and what is published in the background is confirmed."""
        await self.slots.finished()
        await self.pipeline.told()

    async def close(self) -> None:
        """Wait for nothing any more."""
        self.traces.begin_flush()
        self.due_queue.close()
        await self.pipeline.close()

    async def _guarded(self, handler: Handler, delivery: Delivery, slot: Slot) -> None:
        """Catch, here and nowhere else, what a handler did not foresee; never acknowledge.

        Giving a message up can fail as well: it is tried again as long as the message is ours. Its spans are made last,
        whatever has become of it.
        """
        try:
            for crashes in count(1):
                try:
                    if crashes <= self._crashes_max:
                        await handler(delivery, slot)
                    else:
                        await self.pipeline.give_up(delivery, slot, self._crashes_max)
                except Exception:
                    delivery.session.owe(delivery.tag)  # nobody knows how far the handling came
                    message_id = delivery.message.properties.message_id
                    log.exception("intent.handling_failed", crashes=crashes, message_id=message_id)
                else:
                    return
                if slot.withdrawn:
                    return
                delivery = replace(delivery, message=replace(delivery.message, handled_before=True))
                await asyncio.sleep(backoff_s(crashes, base_s=CRASH_PAUSE_S, max_s=CRASH_PAUSE_MAX_S, fraction=1.0))
        finally:
            self.traces.end(delivery)
