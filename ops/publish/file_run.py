"""One run over a file or a pipe: where it begins, what is warned about, what is published, and what to run next.

A file is read twice: once for the warnings before anything is sent, and once to send it. A pipe is read once, and its
warnings come with its lines.
"""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import BinaryIO

from signalq.ops.publish.forecast import Forecast
from signalq.ops.publish.line_publisher import LinePublisher
from signalq.ops.publish.progress import NO_LINES, OfAnEarlierVersion, Progress, ProgressRecord
from signalq.ops.publish.report import PublishReport
from signalq.ops.publish.source import LineSource, MarkedLine, PublishOptions, is_unchanged
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.producers.files.marks import FileChanged, Mark
from signalq.producers.files.reader import BadLine, IntentLine
from signalq.settings.sections import Settings

SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Start:
    """The mark where a run begins, and the salt of its identities.

    The lines up to `known` were published before under identities without a salt, and are still the same.
    """

    mark: Mark = NO_LINES
    salt: bytes = b""
    known: Mark = NO_LINES
    # The file was published before and has changed, so the number of duplicates is not known.
    is_changed: bool = False

    @property
    def duplicate_lines(self) -> int:
        """The number of first lines that are duplicates in this run."""
        return self.known.lines if not self.salt else 0


class FileRun:
    """Publishes the lines of one source."""

    def __init__(self, settings: Settings, options: PublishOptions, source: LineSource, report: PublishReport) -> None:
        self._settings = settings
        self._options = options
        self._source = source
        self._report = report
        self._forecast = Forecast(settings, rate_per_s=options.rate_per_s)
        self._progress = Progress(
            settings, source.file, strategy=options.strategy, kind=source.kind, batch=source.batch
        )

    def publish(self, stream: BinaryIO) -> int:
        """Publish all lines; returns the exit status. Raises CommandFailed if it can't go on where it was left."""
        try:
            start, lines = self._from_pipe(stream) if self._source.is_pipe else self._from_file(stream)
            if start.is_changed:
                self._report.tally.duplicates = None
            progress = self._progress if self._source.has_progress else None
            publisher = LinePublisher(
                self._settings, self._options, self._report, progress=progress, known_lines=start.duplicate_lines
            )
            with self._report:
                asyncio.run(publisher.publish(lines))
        except FileChanged as error:
            raise CommandFailed(
                f"{self._source.file} can't be resumed, {error} (kept in {self._progress.path}): publish it without "
                "--resume, the consumer drops the lines that are where they were and as they were, or put them back"
            ) from None
        return self._report.finish(what_next=self._what_next(), not_kept=self._progress.why_not_kept)

    # ---- before anything is sent ----

    def _from_pipe(self, stream: BinaryIO) -> tuple[Start, Iterator[MarkedLine]]:
        start = Start()
        if self._source.has_progress:
            start = self._start_of_pipe()
            self._progress.begin(start.salt, known_holds=False)
        return start, self._warned_as_they_come(self._source.read(self._settings, stream, start.salt))

    def _from_file(self, stream: BinaryIO) -> tuple[Start, Iterator[MarkedLine]]:
        start = self._start_of_file(stream)
        read = partial(self._source.read, self._settings, stream, start.salt, expected=start.mark)
        self._warn(read(), start)
        if not self._options.resume:
            self._progress.begin(start.salt, known_holds=bool(start.known.lines))
        return start, read(skip_lines=start.mark.lines)

    def _warn(self, lines: Iterator[MarkedLine], start: Start) -> None:
        """Read all lines, count the intents that an earlier run saw confirmed, and say all warnings."""
        for line, _ in lines:
            if isinstance(line, BadLine):
                continue
            if line.line <= start.mark.lines:
                self._report.tally.skipped += 1
            elif line.line > start.duplicate_lines:
                self._forecast.take(line.intent)
        for sentence in self._forecast.sentences():
            self._report.say(sentence)

    def _warned_as_they_come(self, lines: Iterator[MarkedLine]) -> Iterator[MarkedLine]:
        for line, mark in lines:
            if isinstance(line, IntentLine):
                for sentence in self._forecast.take(line.intent):
                    self._report.say(sentence)
            yield line, mark

    # ---- where it begins, by the progress of earlier runs ----

    def _start_of_pipe(self) -> Start:
        """The start of a pipe. It is read once, so its duplicates can't be counted before its lines come."""
        before = self._load()
        if before is not None and before.known_lines:
            self._report.say(
                f"{self._source.title} was published before, at {before.at}: each line that is where it was and as it "
                "was is dropped as a duplicate, any other is a new order; --again orders all of them"
            )
        return Start(is_changed=before is not None)

    def _start_of_file(self, stream: BinaryIO) -> Start:
        is_again, is_resumed = self._options.again, self._options.resume
        salt = secrets.token_bytes(SALT_BYTES) if is_again else b""
        try:
            before = self._load()
        except OfAnEarlierVersion as earlier:
            self._check_earlier_version(earlier.mark, stream)
            return Start(salt=salt)
        if is_resumed and before is None:
            raise CommandFailed(
                "there is nothing to resume: no progress of this file, with this broker, prefix, strategy and "
                f"batch, is kept in {self._progress.path.parent}; publish it without --resume"
            )
        if before is None or not (is_resumed or before.lines or before.known_lines):
            return Start(salt=salt)
        unchanged = is_unchanged(before.known, stream)
        known = before.known if unchanged else NO_LINES
        if is_resumed:
            return Start(before.mark, bytes.fromhex(before.salt), known, is_changed=not unchanged)
        self._report.say(self._published_before(before, unchanged=unchanged))
        return Start(salt=salt, known=known, is_changed=not unchanged and not is_again)

    def _load(self) -> ProgressRecord | None:
        """The record of earlier runs; says so if it can't be read. Raises OfAnEarlierVersion."""
        try:
            return self._progress.load()
        except OfAnEarlierVersion:
            raise
        except CommandFailed as error:
            if self._options.resume:
                raise CommandFailed(f"{error}: publish without --resume") from None
            self._report.say(str(error))
            return None

    def _check_earlier_version(self, mark: Mark, stream: BinaryIO) -> None:
        """Refuse the lines that were published under other identities: the consumer would not know them again."""
        file = self._source.file
        if not self._options.again and (self._options.resume or (mark.lines and is_unchanged(mark, stream))):
            raise CommandFailed(
                f"{file} was published up to line {mark.lines:,} by an earlier version of signalq, under other "
                "identities, so the consumer would not know its lines again: publish what is behind that line as a "
                "file of its own, or order all of it once more with --again"
            )
        self._report.say(f"{file} was published before, by an earlier version of signalq: all its lines are new orders")

    def _published_before(self, before: ProgressRecord, *, unchanged: bool) -> str:
        sentence = f"{self._source.title} was published before, at {before.at}"
        known = before.known
        if self._options.again:
            return f"{sentence}: --again orders all of it once more"
        if not unchanged:
            return (
                f"{sentence}, and has changed within its first {known.lines:,} lines since: each line that is where "
                "it was and as it was is dropped as a duplicate, any other is a new order; --again orders all of them"
            )
        if not known.lines:
            return f"{sentence}, with --again, under other identities: this orders all of it once more"
        sentence += (
            f", up to line {known.lines:,}: these lines are dropped as duplicates; --again orders them once more, "
            "--resume does not send them"
        )
        days = self._settings.ledger.retention_days
        if datetime.now(UTC) - datetime.fromisoformat(before.at) > timedelta(days=days):
            sentence += f"; but a ledger that keeps orders for {days:g} days may know them no more"
        return sentence

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
