"""The way of lines into an event loop: a thread reads them, so that a slow pipe does not stop the heartbeats."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable

from signalq.ops.publish.source import MarkedLine
from signalq.producers.files.marks import FileChanged

# Lines read ahead of what is being published.
READ_AHEAD_MAX = 512


class LineFeed:
    """Gives the lines to the running event loop, in order, as soon as they are read."""

    def __init__(self, lines: Iterable[MarkedLine]) -> None:
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        # None is the end; an error ended the reading before it.
        self._queue: asyncio.Queue[MarkedLine | Exception | None] = asyncio.Queue()
        self._room = threading.BoundedSemaphore(READ_AHEAD_MAX)
        self._is_ended = False
        # A daemon: a read from a pipe that stays silent can't be interrupted.
        threading.Thread(target=self._read, name="signalq-lines", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[MarkedLine]:
        """The lines, as they are read. Raises the error of the reading."""
        while (item := await self._queue.get()) is not None and not self._is_ended:
            if isinstance(item, Exception):
                raise item
            self._room.release()
            yield item

    def end(self) -> None:
        """Give no more lines, not even those that were read already."""
        self._is_ended = True
        self._queue.put_nowait(None)

    def _read(self) -> None:
        try:
            for line in self._lines:
                self._room.acquire()
                self._hand_over(line)
            self._hand_over(None)
        except _LoopClosed:
            return
        except (OSError, ValueError, FileChanged) as error:
            self._hand_over(error)

    def _hand_over(self, item: MarkedLine | Exception | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, item)
        except RuntimeError:
            raise _LoopClosed from None


class _LoopClosed(Exception):
    """The event loop is closed, and takes no more lines."""
