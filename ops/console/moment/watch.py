"""The watch: one task a process that looks at the ledger and the broker for all who look at the console.

It looks each second while somebody looks here, or listens, and sleeps once nobody has for IDLE_S: then nothing is open.
The ledger and the broker are asked side by side, and neither waits for the other: what one of them has not answered in
time is shown as it was. Nothing is changed.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from signalq.consumer.kept_going import kept_going
from signalq.consumer.orders import lanes
from signalq.names import Names
from signalq.ops.console.moment.composing import Composer
from signalq.ops.console.moment.depths import BrokerLook
from signalq.ops.console.moment.history import Name, Series
from signalq.ops.console.moment.looking import LedgerLook
from signalq.ops.console.moment.regions import changed
from signalq.ops.console.moment.snapshot import REGIONS, Region, Snapshot
from signalq.settings.sections import Settings

EVERY_S = 1.0
PAUSE_S_MIN = 0.1
IDLE_S = 60.0
# A look is told of after so long, with whatever was answered; the first one waits a little longer, to be whole.
TOLD_AFTER_S = 0.8
FIRST_AFTER_S = 2.5
# A page waits so long for a first look, or for one after a sleep.
WAIT_S = 3.0
FRESH_S = 3.0
# The lanes that a page shows first, and those that it showed lately, are asked about more often.
VISIBLE_LANES = 100
SHOWN_S = 60.0


class Listener:
    """A listener, however slow: what has changed since its last word adds up."""

    def __init__(self) -> None:
        self._regions: set[Region] = set()
        self._word = asyncio.Event()
        self._is_over = False

    async def changes(self) -> frozenset[Region] | None:
        """After the next look, or at once if there was one since, the regions that have changed; perhaps none. None
        once the watch is closed.
        """
        await self._word.wait()
        self._word.clear()
        taken = frozenset(self._regions)
        self._regions.clear()
        return None if self._is_over else taken

    def tell(self, regions: Iterable[Region]) -> None:
        """Add to what is to be told."""
        self._regions.update(regions)
        self._word.set()

    def end(self) -> None:
        """Let there be nothing more."""
        self._is_over = True
        self._word.set()


class Watch:
    """`latest` is the latest snapshot, however old. While `may_look` says no, it looks only for those who ask."""

    def __init__(self, settings: Callable[[], Settings], *, may_look: Callable[[], bool] = lambda: True) -> None:
        self._may_look = may_look
        self.latest = Snapshot()
        self._settings = settings
        self._ledger = LedgerLook(settings)
        self._broker = BrokerLook(settings, lambda: self._ledger.now_ms)
        self._composer = Composer(settings, self._ledger, self._broker)
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._wanted_s = self._told_s = float("-inf")
        self._at_once = asyncio.Event()
        self._told = asyncio.Event()
        self._is_closed = False
        # The number of the last look at the ledger that the latest snapshot has.
        self._told_look = 0
        self._shown_s: dict[str, float] = {}

    @property
    def listeners(self) -> int:
        """How many listen."""
        return len(self._listeners)

    @property
    def is_awake(self) -> bool:
        """Whether it looks."""
        return self._task is not None and not self._task.done()

    async def snapshot(self) -> Snapshot:
        """The present moment: the latest look; the first one, and one after a sleep, are waited for."""
        self._want()
        if not self._may_look():
            self._at_once.set()
        await self._until(self._is_fresh)
        return self.latest

    async def look_now(self) -> Snapshot:
        """Look at once, beside the regular looks, and at everything: a person has just changed something."""
        after = self._ledger.begun
        self._ledger.hurry()
        names = Names(self._settings().broker.prefix)
        self._broker.hurry([names.orders, names.dead])
        self._want()
        self._at_once.set()
        await self._until(lambda: self._told_look > after)
        return self.latest

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Listen to what changes from now on."""
        listener = Listener()
        self._listeners.add(listener)
        if self._is_closed:
            listener.end()
        self._want()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, *regions: Region) -> None:
        """Tell all who listen of regions that this process itself has changed."""
        for listener in self._listeners:
            listener.tell(regions)

    def show(self, connectors: Iterable[str]) -> None:
        """Ask about the lanes of these connectors more often for a while: somebody looks at them."""
        own, now_s = set(self._settings().own_lanes()), time.monotonic()
        self._shown_s |= {name: now_s for name in connectors if name in own}

    def history(self, name: Name) -> Series:
        """The history of a connector, of the shared lane (None), or of everything (ALL)."""
        return self._ledger.history.of(name)

    async def close(self) -> None:
        """Look no more, and let nobody listen any more."""
        self._is_closed = True
        for listener in self._listeners:
            listener.end()
        self._told.set()
        await _ended([task for task in (self._task, *self._looks.values()) if task is not None])
        await self._rest()

    # ---- the task ----

    def _want(self) -> None:
        """Somebody wants to know: begin to look, unless it is done already."""
        self._wanted_s = time.monotonic()
        if not self.is_awake and not self._is_closed:
            self._task = asyncio.create_task(kept_going(self._run, "console watch"), name="console watch")

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._told_s < FRESH_S

    def _is_wanted(self) -> bool:
        return bool(self._listeners) or time.monotonic() - self._wanted_s < IDLE_S

    async def _run(self) -> None:
        while self._is_wanted():
            while self._is_wanted():
                can_wait = not self._at_once.is_set()
                self._at_once.clear()
                began_s = time.monotonic()
                if self._may_look() or not can_wait:
                    await self._look()
                await self._pause(began_s + EVERY_S - time.monotonic())
            await self._rest()

    async def _pause(self, pause_s: float) -> None:
        """Wait until it is time for the next look, or somebody can't wait."""
        try:
            async with asyncio.timeout(max(PAUSE_S_MIN, pause_s)):
                await self._at_once.wait()
        except TimeoutError:
            return

    async def _look(self) -> None:
        """Look, and tell what was found in time."""
        self._collect()
        urgent, others = self._queues()
        looks: dict[str, Callable[[], Coroutine[Any, Any, None]]]
        looks = {"ledger": self._ledger.look, "broker": lambda: self._broker.look(urgent, others)}
        for name in looks.keys() - self._looks.keys():
            self._looks[name] = asyncio.create_task(looks[name](), name=f"console look at the {name}")
        await asyncio.wait(self._looks.values(), timeout=TOLD_AFTER_S if self._is_fresh() else FIRST_AFTER_S)
        self._tell_of(self._composer.compose(self.latest.number + 1, frozenset(urgent)))

    def _collect(self) -> None:
        """Take away the looks that have ended. Raises what one of them did not foresee."""
        for name, look in list(self._looks.items()):
            if look.done():
                self._looks.pop(name).result()

    def _tell_of(self, snapshot: Snapshot) -> None:
        before, self.latest = self.latest, snapshot
        self._told_s = time.monotonic()
        self._told_look = self._ledger.ended
        told, self._told = self._told, asyncio.Event()
        told.set()
        regions = changed(before, snapshot) if before.number else REGIONS
        for listener in self._listeners:
            listener.tell(regions)

    def _queues(self) -> tuple[Collection[str], Collection[str]]:
        """The queues to ask about more often, the most wanted first; and all others."""
        settings, names = self._settings(), Names(self._settings().broker.prefix)
        own = settings.own_lanes()
        first = [lane.queue for lane in self.latest.lanes if lane.is_own] or sorted(map(names.lane, own))
        lately_s = time.monotonic() - SHOWN_S
        self._shown_s = {name: shown_s for name, shown_s in self._shown_s.items() if shown_s > lately_s}
        shown = map(names.lane, self._shown_s)
        always = names.orders, names.dead, names.due, *self._broker.unread_since_ms
        known = [] if self._ledger.moment is None else list(self._ledger.moment.lanes)
        others = [*map(names.lane, own), *lanes.retired(settings, known)]
        urgent = list(dict.fromkeys((*always, *shown, *first[:VISIBLE_LANES])))
        self._broker.forget({*urgent, *others})
        return urgent, others

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait until this is so, after one of the next looks; for at most WAIT_S."""
        deadline = time.monotonic() + WAIT_S
        while not (is_so() or self._is_closed) and (left_s := deadline - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._told.wait()
            except TimeoutError:
                return

    async def _rest(self) -> None:
        """Close the ledger and the broker, as nobody looks any more."""
        await _ended(list(self._looks.values()))
        self._looks.clear()
        await self._broker.close()
        await self._ledger.close()


async def _ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
