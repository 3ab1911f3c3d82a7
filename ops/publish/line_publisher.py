"""Lines to the broker by the SDK's `publish_many`: at a pace, reported as they are confirmed, stopped by a signal."""

from __future__ import annotations

import asyncio
import math
import signal
import threading
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from signalq import InvalidIntent, NotAllConfirmed, OrderIntent, OrderPublisher, PublishResult
from signalq.ops.publish.progress import Progress
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import MarkedLine, PublishOptions
from signalq.producers.files.marks import FileChanged, Mark
from signalq.producers.files.reader import BadLine, IntentLine
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.settings.sections import Settings

# After a signal, the lines in flight have so long to be confirmed; a second signal ends that, too.
STOP_TIMEOUT_S = 5.0
# Lines read ahead of what is being published.
READ_AHEAD_MAX = 512
# A smaller lateness is caught up; a larger one means that something held the run up, and no burst may follow.
CATCH_UP_S = 0.05


@dataclass(slots=True)
class _Pending:
    """A line in flight, and how far the file is dealt with once it is confirmed, bad lines behind it included."""

    line: IntentLine
    through_line: int
    mark: Mark | None


class LinePublisher:
    """Publishes lines in their order; one run.

    The rate of the options paces it evenly: after a broken connection it does not catch up. The first `known_lines`
    were published before under the same identities.
    """

    def __init__(
        self,
        settings: Settings,
        options: PublishOptions,
        report: PublishReport,
        *,
        progress: Progress | None = None,
        known_lines: int = 0,
    ) -> None:
        rate_per_s = options.rate_per_s
        self._known_lines = known_lines
        self._report = report
        self._tally = report.tally
        self._progress = progress
        self._pace = EvenPace(rate_per_s) if rate_per_s is not None else None
        # When a connection breaks, all lines in flight are sent again at once: with a pace, at most a second's worth.
        self._in_flight_max = min(IN_FLIGHT_MAX, math.ceil(rate_per_s)) if rate_per_s is not None else IN_FLIGHT_MAX
        self._orders = OrderPublisher(
            settings.broker.url.get_secret_value(),
            strategy=options.strategy,
            prefix=settings.broker.prefix,
            heartbeat_s=settings.broker.heartbeat_s,
            outcomes=False,
        )
        self._pending: deque[_Pending] = deque()
        self._feed: _LineFeed | None = None
        self._stopping = asyncio.Event()

    async def publish(self, lines: Iterable[MarkedLine]) -> None:
        """Publish all lines, or the lines up to the signal that stops it; the report's tally says which.

        Raises BrokerUnreachable if it can't connect, FileChanged, OSError.
        """
        publishing = asyncio.create_task(self._publish(lines), name="publish lines")
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, number.name, publishing)
        try:
            await publishing
        except asyncio.CancelledError:
            if self._tally.stopped_by is None:
                raise

    async def _publish(self, lines: Iterable[MarkedLine]) -> None:
        async with self._progress.kept() if self._progress is not None else nullcontext(), self._orders:
            self._feed = _LineFeed(lines)
            try:
                await self._orders.publish_many(
                    self._intents(self._feed), on_result=self._on_result, in_flight_max=self._in_flight_max
                )
            except NotAllConfirmed as error:
                # Each line was reported; the error that ended the reading was not.
                if error.__cause__ is not None:
                    raise error.__cause__ from None

    async def _intents(self, feed: _LineFeed) -> AsyncIterator[tuple[OrderIntent, str]]:
        async for line, mark in feed:
            if isinstance(line, BadLine):
                self._bad(line, mark)
            elif await self._is_stopped_in_turn():
                return
            else:
                self._pending.append(_Pending(line, line.line, mark))
                yield line.intent, line.message_id

    async def _is_stopped_in_turn(self) -> bool:
        """Wait until the pace lets the next line go; whether a signal came first."""
        if self._pace is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pace.wait_s(asyncio.get_running_loop().time())):
                    await self._stopping.wait()
        return self._stopping.is_set()

    def _bad(self, line: BadLine, mark: Mark | None) -> None:
        if self._pending:
            self._pending[-1].through_line, self._pending[-1].mark = line.line, mark
        else:
            self._reached(line.line, mark)
        self._report.bad(line)

    def _on_result(self, result: PublishResult) -> None:
        pending = self._pending.popleft()
        if result.error is None:
            self._reached(pending.through_line, pending.mark)
            self._report.published(pending.line, is_duplicate=pending.line.line <= self._known_lines)
        elif isinstance(result.error, InvalidIntent):
            self._report.bad(BadLine(pending.line.line, str(result.error)))
        else:
            self._report.unconfirmed(result.error)

    def _reached(self, line: int, mark: Mark | None) -> None:
        """Note that every line up to here is confirmed or bad."""
        if self._tally.unconfirmed:
            return
        self._tally.through_line = line
        if self._progress is not None and mark is not None:
            self._progress.reached(mark)

    def _stop(self, name: str, publishing: asyncio.Task[None]) -> None:
        """Take no more lines, and wait for the confirms in flight; end at once the second time, or before any line."""
        if self._tally.stopped_by is not None or self._feed is None:
            publishing.cancel()
        else:
            self._stopping.set()
            self._feed.end()
            asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, publishing.cancel)
        self._tally.stopped_by = name


class _LineFeed:
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


class EvenPace:
    """Spaces `rate_per_s` intents a second evenly. Pure: times are passed in, in seconds that only grow."""

    def __init__(self, rate_per_s: float) -> None:
        self._interval_s = 1 / rate_per_s
        self._next_s: float | None = None

    def wait_s(self, now_s: float) -> float:
        """The seconds that the next intent has to wait."""
        at_s = now_s if self._next_s is None else max(self._next_s, now_s - CATCH_UP_S)
        self._next_s = at_s + self._interval_s
        return max(0.0, at_s - now_s)
