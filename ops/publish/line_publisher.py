"""Lines to the broker by the SDK's `publish_many`: at a pace, reported as they are confirmed, stopped by a signal."""

from __future__ import annotations

import asyncio
import math
import signal
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from signalq import InvalidIntent, NotAllConfirmed, OrderIntent, OrderPublisher, PublishResult
from signalq.amqp.address import user_of
from signalq.kinds import Kind
from signalq.ops.publish.line_feed import LineFeed
from signalq.ops.publish.pace import EvenPace
from signalq.ops.publish.progress import Progress
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import MarkedLine, PublishOptions
from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.files.marks import Mark
from signalq.producers.files.reader import BadLine, IntentLine
from signalq.publishing.bulk import IN_FLIGHT_MAX
from signalq.settings.sections import Settings

if TYPE_CHECKING:
    from signalq.ops.publish.waiting import Ending, OutcomeWaiting

# After a signal, the lines in flight have so long to be confirmed; a second signal ends that, too.
STOP_TIMEOUT_S = 5.0


@dataclass(slots=True, eq=False)
class _Pending:
    """A line that was taken: how far the file is dealt with once it is, bad lines behind it included.

    It does not hold the line itself: behind one that is waited for, the lines of a whole file may be dealt with.
    """

    through_line: int
    mark: Mark | None
    is_dealt_with: bool = False


class LinePublisher:
    """Publishes lines in their order; one run.

    The rate of the options paces it evenly: after a broken connection it does not catch up. The first `known_lines`
    were published before under the same identities.

    A line is dealt with once it is confirmed; with `--wait`, once its outcome is known.
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
        self._settings = settings
        self._wait_s = options.wait_s
        self._known_lines = known_lines
        self._report = report
        self._tally = report.tally
        self._progress = progress
        self._pace = EvenPace(rate_per_s) if rate_per_s is not None else None
        # When a connection breaks, all lines in flight are sent again at once: with a pace, at most a second's worth.
        self._in_flight_max = min(IN_FLIGHT_MAX, math.ceil(rate_per_s)) if rate_per_s is not None else IN_FLIGHT_MAX
        self._orders = publisher_of(settings, options)
        # The lines that have no result yet, and those that are not dealt with, both in their order.
        self._sent: deque[tuple[IntentLine, _Pending]] = deque()
        self._pending: deque[_Pending] = deque()
        self._waited_for: dict[int, _Pending] = {}
        self._feed: LineFeed | None = None
        self._waiting: OutcomeWaiting | None = None
        self._stopping = asyncio.Event()

    async def publish(self, lines: Iterable[MarkedLine]) -> None:
        """Publish all lines, or the lines up to the signal that stops it; the report's tally says which.

        Raises BrokerUnreachable if it can't connect, CommandFailed if it should wait and can't, FileChanged, OSError.
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
            self._waiting = self._begin_waiting()
            self._feed = LineFeed(lines)
            try:
                await self._orders.publish_many(
                    self._intents(self._feed), on_result=self._on_result, in_flight_max=self._in_flight_max
                )
            except NotAllConfirmed as error:
                # Each line was reported; the error that ended the reading was not.
                if error.__cause__ is not None:
                    raise error.__cause__ from None
            finally:
                await self._finish_waiting()

    # ---- taking ----

    async def _intents(self, feed: LineFeed) -> AsyncIterator[tuple[OrderIntent, str]]:
        async for line, mark in feed:
            if isinstance(line, BadLine):
                self._bad(line, mark)
            elif await self._is_stopped_in_turn() or (self._waiting and not await self._waiting.has_room(line)):
                return
            else:
                pending = _Pending(line.line, mark)
                self._sent.append((line, pending))
                self._pending.append(pending)
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

    # ---- results ----

    def _on_result(self, result: PublishResult) -> None:
        line, pending = self._sent.popleft()
        if result.receipt is not None:
            self._report.published(line, result.receipt, is_duplicate=line.line <= self._known_lines)
            if self._waiting is not None:
                self._waited_for[line.line] = pending
                self._waiting.begin(line, result.receipt)
                return
        else:
            if self._waiting is not None:
                self._waiting.skip(line)
            if not isinstance(result.error, InvalidIntent):
                # Never dealt with: nothing behind it counts as dealt with either.
                self._report.unconfirmed(result.error)
                return
            self._report.bad(BadLine(line.line, str(result.error)))
        self._dealt_with(pending)

    def _on_ending(self, ending: Ending) -> None:
        pending = self._waited_for.pop(ending.line.line)
        self._report.ended(ending)
        if ending.status != "unknown":
            self._dealt_with(pending)

    def _dealt_with(self, pending: _Pending) -> None:
        """Note that this line is dealt with, and with it every line up to the first that is not."""
        pending.is_dealt_with = True
        while self._pending and self._pending[0].is_dealt_with:
            first = self._pending.popleft()
            self._reached(first.through_line, first.mark)

    def _reached(self, line: int, mark: Mark | None) -> None:
        """Note that every line up to here is dealt with."""
        self._tally.through_line = line
        if self._progress is not None and mark is not None:
            self._progress.reached(mark)

    # ---- the outcomes ----

    def _begin_waiting(self) -> OutcomeWaiting | None:
        if self._wait_s is None:
            return None
        # Imported here: without --wait a publish needs none of it.
        from signalq.ops.publish.waiting import OutcomeWaiting  # noqa: PLC0415

        if (why := self._orders.why_no_outcomes) is not None:
            raise CommandFailed(
                f"nothing was sent, no outcome could be waited for: {why}; or leave --wait out",
                kind=Kind.OUTCOMES_UNAVAILABLE,
            )
        return OutcomeWaiting(
            self._settings, self._orders, self._wait_s, on_ending=self._on_ending, on_trouble=self._give_up
        )

    async def _finish_waiting(self) -> None:
        if self._waiting is None:
            return
        if self._tally.unconfirmed and self._tally.refused is None:
            # RabbitMQ is away, and no outcome comes.
            self._waiting.cancel()
        await self._waiting.finish()

    def _give_up(self, why: str) -> None:
        """Take no more lines; the outcomes of those that are on their way are waited for."""
        self._tally.gave_up = why
        self._take_no_more()

    # ---- stopping ----

    def _take_no_more(self) -> None:
        self._stopping.set()
        if self._feed is not None:
            self._feed.end()
        if self._waiting is not None:
            self._waiting.end()

    def _stop(self, name: str, publishing: asyncio.Task[None]) -> None:
        """Take no more lines, and wait for the confirms in flight; end at once the second time, or before any line."""
        if self._tally.stopped_by is not None or self._feed is None:
            publishing.cancel()
        else:
            self._take_no_more()
            if self._waiting is not None:
                self._waiting.cancel()
            asyncio.get_running_loop().call_later(STOP_TIMEOUT_S, publishing.cancel)
        self._tally.stopped_by = name


def publisher_of(settings: Settings, options: PublishOptions) -> OrderPublisher:
    """The publisher of a run; it listens for outcomes if these are waited for."""
    url, strategy = settings.broker.url.get_secret_value(), options.strategy
    if options.wait_s is not None and strategy is not None:
        # A consumer that knows a strategy by its user tells outcomes under the name that its settings have for that.
        strategy = settings.strategy_by_user.get(user_of(url) or "", strategy)
    return OrderPublisher(
        url,
        strategy=strategy,
        prefix=settings.broker.prefix,
        heartbeat_s=settings.broker.heartbeat_s,
        outcomes=options.wait_s is not None,
    )
