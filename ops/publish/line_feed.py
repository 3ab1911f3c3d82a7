"""Lines that a thread reads, given to the event loop in their order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable

from signalq.ops.publish.source import MarkedLine
from signalq.producers.files.marks import FileChanged

# Lines read ahead of what is being published.
READ_AHEAD_MAX = 512


class LineFeed:
    """Gives the lines to the event loop in order; a thread reads them, for a slow pipe must not stop the heartbeats."""

    def __init__(self, lines: Iterable[MarkedLine]) -> None:
        self._lines = lines
        self._loop = asyncio.get_running_loop()
        # None is the end; an error ended the reading before it.
        self._read_ahead: deque[MarkedLine | Exception | None] = deque()
        self._arrived = asyncio.Event()
        self._is_told = False
        self._room = threading.BoundedSemaphore(READ_AHEAD_MAX)
        self._is_ended = False
        # A daemon: a read from a pipe that stays silent can't be interrupted.
        threading.Thread(target=self._read, name="signalq-lines", daemon=True).start()

    async def __aiter__(self) -> AsyncIterator[MarkedLine]:
        """The lines, as they are read. Raises the error of the reading."""
        while (item := await self._next()) is not None and not self._is_ended:
            if isinstance(item, Exception):
                raise item
            self._room.release()
            yield item

    async def _next(self) -> MarkedLine | Exception | None:
        while not self._read_ahead:
            self._arrived.clear()
            self._is_told = False
            if not self._read_ahead:  # the thread may have added one before it could know that it has to tell
                await self._arrived.wait()
        return self._read_ahead.popleft()

    def end(self) -> None:
        """Give no more lines, not even those that were read already."""
        self._is_ended = True
        self._read_ahead.appendleft(None)
        self._arrived.set()

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
        """Add an item, and wake the event loop, once for all that it finds then."""
        self._read_ahead.append(item)
        if self._is_told:
            return
        self._is_told = True
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:
            raise _LoopClosed from None


class _LoopClosed(Exception):
    """The event loop is closed, and takes no more lines."""
