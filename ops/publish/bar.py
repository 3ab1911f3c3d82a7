"""The progress bar of `signalq publish FILE`, and the lines above it. rich is imported for a terminal alone."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BAR_COLUMNS = 20


class ProgressBar:
    """A bar on standard error while it is started, if that is a terminal; else nothing but the lines.

    It counts the lines that were dealt with, and with `counts_outcomes` the outcomes beside them.
    """

    def __init__(self, *, wanted: bool, counts_outcomes: bool) -> None:
        self._wanted = wanted and sys.stderr.isatty()
        self._counts_outcomes = counts_outcomes
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is a bar on the terminal now."""
        return self._progress is not None

    def start(self, doing: str, total: int | None) -> None:
        """Begin to count `total` lines (None: not known) at what is being done."""
        if not self._wanted:
            return
        if self._progress is None:
            self._progress = self._make()
            self._progress.start()
            self._task = self._progress.add_task(doing, total=total, outcomes="")
        elif self._task is not None:
            self._progress.reset(self._task, total=total, description=doing)

    def stop(self) -> None:
        """Take the bar away."""
        progress, self._progress = self._progress, None
        if progress is not None:
            progress.stop()

    def advance_to(self, line: int) -> None:
        """Count every line up to this one."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=line)

    def count_outcomes(self, known: int) -> None:
        """Show how many outcomes have come."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, outcomes=f"{known:,} outcomes")

    def print(self, text: str) -> None:
        """Write one line to standard error, above the bar."""
        if self._progress is not None:
            self._progress.console.print(text)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def _make(self) -> Progress:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        from signalq.ops.terminal.render import console  # noqa: PLC0415

        outcomes = [TextColumn("{task.fields[outcomes]}")] if self._counts_outcomes else []
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(BAR_COLUMNS),
            MofNCompleteColumn(),
            TextColumn("lines"),
            *outcomes,
            TimeElapsedColumn(),
            console=console(stderr=True),
            transient=True,
            # Otherwise the bar would take over our standard output, even if that is a file.
            redirect_stdout=False,
            redirect_stderr=False,
        )
