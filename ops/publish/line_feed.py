"""The way of lines into an event loop: a thread reads them, so that a slow pipe does not stop the heartbeats."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

from signalq.producers.files.marks import FileChanged

# Lines read ahead of what is being published.
READ_AHEAD_MAX = 512

Line = TypeVar("Line")


class _End:
    """The mark behind the last line; `error` stopped the reading before its end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


class LineFeed(Generic[Line]):
    """Gives the items of `lines` to the running event loop, in order, as soon as they are read."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Line | _End] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(READ_AHEAD_MAX)
        self._is_ended = False
        # A daemon: a read from a pipe that stays silent can't be interrupted.
        threading.Thread(target=self._read, name="signalq-lines", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[Line]:
        """The items, as they are read. Raises the error of the reading."""
        while True:
            item = await self._queue.get()
            if self._is_ended:
                return
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            self._room.release()
            yield item

    def end(self) -> None:
        """Give no more items, not even those that were read already."""
        self._is_ended = True
        self._queue.put_nowait(_End())

    def _read(self) -> None:
        try:
            for line in self._lines:
                self._room.acquire()
                self._hand_over(line)
            self._hand_over(_End())
        except _LoopClosed:
            return
        except (OSError, ValueError, FileChanged) as error:
            self._hand_over(_End(error))

    def _hand_over(self, item: Line | _End) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            raise _LoopClosed from None


class _LoopClosed(Exception):
    """The event loop is closed, and takes no more lines."""
