"""The output of `signalq dead`: the table, the progress bar, and the summary of replaying or discarding."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from signalq.ops.dead_letters.batches import LetterResult
from signalq.ops.dead_letters.filter import LetterFilter
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.reader import LetterReader, open_letters
from signalq.ops.terminal.render import Column, Row, Spool, console, plural, print_rows, say, shown
from signalq.settings.sections import Settings

# With fewer letters the bar would be gone before a person sees it.
BAR_FROM_LETTERS = 2000
BAR_COLUMNS = 32

COLUMNS = [
    Column("dead_at", "DEAD AT", style="dim"),
    Column("intent_id", "INTENT", plain_only=True),
    Column("generation", "GEN", right=True, plain_only=True),
    Column("reason", "REASON", style="red"),
    Column("connector", "CONNECTOR", style="bold", may_be_cut=True),
    Column("strategy", "STRATEGY", may_be_cut=True),
    Column("action", "ACTION", may_be_cut=True),
    Column("client_order_id", "CLIENT ORDER", may_be_cut=True),
    Column("attempts", "TRIES", right=True),
    Column("http_status", "HTTP", right=True),
    Column("detail", "DETAIL", plain_only=True),
]
RESULT_COLUMNS = [
    Column("result", "RESULT", style=lambda result: "red" if result in {"refused", "not done"} else "green"),
    *COLUMNS,
    Column("why", "WHY", plain_only=True),
]


def note(row: Row) -> str:
    """The second line of a letter on a terminal."""
    return f"{shown(row['intent_id'])}  {shown(row['detail'])}"


@asynccontextmanager
async def reading(settings: Settings, what: str) -> AsyncIterator[tuple[LetterReader, Callable[[], None]]]:
    """The reader behind a progress bar, and the function to call for each letter."""
    async with open_letters(settings, on_wait=say) as letters:
        with _bar(what, letters.to_read) as step:
            yield letters, step


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, if there are many letters."""
    errors = console(stderr=True)
    progress = Progress(
        TextColumn(what),
        BarColumn(BAR_COLUMNS),
        MofNCompleteColumn(),
        TextColumn("letters"),
        console=errors,
        transient=True,
        disable=not errors.is_terminal or total < BAR_FROM_LETTERS,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = progress.add_task(what, total=total)
    with progress:
        yield lambda: progress.advance(task)


class ActionReport:
    """The result of each letter that was chosen, and of all together; `verb` is `replayed` or `discarded`."""

    def __init__(self, verb: str, rows: Spool, *, dry_run: bool) -> None:
        self.read = 0
        self._verb = verb
        self._dry_run = dry_run
        self._rows = rows
        self._counts: Counter[str] = Counter()
        self._met: set[str | None] = set()

    def add(self, letter: Letter, result: LetterResult | None) -> None:
        """Count one more letter that was read; `result` is None if it was not chosen."""
        self.read += 1
        if result is None:
            return
        self._met.add(letter.intent_id)
        self._counts[result.result] += 1
        shown_result = f"would be {result.result}" if self._dry_run else result.result
        self._rows.add({**letter.row(), "result": shown_result, "why": result.why})

    def print_rows(self, *, as_json: bool) -> None:
        """Show every letter that was chosen, with its result."""
        if len(self._rows):
            print_rows(RESULT_COLUMNS, self._rows, as_json=as_json, note=_why)

    def summary(self) -> str:
        """One sentence of counts."""
        if not self.read:
            return "there are no dead letters"
        chosen, already = self._counts.total(), self._counts["replayed already"]
        if not chosen:
            return f"none of {plural(self.read, 'dead letter')} fits"
        would = "would be " if self._dry_run else ""
        said = f"{would}{self._verb}: {self._counts[self._verb]:,} of {plural(chosen, 'dead letter')}"
        said += f"; replayed already: {already:,}" if already else ""
        refused = self._counts["refused"]
        return said + (f"; {would}refused: {refused:,}" if refused else "")

    def failure(self, wanted: LetterFilter) -> str | None:
        """One sentence on the letters that were missing or refused; None if there are none."""
        missing = sorted(wanted.ids - self._met)
        if missing:
            more = f" nor {len(missing) - 1:,} more of those named" if len(missing) > 1 else ""
            return f"there is no dead letter {missing[0]}{more}: `signalq dead list` shows those there are"
        refused = self._counts["refused"]
        if refused:
            would = "would be" if self._dry_run else "was" if refused == 1 else "were"
            return f"{plural(refused, 'dead letter')} {would} refused and stay where they are: each row says why"
        return None


def _why(row: Row) -> str:
    because = row["why"] if row["why"] is not None else row["detail"]
    return f"{shown(row['intent_id'])}  {shown(because)}"
