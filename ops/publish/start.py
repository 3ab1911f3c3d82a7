"""The start of a run, by the progress of earlier runs; and the sentences about it before anything is sent."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from signalq.ops.publish.options import PublishOptions
from signalq.ops.publish.progress import NO_LINES, OfAnEarlierVersion, Progress, ProgressRecord
from signalq.ops.publish.source import LineSource, is_unchanged
from signalq.ops.terminal.errors import CommandFailed
from signalq.producers.files.marks import Mark

SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class Start:
    """The mark where a run begins, and the salt of its identities; up to `known` its lines are duplicates."""

    mark: Mark = NO_LINES
    salt: bytes = b""
    known: Mark = NO_LINES
    # The file was published before and has changed, so the number of duplicates is not known.
    is_changed: bool = False


class RunsBefore:
    """The earlier runs of a source, by its progress; `say` gets the sentences about them."""

    def __init__(
        self, source: LineSource, options: PublishOptions, progress: Progress, say: Callable[[str], None]
    ) -> None:
        self._source = source
        self._is_again = options.again
        self._is_resumed = options.resume
        self._progress = progress
        self._say = say

    def start_of_pipe(self) -> Start:
        """The start of a pipe. It is read once, so its duplicates can't be counted before its lines come."""
        before = self._load()
        if before is not None and before.known_lines:
            self._say(
                f"{self._source.title} was published before, at {before.at}: each line that is where it was and as it "
                "was is dropped as a duplicate, any other is a new order; --again orders all of them"
            )
        return Start(is_changed=before is not None)

    def start_of_file(self, stream: BinaryIO, *, kept: timedelta) -> Start:
        """The start of a file; the ledger knows an order for the time `kept`. Raises CommandFailed."""
        try:
            before = self._load()
        except OfAnEarlierVersion as earlier:
            return self._start_after_earlier_version(earlier.mark, stream)
        if self._is_resumed:
            if before is None:
                raise CommandFailed(
                    "there is nothing to resume: no progress of this file, with this broker, prefix, strategy and "
                    f"batch, is kept in {self._progress.path.parent}; publish it without --resume"
                )
            unchanged = is_unchanged(before.known, stream)
            known = before.known if unchanged else NO_LINES
            return Start(before.mark, bytes.fromhex(before.salt), known, is_changed=not unchanged)
        salt = secrets.token_bytes(SALT_BYTES) if self._is_again else b""
        if before is None or not (before.lines or before.known_lines):
            return Start(salt=salt)
        unchanged = is_unchanged(before.known, stream)
        self._say(self._published_before(before, kept, unchanged=unchanged))
        known = before.known if unchanged else NO_LINES
        return Start(salt=salt, known=known, is_changed=not unchanged and not self._is_again)

    def _load(self) -> ProgressRecord | None:
        """The record of earlier runs; says so if it can't be read. Raises OfAnEarlierVersion."""
        try:
            return self._progress.load()
        except OfAnEarlierVersion:
            raise
        except CommandFailed as error:
            if self._is_resumed:
                raise CommandFailed(f"{error}: publish without --resume") from None
            self._say(str(error))
            return None

    def _start_after_earlier_version(self, mark: Mark, stream: BinaryIO) -> Start:
        """The earlier version made other identities, so the consumer would not know its lines again."""
        file = self._source.file
        if not self._is_again and (self._is_resumed or (mark.lines and is_unchanged(mark, stream))):
            raise CommandFailed(
                f"{file} was published up to line {mark.lines:,} by an earlier version of signalq, under other "
                "identities, so the consumer would not know its lines again: publish what is behind that line as a "
                "file of its own, or order all of it once more with --again"
            )
        self._say(f"{file} was published before, by an earlier version of signalq: all its lines are new orders")
        return Start(salt=secrets.token_bytes(SALT_BYTES) if self._is_again else b"")

    def _published_before(self, before: ProgressRecord, kept: timedelta, *, unchanged: bool) -> str:
        sentence = f"{self._source.title} was published before, at {before.at}"
        if self._is_again:
            return f"{sentence}: --again orders all of it once more"
        known = before.known
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
        if datetime.now(UTC) - datetime.fromisoformat(before.at) > kept:
            sentence += f"; but a ledger that keeps orders for {kept.days or kept} days may know them no more"
        return sentence
