"""One run over a file: from its beginning or behind what an earlier run saw confirmed, and what to run next."""

from __future__ import annotations

import asyncio
import secrets
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from consumer.settings import Settings
from ops.errors import CommandFailed
from ops.publish_progress import Progress
from ops.publish_report import Report
from ops.publishing import LinePublisher, MarkedLine, Tally
from producers.files.identities import Identities
from producers.files.marks import FileChanged, Mark, MarkedLines
from producers.files.reader import bounded_lines, read_csv, read_jsonl
from signalq.intent import OrderIntent, intent_from_fields

SALT_BYTES = 16


@dataclass(frozen=True, slots=True)
class FileRun:
    """How this file is published; `progress` is None for a pipe, of which none can be kept.

    `options` are those of the command line that a run which goes on has to be given again.
    """

    file: str
    kind: str
    progress: Progress | None
    is_again: bool
    is_resumed: bool
    options: Mapping[str, object]

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
        begun, salt = self._begin()
        lines = _marked(settings, stream, self.kind, Identities(salt), begun)

        async def run() -> Tally:
            publisher = LinePublisher(
                settings, strategy=strategy, report=report, rate_per_s=rate_per_s, progress=self.progress
            )
            with report:
                return await publisher.publish(lines)

        try:
            tally = asyncio.run(run())
        except FileChanged as error:
            raise CommandFailed(f"{self.file} can't be resumed, {error}{self._what_to_do()}") from None
        return report.finish(
            tally,
            next_command=self._next_command() if self.progress is not None else None,
            skipped_lines=begun.lines if begun is not None else 0,
            not_kept=self.progress.why_not_kept if self.progress is not None else None,
        )

    def _begin(self) -> tuple[Mark | None, bytes]:
        """Where it begins, and the salt of its identities."""
        if self.progress is not None and self.is_resumed:
            before = self.progress.load()
            return before.mark, bytes.fromhex(before.salt)
        salt = secrets.token_bytes(SALT_BYTES) if self.is_again else b""
        if self.progress is not None:
            self.progress.begin(salt)
        return None, salt

    def _what_to_do(self) -> str:
        kept = f" (kept in {self.progress.path})" if self.progress is not None else ""
        return (
            f"{kept}: publish it without --resume, the consumer drops the lines that it has seen, "
            "or put them back as they were"
        )

    def _next_command(self) -> str:
        config = self.options.get("--config")
        words = ["signalq", *(["--config", str(config)] if config is not None else []), "publish", "--resume"]
        for name, value in self.options.items():
            if value is not None and name != "--config":
                words += [name, f"{value:g}" if isinstance(value, float) else str(value)]
        return shlex.join([*words, self.file])


def _marked(
    settings: Settings, stream: BinaryIO, kind: str, identities: Identities, begun: Mark | None
) -> Iterator[MarkedLine]:
    """The lines, each with how far the file was read; behind `begun`, where that is given."""

    def make_intent(fields: Mapping[str, object]) -> OrderIntent:
        connector = fields.get("connectorName")
        extra_fields = settings.connector(connector).extra_fields if isinstance(connector, str) else ()
        return intent_from_fields(fields, extra_fields=extra_fields, delay_max_s=settings.delivery.delay_max_s)

    lines = MarkedLines(bounded_lines(stream), expected=begun)
    skip_lines = begun.lines if begun is not None else 0
    if kind == "jsonl":
        read = read_jsonl(lines, identities=identities, make_intent=make_intent, skip_lines=skip_lines)
    else:
        extra_fields = {name for connector in settings.connectors.values() for name in connector.extra_fields}
        read = read_csv(
            lines, identities=identities, make_intent=make_intent, extra_fields=extra_fields, skip_lines=skip_lines
        )
    for line in read:
        yield line, lines.mark()
