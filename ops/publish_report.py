"""What a person sees of `signalq publish`: a progress bar, the bad lines, and what it came to."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from ops.escaping import escaped
from ops.publishing import Tally
from ops.render import console, plural, print_json
from producers.files.reader import BadLine, IntentLine

BAR_COLUMNS = 32


class Report:
    """Tells of each line as it is dealt with; `lines_total` is None where nobody knows (a pipe, one intent).

    What was published goes to standard output, everything else to standard error.
    """

    def __init__(self, *, as_json: bool, from_file: bool, lines_total: int | None = None) -> None:
        self._as_json = as_json
        self._from_file = from_file
        self._bad = 0
        self._errors = console(stderr=True)
        # JSON on the same terminal would run through the bar.
        wanted = from_file and self._errors.is_terminal and not (as_json and sys.stdout.isatty())
        self._progress = Progress(
            TextColumn("publishing"),
            BarColumn(BAR_COLUMNS),
            MofNCompleteColumn(),
            TextColumn("lines"),
            TimeElapsedColumn(),
            console=self._errors,
            transient=True,
            disable=not wanted,
            # Or the bar would take our standard output for its own, also where that is a file.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._progress.add_task("publishing", total=lines_total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def published(self, line: IntentLine) -> None:
        """An intent was confirmed."""
        self._progress.update(self._task, completed=line.line)
        connector, action = line.intent.connector_name, line.intent.action
        if self._as_json:
            number = line.line if self._from_file else None
            print_json({"line": number, "message_id": line.message_id, "connector": connector, "action": action})
        elif not self._from_file:
            console().print(f"published {action} for {escaped(connector)}, message_id {escaped(line.message_id)}")

    def bad(self, line: BadLine) -> None:
        """A line held no intent."""
        self._bad += 1
        self._progress.update(self._task, completed=line.line)
        self._errors.print(f"line {line.line}: {escaped(line.problem)}")

    def finish(self, tally: Tally, *, again: bool) -> int:
        """Say what it came to, and give the exit status."""
        if self._from_file:
            said = f"published {plural(tally.published, 'intent')}"
            said += f", {plural(self._bad, 'line was bad', 'lines were bad')}" if self._bad else ""
            console(stderr=self._as_json).print(said)
        if tally.unconfirmed:
            self._errors.print(f"signalq: {self._unconfirmed(tally, again=again)}")
        return 1 if self._bad or tally.unconfirmed else 0

    def _unconfirmed(self, tally: Tally, *, again: bool) -> str:
        if not self._from_file:
            return "RabbitMQ did not confirm it: run the same command with the same --message-id once it is reachable"
        what = f"from line {tally.unconfirmed_from_line} on RabbitMQ confirmed nothing or not everything"
        if again:
            return f"{what}; with --again a second run orders everything twice: publish the rest of the file"
        return f"{what}: publish the same file again once it is reachable, what has arrived is dropped as a duplicate"
