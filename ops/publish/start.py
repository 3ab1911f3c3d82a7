"""Where a run over a file or a batch begins, by the progress of earlier runs, and the sentence about these."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from signalq.ops.publish.progress import NO_LINES, OfAnEarlierVersion, Progress, ProgressRecord
from signalq.ops.publish.source import LineSource, PublishOptions, is_unchanged
from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.files.marks import Mark
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

    def skips(self, line: int) -> bool:
        """Whether the run does not send this line: an earlier one dealt with it."""
        return line <= self.mark.lines

    @property
    def duplicate_lines(self) -> int:
        """The number of first lines that are duplicates in this run."""
        return self.known.lines if not self.salt else 0


class StartFinder:
    """Finds the start of a run; `say` is called with what a person should know of earlier runs."""

    def __init__(
        self,
        settings: Settings,
        options: PublishOptions,
        source: LineSource,
        progress: Progress,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._options = options
        self._source = source
        self._progress = progress
        self._say = say

    def of_pipe(self) -> Start:
        """The start of a pipe. It is read once, so its duplicates can't be counted before its lines come."""
        before = self._load()
        if before is not None and before.known_lines:
            self._say(
                f"{self._source.title} was published before, at {before.at}: each line that is where it was and as it "
                "was is dropped as a duplicate, any other is a new order; --again orders all of them"
            )
        return Start(is_changed=before is not None)

    def of_file(self, stream: BinaryIO) -> Start:
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
        self._say(self._published_before(before, unchanged=unchanged))
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
            self._say(str(error))
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
        self._say(f"{file} was published before, by an earlier version of signalq: all its lines are new orders")

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
