"""The source of a run's lines, a file or a pipe, and the lines read from it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from signalq.message.intent import OrderIntent, intent_from_fields
from signalq.ops.publish.options import PublishOptions
from signalq.ops.publish.progress import NO_LINES
from signalq.producers.files.marks import Mark, MarkedLines
from signalq.producers.files.reader import BadLine, Identities, IntentLine, bounded_lines, read_csv, read_jsonl
from signalq.settings.sections import Settings

BATCH_BYTES = 8

MarkedLine = tuple[IntentLine | BadLine, Mark | None]
"""A line, and how far the file was read with it."""


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
            return cls(options.file or "-", kind, options.batch, is_pipe=True)
        made_up = f"{options.batch or 'pipe'}-{secrets.token_hex(BATCH_BYTES)}"
        return cls(options.file or "-", kind, made_up, is_pipe=True, has_progress=False)

    @property
    def title(self) -> str:
        """The name of what is published, for people."""
        return f"the batch {self.batch}" if self.batch is not None else self.file

    def read(
        self, settings: Settings, stream: BinaryIO, salt: bytes, *, expected: Mark | None = None, skip_lines: int = 0
    ) -> Iterator[MarkedLine]:
        """The lines behind the first `skip_lines`. Raises FileChanged if those up to `expected` are others now."""
        if self.batch is not None:
            identities = Identities.of_batch(self.batch, salt)
        else:
            identities = Identities.of_file(Path(self.file), salt)

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
    """Whether the lines up to the mark are the same as then; leaves the stream where it was."""
    begin_at = stream.tell()
    lines = MarkedLines(bounded_lines(stream))
    for number, _ in enumerate(lines, start=1):
        if number == mark.lines:
            break
    stream.seek(begin_at)
    return mark in (NO_LINES, lines.mark())
