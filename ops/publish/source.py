"""The options of a run, the source of its lines (a file or a pipe), and the lines read from it."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from signalq.message.intent import OrderIntent, intent_from_fields
from signalq.ops.publish.progress import NO_LINES
from signalq.producers.files.marks import Mark, MarkedLines
from signalq.producers.files.reader import BadLine, Identities, IntentLine, bounded_lines, read_csv, read_jsonl
from signalq.settings.sections import Settings

BATCH_BYTES = 8

MarkedLine = tuple[IntentLine | BadLine, Mark | None]
"""A line, and how far the file was read with it."""


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """The options of one run; without a `file` it publishes one intent from flags."""

    config: Path | None = None
    file: str | None = None
    strategy: str | None = None
    message_id: str | None = None
    file_format: str | None = None
    again: bool = False
    batch: str | None = None
    resume: bool = False
    rate_per_s: float | None = None
    wait_s: float | None = None
    is_dry_run: bool = False
    as_json: bool = False

    def next_command(self, batch: str | None, *, resume: bool) -> str:
        """The command line that goes on with this run: the same options, and `batch` for its lines."""
        words = ["signalq"]
        if self.config is not None:
            words += ["--config", str(self.config)]
        words += ["publish", *(["--resume"] if resume else [])]
        for name, value in (("--batch", batch), ("--strategy", self.strategy), ("--format", self.file_format)):
            if value is not None:
                words += [name, value]
        if self.rate_per_s is not None:
            words += ["--rate", f"{self.rate_per_s:g}"]
        if self.wait_s is not None:
            words.append(f"--wait={self.wait_s:g}")
        return shlex.join([*words, self.file or "-"])


@dataclass(frozen=True, slots=True)
class LineSource:
    """A file that can be read again, or a pipe that is read once.

    `batch` names the lines; without one, the file does. `has_progress` says whether a later run knows the lines again.
    """

    file: str
    kind: str
    batch: str | None
    is_pipe: bool = False
    has_progress: bool = True

    @classmethod
    def of_pipe(cls, kind: str, options: PublishOptions) -> LineSource:
        """A pipe; without a batch of its own, or with --again, its lines get a batch that is made up here."""
        if options.batch is not None and not options.again:
            return cls("-", kind, options.batch, is_pipe=True)
        made_up = f"{options.batch or 'pipe'}-{secrets.token_hex(BATCH_BYTES)}"
        return cls("-", kind, made_up, is_pipe=True, has_progress=False)

    @property
    def title(self) -> str:
        """The name of what is published, for people."""
        return f"the batch {self.batch}" if self.batch is not None else self.file

    def read(
        self, settings: Settings, stream: BinaryIO, salt: bytes, *, expected: Mark = NO_LINES, skip_lines: int = 0
    ) -> Iterator[MarkedLine]:
        """The lines behind the first `skip_lines`; a file is read from its beginning.

        Raises FileChanged if the lines up to `expected` are others now.
        """
        by_batch = Identities.of_batch(self.batch, salt) if self.batch is not None else None
        identities = by_batch or Identities.of_file(Path(self.file), salt)
        if not self.is_pipe:
            stream.seek(0)

        def make_intent(fields: Mapping[str, object]) -> OrderIntent:
            connector = fields.get("connectorName")
            extra_fields = settings.connector(connector).extra_fields if isinstance(connector, str) else ()
            return intent_from_fields(fields, extra_fields=extra_fields, delay_max_s=settings.delivery.delay_max_s)

        lines = MarkedLines(bounded_lines(stream), expected=expected)
        if self.kind == "jsonl":
            read = read_jsonl(lines, identities=identities, make_intent=make_intent, skip_lines=skip_lines)
        else:
            extra_fields = {name for connector in settings.connectors.values() for name in connector.extra_fields}
            read = read_csv(
                lines, identities=identities, make_intent=make_intent, extra_fields=extra_fields, skip_lines=skip_lines
            )
        for line in read:
            yield line, lines.mark()


def is_unchanged(mark: Mark, stream: BinaryIO) -> bool:
    """Whether the lines of a file up to the mark are the same as then."""
    stream.seek(0)
    lines = MarkedLines(bounded_lines(stream))
    for number, _ in enumerate(lines, start=1):
        if number == mark.lines:
            break
    return mark in (NO_LINES, lines.mark())
