"""The output of `signalq dead`: the table, one letter, the progress bar, and the summary of replaying or discarding."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from signalq.ops.dead_letters.actions import LetterResult
from signalq.ops.dead_letters.census import Census
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.reader import LetterReader, open_letters
from signalq.ops.terminal.escaping import escaped, escaped_whole
from signalq.ops.terminal.moments import time_or_day
from signalq.ops.terminal.order_columns import (
    CLIENT_ORDER,
    CONNECTOR,
    GENERATION,
    HTTP,
    INTENT,
    ORDER,
    REASON,
    STRATEGY,
    TRIES,
    order_text,
)
from signalq.ops.terminal.plain import plural
from signalq.ops.terminal.progress import bar
from signalq.ops.terminal.render import Column, console, note, print_json, print_rows, shown
from signalq.ops.terminal.spool import Spool
from signalq.settings.sections import Settings

# With fewer letters the bar would be gone before a person sees it.
BAR_FROM_LETTERS = 2000
NAME_COLUMNS = 18
_NOT_SHOWN = "  (not shown: it is no JSON object, and may hold a token anywhere; `dead show --raw` shows it)"

COLUMNS = [
    Column("dead_at", "DEAD AT", style="dim", short=time_or_day),
    INTENT,
    GENERATION,
    REASON,
    CONNECTOR,
    STRATEGY,
    ORDER,
    CLIENT_ORDER,
    TRIES,
    HTTP,
    Column("detail", "DETAIL", least=20, rank=1),
]
RESULT_COLUMNS = [
    Column("result", "RESULT", style=lambda result: "red" if result in {"refused", "not done"} else "green"),
    replace(COLUMNS[0], rank=7),
    *COLUMNS[1:],
    Column("why", "WHY", least=20, rank=1),
]
# So many reasons of refusals are told below a table.
WHYS_MAX = 10


@asynccontextmanager
async def reading(
    settings: Settings, what: str, census: Census | None = None
) -> AsyncIterator[tuple[LetterReader, Callable[[], None]]]:
    """The letters, and the function to call for each: it moves a bar, on a terminal, if there are many letters.

    The `census` is told of each letter, and ended when all were read.
    """
    async with open_letters(settings, on_wait=note, census=census) as letters:
        with bar(what, "letters", letters.to_read, least=BAR_FROM_LETTERS) as advance:
            yield letters, lambda: advance(1)
        if census is not None and letters.has_read_all:
            await census.end()


def show(letter: Letter, *, raw: bool, as_json: bool) -> None:
    """Show one letter: its fields, its properties, its headers and its body."""
    row, body = letter.row(), letter.body_shown(raw=raw)
    properties, headers = letter.properties_shown(raw=raw), letter.headers_shown(raw=raw)
    if as_json:
        print_json({**row, "properties": properties, "headers": headers, "body": body}, raw=raw)
        return
    out = console()
    said = {**row, "order": order_text(row)}
    for title, values in (("Dead letter", said), ("Properties", properties), ("Headers", headers)):
        out.print(Text(title, style="bold"))
        width = max([NAME_COLUMNS, *(len(shown(name)) for name in values)])
        for name, value in values.items():
            text = escaped_whole(str(value)) if raw else shown(value)
            out.print(Text.assemble("  ", (shown(name).ljust(width), "dim"), "  ", text))
    out.print(Text.assemble(("Body", "bold"), (f"  {len(letter.body):,} bytes", "dim")))
    if body is not None:
        out.print(Text("  " + (escaped_whole(body) if raw else escaped(body))))
    if not raw and not letter.is_readable:
        out.print(Text(_NOT_SHOWN, style="dim"))


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
        if not len(self._rows):
            return
        print_rows(RESULT_COLUMNS, self._rows, as_json=as_json)
        out = console()
        if not as_json and out.is_terminal:  # elsewhere each row has all of it
            self._print_whys(out)

    def _print_whys(self, out: Console) -> None:
        """Tell each reason of the results once, whole: a row of a table has no room for it."""
        whys = Counter(f"{row['result']}: {row['why']}" for row in self._rows if row["why"] is not None)
        for why, count in whys.most_common(WHYS_MAX):
            out.print(Text(f"{count:,} {escaped(why)}"), soft_wrap=False)
        if len(whys) > WHYS_MAX:
            out.print(Text(f"{len(whys) - WHYS_MAX:,} more reasons: --json has all"))

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
