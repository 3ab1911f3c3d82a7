"""One run over a file: from its beginning or behind what an earlier run saw confirmed, and what to run next.

A file is read twice: once to tell what is known of it before anything is sent, and once to send it. A pipe is read
once, and told of as it comes.
"""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from signalq.message.intent import OrderIntent, intent_from_fields
from signalq.ops.publish.forecast import Forecast
from signalq.ops.publish.line_publisher import LinePublisher, MarkedLine, Tally
from signalq.ops.publish.progress import NO_LINES, OfAnEarlierVersion, Progress, Published
from signalq.ops.publish.report import Report
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.producers.files.identities import Identities
from signalq.producers.files.marks import FileChanged, Mark, MarkedLines
from signalq.producers.files.reader import BadLine, IntentLine, bounded_lines, read_csv, read_jsonl
from signalq.settings.sections import Settings

SALT_BYTES = 16
BATCH_BYTES = 8


@dataclass(frozen=True, slots=True)
class Start:
    """Where a run begins, and the salt of its identities; up to `known` its lines are duplicates."""

    mark: Mark = NO_LINES
    salt: bytes = b""
    known: Mark = NO_LINES
    # Which lines of it are duplicates nobody can tell: the file was published before, and has changed.
    is_changed: bool = False


@dataclass(frozen=True, slots=True)
class FileRun:
    """How this file is published; `progress` is None for a pipe whose batch is made up for this run.

    `batch` is what its lines are known by; None means by the file. `options` are those of the command line that a run
    which goes on has to be given again.
    """

    file: str
    kind: str
    progress: Progress | None
    batch: str | None
    is_again: bool
    is_resumed: bool
    options: Mapping[str, object]
    is_pipe: bool = False

    @classmethod
    def of_pipe(
        cls,
        file: str,
        kind: str,
        progress: Progress | None,
        *,
        batch: str | None,
        is_again: bool,
        options: Mapping[str, object],
    ) -> FileRun:
        """Lines that come once: without a batch they are known by one that is made up here, and told if need be."""
        if batch is None or is_again:
            progress, batch = None, f"{batch or 'pipe'}-{secrets.token_hex(BATCH_BYTES)}"
        options = {**options, "--batch": batch}
        return cls(file, kind, progress, batch, is_again=False, is_resumed=False, options=options, is_pipe=True)

    def publish(
        self,
        settings: Settings,
        stream: BinaryIO,
        report: Report,
        *,
        strategy: str | None,
        rate_per_s: float | None,
    ) -> int:
        """Publish it; returns the exit status. Raises CommandFailed where it can't go on where it was left."""
        forecast = Forecast(settings, rate_per_s=rate_per_s)
        try:
            if self.is_pipe or self.progress is None:
                start, skipped = self._start_of_pipe(report), 0
                lines = self._told_as_they_come(self._read(settings, stream, start), forecast, report)
            else:
                begin_at = stream.tell()
                start = self._start(settings, stream, report, self.progress)
                stream.seek(begin_at)
                skipped = self._forewarn(self._read(settings, stream, start), start, forecast, report)
                stream.seek(begin_at)
                self._begin(self.progress, start)
                lines = self._read(settings, stream, start, skip_lines=start.mark.lines)

            async def run() -> Tally:
                publisher = LinePublisher(
                    settings,
                    strategy=strategy,
                    report=report,
                    rate_per_s=rate_per_s,
                    progress=self.progress,
                    known_lines=start.known.lines if not start.salt else 0,
                )
                with report:
                    return await publisher.publish(lines)

            tally = asyncio.run(run())
        except FileChanged as error:
            raise CommandFailed(f"{self.file} can't be resumed, {error}{self._what_to_do()}") from None
        return report.finish(
            tally,
            what_next=self._what_next(),
            skipped=skipped,
            duplicates=None if start.is_changed else tally.known,
            not_kept=self.progress.why_not_kept if self.progress is not None else None,
        )

    def _read(self, settings: Settings, stream: BinaryIO, start: Start, *, skip_lines: int = 0) -> Iterator[MarkedLine]:
        if self.batch is not None:
            identities = Identities.of_batch(self.batch, start.salt)
        else:
            identities = Identities.of_file(Path(self.file), start.salt)
        expected = start.mark if self.is_resumed else None
        return _marked(settings, stream, self.kind, identities, expected, skip_lines)

    # ---- before anything is sent ----

    def _start(self, settings: Settings, stream: BinaryIO, report: Report, progress: Progress) -> Start:
        """Where it begins; tells of the runs before."""
        try:
            before = self._before(progress, report)
        except OfAnEarlierVersion as earlier:
            return self._start_after_earlier_version(earlier.mark, stream, report)
        if self.is_resumed:
            if before is None:
                raise CommandFailed(
                    "there is nothing to resume: no progress of this file, with this broker, prefix, strategy and "
                    f"batch, is kept in {progress.path.parent}; publish it without --resume"
                )
            holds = _holds(before.known, stream)
            known = before.known if holds else NO_LINES
            return Start(before.mark, bytes.fromhex(before.salt), known, is_changed=not holds)
        salt = secrets.token_bytes(SALT_BYTES) if self.is_again else b""
        if before is None or not (before.lines or before.known_lines):
            return Start(salt=salt)
        holds = _holds(before.known, stream)
        report.say(self._published_before(before, settings, holds=holds))
        known = before.known if holds else NO_LINES
        return Start(salt=salt, known=known, is_changed=not holds and not self.is_again)

    def _before(self, progress: Progress, report: Report) -> Published | None:
        """What the runs before did; tells where that can't be read. Raises OfAnEarlierVersion."""
        try:
            return progress.load()
        except OfAnEarlierVersion:
            raise
        except CommandFailed as error:
            if self.is_resumed:
                raise CommandFailed(f"{error}: publish without --resume") from None
            report.say(str(error))
            return None

    @property
    def _what(self) -> str:
        """What is published, as it is told."""
        return f"the batch {self.batch}" if self.batch is not None else self.file

    def _start_of_pipe(self, report: Report) -> Start:
        """It is read once: which of its lines are duplicates, nobody can tell before they come."""
        if self.progress is None:
            return Start()
        before = self._before(self.progress, report)
        if before is not None and before.known_lines:
            report.say(
                f"{self._what} was published before, at {before.at}: each line that is where it was and as it was is "
                "dropped as a duplicate, any other is a new order; --again orders all of them"
            )
        start = Start(is_changed=before is not None)
        self._begin(self.progress, start)
        return start

    def _start_after_earlier_version(self, mark: Mark, stream: BinaryIO, report: Report) -> Start:
        """Its identities were others: what it published, nobody would know again."""
        if not self.is_again and (self.is_resumed or (mark.lines and _holds(mark, stream))):
            raise CommandFailed(
                f"{self.file} was published up to line {mark.lines:,} by an earlier version of signalq, under other "
                "identities, so the consumer would not know its lines again: publish what is behind that line as a "
                "file of its own, or order all of it once more with --again"
            )
        report.say(f"{self.file} was published before, by an earlier version of signalq: all its lines are new orders")
        return Start(salt=secrets.token_bytes(SALT_BYTES) if self.is_again else b"")

    def _published_before(self, before: Published, settings: Settings, *, holds: bool) -> str:
        said = f"{self._what} was published before, at {before.at}"
        if self.is_again:
            return f"{said}: --again orders all of it once more"
        known = before.known
        if not holds:
            return (
                f"{said}, and has changed within its first {known.lines:,} lines since: each line that is where "
                "it was and as it was is dropped as a duplicate, any other is a new order; --again orders all of them"
            )
        if not known.lines:
            return f"{said}, with --again, under other identities: this orders all of it once more"
        said += (
            f", up to line {known.lines:,}: these lines are dropped as duplicates; --again orders them once more, "
            "--resume does not send them"
        )
        kept = timedelta(days=settings.ledger.retention_days)
        if datetime.now(UTC) - datetime.fromisoformat(before.at) > kept:
            said += f"; but a ledger that keeps orders for {kept.days or kept} days may know them no more"
        return said

    def _forewarn(self, lines: Iterator[MarkedLine], start: Start, forecast: Forecast, report: Report) -> int:
        """Read all of it, and say what is to be said before it is sent; how many intents were confirmed before."""
        skipped = 0
        for line, _ in lines:
            if isinstance(line, BadLine):
                continue
            if line.line <= start.mark.lines:
                skipped += 1
            elif start.salt or line.line > start.known.lines:
                forecast.take(line.intent)
        for sentence in forecast.sentences():
            report.say(sentence)
        return skipped

    def _told_as_they_come(
        self, lines: Iterator[MarkedLine], forecast: Forecast, report: Report
    ) -> Iterator[MarkedLine]:
        for line, mark in lines:
            if isinstance(line, IntentLine):
                for sentence in forecast.take(line.intent):
                    report.say(sentence)
            yield line, mark

    def _begin(self, progress: Progress, start: Start) -> None:
        if not self.is_resumed:
            progress.begin(start.salt, known_holds=bool(start.known.lines))

    # ---- what to run next ----

    def _what_to_do(self) -> str:
        kept = f" (kept in {self.progress.path})" if self.progress is not None else ""
        return (
            f"{kept}: publish it without --resume, the consumer drops the lines that are where they were and as they "
            "were, or put them back"
        )

    def _what_next(self) -> str:
        again = "publish the same again from its first line"
        if self.is_pipe or self.progress is None:
            return f"{again} with `{escaped(self._next_command())}`: what has arrived is dropped as a duplicate"
        if self.progress.why_not_kept is None:
            return f"go on with `{escaped(self._next_command())}`"
        if self.is_again:
            return "`signalq orders list` says which of them have arrived: --again would order those once more"
        return f"{again}: what has arrived is dropped as a duplicate"

    def _next_command(self) -> str:
        config = self.options.get("--config")
        words = ["signalq", *(["--config", str(config)] if config is not None else []), "publish"]
        if not self.is_pipe:
            words.append("--resume")
        for name, value in self.options.items():
            if value is not None and name != "--config":
                words += [name, f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join([*words, self.file])


def _holds(mark: Mark, stream: BinaryIO) -> bool:
    """Whether the lines up to the mark are those that they were; leaves the stream where it was."""
    begin_at = stream.tell()
    lines = MarkedLines(bounded_lines(stream), note_at=mark.lines)
    for _ in lines:
        if lines.noted is not None:
            break
    stream.seek(begin_at)
    return (lines.noted or NO_LINES) == mark


def _marked(
    settings: Settings, stream: BinaryIO, kind: str, identities: Identities, expected: Mark | None, skip_lines: int
) -> Iterator[MarkedLine]:
    """The lines, each with how far the file was read."""

    def make_intent(fields: Mapping[str, object]) -> OrderIntent:
        connector = fields.get("connectorName")
        extra_fields = settings.connector(connector).extra_fields if isinstance(connector, str) else ()
        return intent_from_fields(fields, extra_fields=extra_fields, delay_max_s=settings.delivery.delay_max_s)

    lines = MarkedLines(bounded_lines(stream), expected=expected)
    if kind == "jsonl":
        read = read_jsonl(lines, identities=identities, make_intent=make_intent, skip_lines=skip_lines)
    else:
        extra_fields = {name for connector in settings.connectors.values() for name in connector.extra_fields}
        read = read_csv(
            lines, identities=identities, make_intent=make_intent, extra_fields=extra_fields, skip_lines=skip_lines
        )
    for line in read:
        yield line, lines.mark()
