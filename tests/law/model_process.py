"""One consumer of the model: the real service with all that is in it, on the model's edges; it can die and freeze."""

from __future__ import annotations

import asyncio
import contextvars
from functools import cache
from typing import TYPE_CHECKING

from signalq.consumer.__main__ import handling_of
from signalq.consumer.broker.lane_consumer import LaneContext
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.clocks.skew import Skew
from signalq.consumer.consumed_lanes import ConsumedLanes
from signalq.consumer.service import Service
from signalq.consumer.telemetry.metrics import Metrics
from signalq.errors import BrokerUnreachable
from signalq.names import Names
from signalq.settings.reload import CurrentSettings
from tests.law.model_broker import Channel
from tests.law.model_edges import ModelConnection, ModelPublisher, ModelWebhook, ToldLedger
from tests.law.model_time import ModelClock

if TYPE_CHECKING:
    from tests.law.model_world import World

NAMES = Names()
# For so long a process that was frozen does not hear that its session is lost.
DEAF_S = 0.5


class Unforeseen(Exception):
    """A mistake in the program, or in a library: nobody expects it."""


running: contextvars.ContextVar[Process | None] = contextvars.ContextVar("the process we are in", default=None)


class Process:
    """One consumer, from its start to its death."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.name = f"p{number}"
        self.dead = False
        self.was_frozen = False
        self._unheard: list[Channel] = []
        self._goes_on = asyncio.Event()
        self._goes_on.set()
        scenario, loop = world.scenario, world.loop
        chosen = scenario.settings
        clock = ModelClock(loop)
        self.ledger = ToldLedger(world, self)
        publisher = BrokerPublisher(chosen, lambda: scenario.jitter)
        publisher._publisher = publisher._outcomes = ModelPublisher(world, self)
        self.handling = handling_of(
            CurrentSettings(chosen),
            ledger=self.ledger,
            webhook=ModelWebhook(world, self),
            publisher=publisher,
            metrics=_metrics(),
            clock=clock,
            jitter=lambda: scenario.jitter,
            skew=Skew(),
        )
        context = LaneContext(
            connection=ModelConnection(self),
            ledger=self.ledger,
            on_active=self.handling.pipeline.remember,
            on_delivery=self.handling.start,
            on_lost=self.handling.slots.withdraw,
            jitter=lambda: scenario.jitter,
        )
        self.lanes = ConsumedLanes(chosen, context)
        self.service = Service(
            chosen,
            lanes=self.lanes,
            handling=self.handling,
            publisher=publisher,
            ledger=self.ledger,
            metrics=_metrics(),
        )
        self._life = loop.create_task(self._live(), name=f"life of {self.name}")
        self._end: asyncio.Task[None] | None = None

    @property
    def frozen(self) -> bool:
        return not self._goes_on.is_set()

    @property
    def holds_messages(self) -> bool:
        return len(self.handling.slots) > 0

    async def _live(self) -> None:
        running.set(self)
        async with self.ledger:
            await self.service._serve(0)

    # What it does, and what is done to it.

    async def gate(self, label: str, local: tuple[str, ...] = ()) -> str | None:
        """An effect is about to happen, or has just happened; returns the local fault that strikes it."""
        await self.until_it_goes_on()
        struck = self.passes(label, local)
        await self.until_it_goes_on()
        return struck

    def passes(self, label: str, local: tuple[str, ...] = ()) -> str | None:
        """The same for what happens by itself."""
        if self.dead or self.frozen:
            return None
        return self.world.step(self, label, local)

    async def until_it_goes_on(self) -> None:
        """The dead do nothing more; the frozen, later."""
        await self._goes_on.wait()
        if self.dead:
            raise asyncio.CancelledError

    def stands_still(self) -> None:
        """Frozen from now on; its connection is given up by the broker."""
        self.was_frozen = True
        self._goes_on.clear()

    def lose(self) -> list[Channel]:
        """The broker closes its channels."""
        channels = self.world.broker.channels_of(self)
        for channel in channels:
            self.world.broker.close(channel)
        return channels

    def crash(self) -> None:
        """All that it remembers is gone, in mid-air."""
        self.dead = True
        self._goes_on.set()
        self.lose()
        slots = self.handling.slots
        for task in list(slots._slots):
            if task is not asyncio.current_task():
                task.cancel()
        self._end = self.world.loop.create_task(self._die(), name=f"end of {self.name}")

    async def go_on(self, channels: list[Channel], *, deaf: bool) -> None:
        """Awake again; it hears at once that its session is lost, or a little later."""
        self._unheard = channels
        if not deaf:
            self._tell_closed()
        self._goes_on.set()
        await asyncio.sleep(DEAF_S)
        self._tell_closed()

    async def hears(self) -> None:
        """It asks the broker something: whatever the broker said before, it hears first. Raises BrokerUnreachable."""
        await self.until_it_goes_on()
        if self._tell_closed():
            await asyncio.sleep(0)
            raise BrokerUnreachable("the connection is closed")

    def _tell_closed(self) -> bool:
        unheard, self._unheard = self._unheard, []
        for channel in unheard:
            channel.tell_closed()
        return bool(unheard)

    async def drain(self) -> None:
        """SIGTERM; returns when it has ended."""
        self.service._asked_to_stop()
        await asyncio.wait({self._life})
        self.dead = True
        await self._die()

    async def ended(self) -> None:
        """Returns when nothing of it is left."""
        if not self.dead:
            self.crash()
        if self._end is not None:
            await self._end

    async def _die(self) -> None:
        await self.ledger.gated.come_to_rest()
        self._life.cancel()
        await asyncio.wait({self._life})
        if not self._life.cancelled() and self._life.exception() is not None:
            self.world.violated(f"{self.name} ended with {self._life.exception()!r}")
        await self.handling.slots.cut_off()
        for lane in self.lanes.lasting:
            if lane._activation is not None:
                lane._activation.cancel()


@cache
def _metrics() -> Metrics:
    return Metrics(())
