"""The handling of messages: each in a slot of its own, again after an unexpected failure, and given up in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import structlog

from signalq.consumer.broker.session import Delivery, Session
from signalq.consumer.due_queue import DueQueue
from signalq.consumer.pipeline import Pipeline
from signalq.consumer.slots import Slot, Slots
from signalq.names import Names
from signalq.settings.sections import Settings
from signalq.times import backoff_s

CRASH_PAUSE_S = 0.2
CRASH_PAUSE_MAX_S = 5.0

Handler = Callable[[Delivery, Slot], Coroutine[Any, Any, None]]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Handlers:
    """The handlers of the lanes' messages and of the due queue's."""

    pipeline: Pipeline
    due_queue: DueQueue


class Handling:
    """Handles the messages of all lanes, in `slots`."""

    def __init__(self, settings: Settings, handlers: Handlers) -> None:
        self._crashes_max = settings.delivery.crashes_max
        self._due_queue_name = Names(settings.broker.prefix).due
        self._pipeline = handlers.pipeline
        self._due_queue = handlers.due_queue
        self.slots = Slots()

    def start(self, delivery: Delivery) -> None:
        """Begin to handle a message."""
        is_from_ladder = delivery.message.queue == self._due_queue_name
        handler = self._due_queue.handle if is_from_ladder else self._pipeline.handle
        self.slots.start(delivery.session, lambda slot: self._guarded(handler, delivery, slot), "message")

    async def finish(self, session: Session) -> None:
        """Withdraw a session's messages; return when none is being handled any more."""
        self.slots.withdraw(session)
        await self.slots.finished(session)

    async def drained(self) -> None:
        """Return when no message is being handled, and what is published in the background is confirmed."""
        await self.slots.finished()
        await self._pipeline.told()

    async def close(self) -> None:
        """Wait for nothing any more."""
        self._due_queue.close()
        await self._pipeline.close()

    async def _guarded(self, handler: Handler, delivery: Delivery, slot: Slot) -> None:
        """Catch, here and nowhere else, what a handler did not foresee; never acknowledge.

        Giving a message up can fail as well: it is tried again as long as the message is ours.
        """
        for crashes in count(1):
            try:
                if crashes <= self._crashes_max:
                    await handler(delivery, slot)
                else:
                    await self._pipeline.give_up(delivery, slot, self._crashes_max)
            except Exception:
                delivery.session.owe(delivery.tag)  # it is unknown how far it came
                message_id = delivery.message.properties.message_id
                log.exception("intent.handling_failed", crashes=crashes, message_id=message_id)
            else:
                return
            if slot.withdrawn:
                return
            delivery = replace(delivery, message=replace(delivery.message, handled_before=True))
            await asyncio.sleep(backoff_s(crashes, base_s=CRASH_PAUSE_S, max_s=CRASH_PAUSE_MAX_S, fraction=1.0))
