"""One run over a file or a pipe: read, warned about, published, and what to run next.

A file is read twice: once for the warnings before anything is sent, and once to send it. A pipe is read once, and its
warnings come with its lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import BinaryIO

from signalq.ops.publish.forecast import Forecast
from signalq.ops.publish.line_publisher import LinePublisher
from signalq.ops.publish.options import PublishOptions
from signalq.ops.publish.progress import Progress
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import LineSource, MarkedLine
from signalq.ops.publish.start import RunsBefore, Start
from signalq.ops.publish.tally import RunTally
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.producers.files.marks import FileChanged
from signalq.producers.files.reader import BadLine, IntentLine
from signalq.settings.sections import Settings


class FileRun:
    """Publishes the lines of one source."""

    def __init__(self, settings: Settings, options: PublishOptions, source: LineSource, report: PublishReport) -> None:
        self._settings = settings
        self._options = options
        self._source = source
        self._report = report
        self._forecast = Forecast(settings, rate_per_s=options.rate_per_s)
        file = "-" if source.is_pipe else source.file
        self._progress = Progress(settings, file, strategy=options.strategy, kind=source.kind, batch=source.batch)
        self._before = RunsBefore(source, options, self._progress, report.say)
        self._tally = RunTally()

    def publish(self, stream: BinaryIO) -> int:
        """Publish all lines; returns the exit status. Raises CommandFailed if it can't go on where it was left."""
        try:
            if self._source.is_pipe:
                start, lines = self._from_pipe(stream)
            else:
                start, lines = self._from_file(stream)
            if start.is_changed:
                self._tally.duplicates = None
            asyncio.run(self._publish(lines, start))
        except FileChanged as error:
            raise CommandFailed(
                f"{self._source.file} can't be resumed, {error} (kept in {self._progress.path}): publish it without "
                "--resume, the consumer drops the lines that are where they were and as they were, or put them back"
            ) from None
        return self._report.finish(self._tally, what_next=self._what_next(), not_kept=self._progress.why_not_kept)

    async def _publish(self, lines: Iterator[MarkedLine], start: Start) -> None:
        publisher = LinePublisher(
            self._settings,
            self._options,
            self._report,
            progress=self._progress if self._source.has_progress else None,
            tally=self._tally,
            known_lines=start.known.lines if not start.salt else 0,
        )
        with self._report:
            await publisher.publish(lines)

    # ---- before anything is sent ----

    def _from_pipe(self, stream: BinaryIO) -> tuple[Start, Iterator[MarkedLine]]:
        start = Start()
        if self._source.has_progress:
            start = self._before.start_of_pipe()
            self._begin(start)
        return start, self._warned_as_they_come(stream, start)

    def _from_file(self, stream: BinaryIO) -> tuple[Start, Iterator[MarkedLine]]:
        begin_at = stream.tell()
        kept = timedelta(days=self._settings.ledger.retention_days)
        start = self._before.start_of_file(stream, kept=kept)
        read = partial(self._source.read, self._settings, stream, start.salt)
        if self._options.resume:
            read = partial(read, expected=start.mark)
        stream.seek(begin_at)
        self._warn(read(), start)
        stream.seek(begin_at)
        self._begin(start)
        return start, read(skip_lines=start.mark.lines)

    def _warn(self, lines: Iterator[MarkedLine], start: Start) -> None:
        """Read all lines, count the intents that an earlier run saw confirmed, and say all warnings."""
        for line, _ in lines:
            if isinstance(line, BadLine):
                continue
            if line.line <= start.mark.lines:
                self._tally.skipped += 1
            elif start.salt or line.line > start.known.lines:
                self._forecast.take(line.intent)
        for sentence in self._forecast.sentences():
            self._report.say(sentence)

    def _warned_as_they_come(self, stream: BinaryIO, start: Start) -> Iterator[MarkedLine]:
        for line, mark in self._source.read(self._settings, stream, start.salt):
            if isinstance(line, IntentLine):
                for sentence in self._forecast.take(line.intent):
                    self._report.say(sentence)
            yield line, mark

    def _begin(self, start: Start) -> None:
        if not self._options.resume:
            self._progress.begin(start.salt, known_holds=bool(start.known.lines))

    # ---- what to run next ----

    def _what_next(self) -> str:
        again = "publish the same again from its first line"
        if self._source.is_pipe:
            return f"{again} with `{self._next_command()}`: what has arrived is dropped as a duplicate"
        if self._progress.why_not_kept is None:
            return f"go on with `{self._next_command()}`"
        if self._options.again:
            return "`signalq orders list` says which of them have arrived: --again would order those once more"
        return f"{again}: what has arrived is dropped as a duplicate"

    def _next_command(self) -> str:
        return escaped(self._options.next_command(self._source.batch, resume=not self._source.is_pipe))
