"""Lines from a file or a pipe to an event loop: read in a thread, so that a slow pipe does not stop the heartbeats."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Generic, TypeVar

from producers.files.reader import BadLine, IntentLine

# Lines read ahead of what is being published.
READ_AHEAD_MAX = 2048

Line = TypeVar("Line")


class _End:
    """Stands behind the last line; `error` is what stopped the reading before its end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class LineFeed(Generic[Line]):
    """Gives the items of `lines` to the running event loop, in order, as soon as they are read."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Line | _End] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(READ_AHEAD_MAX)
        # A daemon: a read from a pipe that stays silent can't be interrupted.
        threading.Thread(target=self._read, name="signalq-lines", daemon=True).start()

    async def rounds(self, size_max: int) -> AsyncIterator[list[Line]]:
        """What has been read by now, at least one line and at most `size_max`; raises what reading raised."""
        while True:
            items = [await self._queue.get()]
            while len(items) < size_max and not self._queue.empty():
                items.append(self._queue.get_nowait())
            if lines := [item for item in items if not isinstance(item, _End)]:
                self._room.release(len(lines))
                yield lines
            if isinstance(items[-1], _End):
                if items[-1].error is not None:
                    raise items[-1].error
                return

    def _read(self) -> None:
        try:
            for line in self._lines:
                self._room.acquire()
                self._hand_over(line)
            self._hand_over(_End())
        except _LoopClosed:
            return
        except (OSError, ValueError) as error:
            self._hand_over(_End(error))

    def _hand_over(self, item: Line | _End) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            raise _LoopClosed from None


class _LoopClosed(Exception):
    """Nobody waits for lines any more."""


async def intents_of(
    rounds: AsyncIterator[list[IntentLine | BadLine]], on_bad: Callable[[BadLine], None]
) -> AsyncIterator[list[IntentLine]]:
    """The rounds without their bad lines, each of which is reported when its turn comes."""
    async for lines in rounds:
        for line in lines:
            if isinstance(line, BadLine):
                on_bad(line)
        if intents := [line for line in lines if isinstance(line, IntentLine)]:
            yield intents
