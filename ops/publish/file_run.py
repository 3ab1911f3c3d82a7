"""One run over a file or a pipe: what is warned about, what is published, and what to run next.

A file is checked as a whole before anything is sent: its warnings come first. A small one is kept as it was checked; a
large one is read a second time to be sent. A pipe is read once, and its warnings come with its lines.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from signalq.ops.publish.forecast import Forecast
from signalq.ops.publish.line_publisher import LinePublisher
from signalq.ops.publish.progress import Progress
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import LineSource, MarkedLine, PublishOptions
from signalq.ops.publish.start import Start, StartFinder
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.producers.files.marks import FileChanged
from signalq.producers.files.reader import IntentLine
from signalq.settings.sections import Settings

# A file up to this size is read once. Its checked lines take some 15 times as much.
KEPT_FILE_BYTES_MAX = 1_048_576
# The bar of the checking moves every so many lines.
SHOWN_EVERY = 1_000


class FileRun:
    """Publishes the lines of one source, or only checks them."""

    def __init__(self, settings: Settings, options: PublishOptions, source: LineSource, report: PublishReport) -> None:
        self._settings = settings
        self._options = options
        self._source = source
        self._report = report
        # With --wait, what can't be POSTed in time is held back.
        self._forecast = Forecast(
            settings,
            rate_per_s=options.rate_per_s,
            is_held_back=options.wait_s is not None,
            strategy=options.strategy,
        )
        self._progress = Progress(
            settings, source.file, strategy=options.strategy, kind=source.kind, batch=source.batch
        )
        self._finder = StartFinder(settings, options, source, self._progress, report.say)
        self._lines_total: int | None = None

    def publish(self, stream: BinaryIO) -> int:
        """Publish all lines; returns the exit status. Raises CommandFailed if it can't go on where it was left."""
        with self._report, self._resumable():
            start = self._start(stream)
            lines = self._from_pipe(stream, start) if self._source.is_pipe else self._from_file(stream, start)
            if self._source.has_progress and not self._options.resume:
                self._progress.begin(start.salt, known_holds=bool(start.known.lines))
            self._report.bar.start("publishing", self._lines_total)
            publisher = LinePublisher(
                self._settings,
                self._options,
                self._report,
                progress=self._progress if self._source.has_progress else None,
                known_lines=start.duplicate_lines,
            )
            asyncio.run(publisher.publish(lines))
        return self._report.finish(what_next=self._what_next(), not_kept=self._progress.why_not_kept)

    def check(self, stream: BinaryIO) -> int:
        """Check all lines, and whether they could be published; returns the exit status. Sends and keeps nothing."""
        # Imported here: a publish needs none of it.
        from signalq.ops.publish.dry_run import DryRun  # noqa: PLC0415

        dry_run = DryRun(self._settings, self._options, self._report)
        with self._report, self._resumable():
            start = self._start(stream)
            self._report.bar.start("checking", None)
            for line, _ in self._checked(self._read(stream, start), start):
                dry_run.line(line, is_duplicate=line.line <= start.duplicate_lines, is_skipped=start.skips(line.line))
            self._say_warnings()
        return dry_run.finish()

    def _start(self, stream: BinaryIO) -> Start:
        if self._source.is_pipe:
            start = self._finder.of_pipe() if self._source.has_progress else Start()
        else:
            start = self._finder.of_file(stream)
        if start.is_changed:
            self._report.tally.duplicates = None
        return start

    @contextmanager
    def _resumable(self) -> Iterator[None]:
        """A block in which FileChanged becomes a sentence that says what to do."""
        try:
            yield
        except FileChanged as error:
            raise CommandFailed(
                f"{self._source.file} can't be resumed, {error} (kept in {self._progress.path}): publish it without "
                "--resume, the consumer drops the lines that are where they were and as they were, or put them back",
                kind=error.kind,
            ) from None

    # ---- the lines, checked before they are sent ----

    def _read(self, stream: BinaryIO, start: Start, *, skip_lines: int = 0) -> Iterator[MarkedLine]:
        return self._source.read(self._settings, stream, start.salt, expected=start.mark, skip_lines=skip_lines)

    def _from_pipe(self, stream: BinaryIO, start: Start) -> Iterator[MarkedLine]:
        for line, mark in self._read(stream, start):
            if isinstance(line, IntentLine):
                for sentence in self._forecast.take(line.intent):
                    self._report.say(sentence)
            yield line, mark

    def _from_file(self, stream: BinaryIO, start: Start) -> Iterator[MarkedLine]:
        checked = self._checked(self._read(stream, start), start)
        if os.fstat(stream.fileno()).st_size > KEPT_FILE_BYTES_MAX:
            self._report.bar.start("checking", None)
            for _ in checked:
                pass
            self._say_warnings()
            return self._read(stream, start, skip_lines=start.mark.lines)
        kept = [(line, mark) for line, mark in checked if not start.skips(line.line)]
        self._say_warnings()
        return iter(kept)

    def _checked(self, lines: Iterator[MarkedLine], start: Start) -> Iterator[MarkedLine]:
        """The lines, of which those that an earlier run saw confirmed are counted, and the others forecast."""
        number = 0
        for line, mark in lines:
            number = line.line
            if number % SHOWN_EVERY == 0:
                self._report.bar.advance_to(number)
            if isinstance(line, IntentLine):
                if start.skips(number):
                    self._report.tally.skipped += 1
                elif number > start.duplicate_lines:
                    self._forecast.take(line.intent)
            yield line, mark
        self._lines_total = number

    def _say_warnings(self) -> None:
        for sentence in self._forecast.sentences():
            self._report.say(sentence)

    # ---- what to run next ----

    def _what_next(self) -> str:
        is_pipe = self._source.is_pipe
        command = escaped(self._options.next_command(self._source.batch, resume=not is_pipe))
        again = "publish the same again from its first line"
        if is_pipe:
            return f"{again} with `{command}`: what has arrived is dropped as a duplicate"
        if self._progress.why_not_kept is None:
            return f"go on with `{command}`"
        if self._options.again:
            return "`signalq orders list` says which of them have arrived: --again would order those once more"
        return f"{again}: what has arrived is dropped as a duplicate"
