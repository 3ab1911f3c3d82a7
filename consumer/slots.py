"""One task for each message, and when it may be interrupted.

We never abort a POST that has begun: not when a channel closes, not in a drain. A message that waits is let go at once;
the broker gives it to the next consumer, in order. An outcome event, which is published after the ledger knows, gets a
moment longer: it is published again when the message comes again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Slot:
    """The place of one message in the consumer."""

    def __init__(self) -> None:
        self.withdrawn = False
        self._busy = False
        self._limit_s: float | None = None
        self._limit: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def finish(self, work: Awaitable[T]) -> T:
        """Do the work to its end, whatever happens around it."""
        self._busy = True
        try:
            return await work
        finally:
            self._busy = False

    async def finish_within(self, limit_s: float, work: Awaitable[T]) -> T:
        """The same, but once the message is withdrawn for at most `limit_s`."""
        self._limit_s = limit_s
        if self.withdrawn:
            self._set_limit(limit_s)
        try:
            return await work
        finally:
            self._limit_s = None
            if self._limit is not None:
                self._limit.cancel()
                self._limit = None

    def withdraw(self) -> None:
        """Begin nothing new for this message; end now what only waits."""
        self.withdrawn = True
        if self._limit_s is not None:
            self._set_limit(self._limit_s)
        elif not self._busy and self._task is not None:
            self._task.cancel()

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._task = asyncio.create_task(work, name="message")
        return self._task

    def _set_limit(self, limit_s: float) -> None:
        if self._limit is None and self._task is not None:
            self._limit = asyncio.get_running_loop().call_later(limit_s, self._task.cancel)


class Slots:
    """All messages in the consumer; the owner of their tasks."""

    def __init__(self) -> None:
        self._slots: dict[asyncio.Task[None], tuple[Slot, object]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def start(self, group: object, work: Callable[[Slot], Coroutine[Any, Any, None]]) -> None:
        """Run `work` in a slot of its own; tasks begin in the order of these calls."""
        slot = Slot()
        task = slot.run(work(slot))
        self._slots[task] = (slot, group)
        task.add_done_callback(self._slots.pop)

    def withdraw(self, group: object | None = None) -> None:
        """Withdraw the messages of one group (of one channel), or all."""
        for slot, its_group in list(self._slots.values()):
            if group is None or its_group is group:
                slot.withdraw()

    async def finished(self, group: object | None = None) -> None:
        """Wait until no message of the group, or none at all, is in the consumer."""
        while tasks := [task for task, (_, its) in self._slots.items() if group is None or its is group]:
            await asyncio.wait(tasks)

    async def cut_off(self) -> None:
        """Cancel all tasks that are left, and wait for their end."""
        for task in list(self._slots):
            task.cancel()
        await self.finished()
