"""The counts of a run of `signalq publish`, and its output: a progress bar, the bad lines, and the summary."""

import sys
import time
from dataclasses import dataclass
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from signalq.errors import Unroutable
from signalq.ops.terminal.errors import DONE, FAILED, INTERRUPTED
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.render import Row, ascii_json, console, json_line, plural
from signalq.producers.files.reader import BadLine, IntentLine

BAR_COLUMNS = 32


@dataclass(slots=True)
class RunTally:
    """The counts of lines by their results.

    `duplicates` of the `published` lines were published before, too (None: not known). `skipped` intents were confirmed
    by an earlier run. Every line up to `through_line` is dealt with.
    """

    published: int = 0
    duplicates: int | None = 0
    skipped: int = 0
    bad: int = 0
    unconfirmed: int = 0
    through_line: int = 0
    refused: str | None = None
    stopped_by: str | None = None


class PublishReport:
    """Counts and shows each line as it is dealt with; `message_id` is that of one intent from flags, without a file.

    `lines_total` is None if it is not known (a pipe, one intent). Published intents go to standard output; with JSON
    that is an object an intent and nothing else, and the summary is the last line of standard error.
    """

    def __init__(self, *, as_json: bool, message_id: str | None = None, lines_total: int | None = None) -> None:
        self.tally = RunTally()
        self._as_json = as_json
        self._message_id = message_id
        self._from_file = message_id is None
        self._began_s = time.monotonic()
        self._errors = console(stderr=True)
        # JSON on the same terminal would run through the bar.
        wanted = self._from_file and self._errors.is_terminal and not (as_json and sys.stdout.isatty())
        self._progress = Progress(
            TextColumn("publishing"),
            BarColumn(BAR_COLUMNS),
            MofNCompleteColumn(),
            TextColumn("lines"),
            TimeElapsedColumn(),
            console=self._errors,
            transient=True,
            disable=not wanted,
            # Otherwise the bar would take over our standard output, even if that is a file.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("publishing", total=lines_total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.stop()

    def published(self, line: IntentLine, *, is_duplicate: bool) -> None:
        """Show an intent that was confirmed."""
        self.tally.published += 1
        if self.tally.duplicates is not None:
            self.tally.duplicates += is_duplicate
        self._progress.update(self._task, completed=line.line)
        connector, action = line.intent.connector_name, line.intent.action
        if self._as_json:
            number = line.line if self._from_file else None
            row = {"line": number, "message_id": line.message_id, "connector": connector, "action": action}
            self._write(json_line(row))
        elif not self._from_file:
            self._write(f"published {action} for {escaped(connector)}, message_id {escaped(line.message_id)}")

    def bad(self, line: BadLine) -> None:
        """Show a line that holds no intent."""
        self.tally.bad += 1
        self._progress.update(self._task, completed=line.line)
        self._errors.print(f"line {line.line}: {escaped(line.problem)}")

    def unconfirmed(self, error: Exception) -> None:
        """Count an intent that was not confirmed; the summary says what to do."""
        self.tally.unconfirmed += 1
        if isinstance(error, Unroutable):
            self.tally.refused = self.tally.refused or str(error)

    def say(self, sentence: str) -> None:
        """Show a sentence about the whole run."""
        self._errors.print(f"signalq: {escaped(sentence)}")

    def finish(self, *, what_next: str = "", not_kept: str | None = None) -> int:
        """Show the summary, and return the exit status.

        `what_next` is the advice for lines that are not confirmed; `not_kept` says why the progress was not written.
        """
        tally, seconds = self.tally, time.monotonic() - self._began_s
        if self._from_file and not self._as_json:
            self._write(_summary(tally, seconds))
        if not_kept is not None:
            self.say(f"--resume will not know how far it came: {not_kept}")
        if open_lines := self._what_is_open(what_next):
            self._errors.print(f"signalq: {open_lines}")
        is_empty = self._from_file and not (tally.published or tally.bad or tally.unconfirmed or tally.skipped)
        if is_empty and tally.stopped_by is None:
            # An export that failed is likelier than a day without orders, and exit status 0 would hide it.
            self.say("the input holds no intent: nothing was published")
        if self._from_file and self._as_json:
            self._errors.print(ascii_json(_row(tally, seconds)))
        if tally.stopped_by is not None:
            return INTERRUPTED
        return FAILED if tally.bad or tally.unconfirmed or is_empty else DONE

    def _write(self, text: str) -> None:
        """Write to standard output, and if that fails to standard error: the intent is published all the same."""
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError:
            self._errors.print(f"signalq: standard output can't be written, so it is said here: {text}")

    def _what_is_open(self, what_next: str) -> str | None:
        """One sentence on the lines that are not confirmed, and what to run next; None if there are none."""
        tally = self.tally
        if tally.refused:
            return f"{tally.refused}; then {what_next}" if self._from_file else tally.refused
        if not tally.unconfirmed and tally.stopped_by is None:
            return None
        if self._message_id is not None:
            return (
                "RabbitMQ did not confirm it: once it is reachable, run the same command with "
                f"--message-id {escaped(self._message_id)}, that orders it once"
            )
        why = f"stopped by {tally.stopped_by}" if tally.stopped_by else "RabbitMQ does not confirm any more"
        line = tally.through_line
        sentence = f"{why}: " + (f"everything up to line {line:,} is dealt with" if line else "nothing is confirmed")
        if tally.unconfirmed:
            sentence += f", {plural(tally.unconfirmed, 'intent')} behind it may have arrived or not"
        return f"{sentence}; {what_next}"


def _summary(tally: RunTally, seconds: float) -> str:
    parts = [f"published {plural(tally.published, 'intent')}"]
    if tally.duplicates:
        parts.append(f"{tally.duplicates:,} of them published before, and dropped as duplicates")
    if tally.bad:
        parts.append(plural(tally.bad, "line was bad", "lines were bad"))
    if tally.skipped:
        parts.append(f"{plural(tally.skipped, 'intent')} skipped: confirmed before")
    if tally.published:
        parts.append(f"in {seconds:,.1f} s, {_rate(tally, seconds):,.4g} per s")
    return ", ".join(parts)


def _rate(tally: RunTally, seconds: float) -> float:
    return tally.published / max(seconds, 1e-3)


def _row(tally: RunTally, seconds: float) -> Row:
    return {
        "published": tally.published,
        "bad": tally.bad,
        "skipped_lines": tally.skipped,
        "duplicates": tally.duplicates,
        "unconfirmed": tally.unconfirmed,
        "through_line": tally.through_line,
        "seconds": round(seconds, 3),
        "rate_per_s": round(_rate(tally, seconds), 1),
        "stopped_by": tally.stopped_by,
    }
