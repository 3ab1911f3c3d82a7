"""The output of a command: a table on a terminal, a plain one elsewhere, one JSON object a line with `--json`."""

import sys
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import is_quiet
from signalq.ops.terminal.layout import CUT, GAP, Measure, fitted, short_ids
from signalq.ops.terminal.plain import Row, json_line
from signalq.ops.terminal.spool import Rows

# A terminal that is so wide shows every column.
WIDE_COLUMNS = 140
# One table of rich's has so many rows; the next ones follow below.
TABLE_ROWS_MAX = 500
# So much of a foreign text is looked at, and so much of it, escaped, is shown in a table: JSON has all of it.
FOREIGN_CHARACTERS_MAX = 4_000
CELL_CHARACTERS_MAX = 1_000
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the row's key and how it looks.

    `style` is a rich style, or gives one for a value. `value` makes the cell of a row, in place of the value under the
    key. On a terminal, `short` shortens a value, and an id is cut to what tells it from the others (`is_id`). A narrow
    one leaves out the columns of the highest `rank`, never those of 0, until the others have `ample` room, and cuts the
    column to `least` (a name in its middle, `is_name`: many differ at their ends). `details` is the key of a column
    whose value stands in this one where that column is left out.
    """

    key: str
    title: str
    style: str | Callable[[object], str] = ""
    right: bool = False
    least: int | None = None
    ample: int | None = None
    rank: int = 0
    value: Callable[[Row], object] | None = None
    short: Callable[[object], str] | None = None
    is_id: bool = False
    is_name: bool = False
    details: str | None = None

    def value_in(self, row: Row) -> object:
        """The value of its cell in a row."""
        return self.value(row) if self.value is not None else row.get(self.key)

    def text_in(self, row: Row) -> str:
        """The text of its cell: blank if the row has no such field, a dash if its value is not known.

        Anybody who may publish can have a letter with a name of a mebibyte: no table is as wide as that.
        """
        value = self.value_in(row)
        text = shown(value[:FOREIGN_CHARACTERS_MAX] if isinstance(value, str) else value)
        if len(text) > CELL_CHARACTERS_MAX:
            text = text[: CELL_CHARACTERS_MAX - 1] + CUT
        return text if self.value is not None or self.key in row else ""

    @property
    def short_title(self) -> str:
        """The title on a terminal: a time that is short has a short one."""
        return self.title.removesuffix(" AT") if self.short is not None else self.title

    def style_in(self, row: Row) -> str:
        """The style of its cell in a row."""
        return self.style(row.get(self.key)) if callable(self.style) else self.style


def console(*, stderr: bool = False) -> Console:
    """A console that prints text unchanged: no markup, no emoji codes, no guessed highlights."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_json(row: Row, *, raw: bool = False) -> None:
    """Write one row as JSON, at once: a program that reads along should not wait for a buffer."""
    sys.stdout.write(json_line(row, raw=raw) + "\n")
    sys.stdout.flush()


def print_rows(columns: Sequence[Column], rows: Rows, *, as_json: bool) -> None:
    """Show rows, one line each: on a terminal fitted to its width, elsewhere whole, for grep."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    out = console()
    if out.is_terminal:
        for table in tables_of(columns, rows, out.width):
            out.print(table, soft_wrap=False)
        return

    def texts_of(row: Row) -> list[str]:
        return [column.text_in(row) for column in columns]

    head = [column.title for column in columns]
    widths = _widths(rows, head, texts_of)
    for texts in chain([head], map(texts_of, rows)):
        cells = [sized(text, width, right=one.right) for text, width, one in zip(texts, widths, columns, strict=True)]
        sys.stdout.write(GAP.join(cells).rstrip() + "\n")


def tables_of(columns: Sequence[Column], rows: Rows, room: int) -> Iterator[Table]:
    """The rows as rich's tables below one another, the first with a head; at most `room` columns wide."""
    shorten = {one.key: short_ids(map(one.text_in, rows)) for one in columns if one.is_id}

    def short(column: Column, row: Row) -> str:
        return _short(column, row, shorten.get(column.key, str))

    def cut(column: Column, text: str, width: int) -> str:
        return cut_name(text, width) if column.is_name else text  # rich cuts the others

    fitting = _fitting(columns, rows, short, room)
    left_out = {column.key for column in columns} - {column.key for column, _ in fitting}
    if any(column.details in left_out for column, _ in fitting):
        fitting = _fitting([_detailed(one, left_out) for one in columns if one.key not in left_out], rows, short, room)
    table = _empty_table(fitting, with_head=True)
    for row in rows:
        table.add_row(
            *(Text(cut(column, short(column, row), width), column.style_in(row)) for column, width in fitting)
        )
        if table.row_count == TABLE_ROWS_MAX:
            yield table
            table = _empty_table(fitting, with_head=False)
    if table.row_count or table.show_header:
        yield table


def say(sentence: str) -> None:
    """Write one sentence to standard error: standard output is for rows. A terminal breaks it between words."""
    out = console(stderr=True)
    out.print(Text(escaped(sentence)), soft_wrap=not out.is_terminal)


def note(sentence: str) -> None:
    """Say a summary or a remark, which --quiet leaves out."""
    if not is_quiet():
        say(sentence)


def shown(value: object) -> str:
    """A value as one line of safe text."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return escaped(str(value))


def sized(text: str, columns: int, *, right: bool = False) -> str:
    """The text cut or padded to exactly `columns` of a terminal; wide characters take two."""
    length = cell_len(text)
    if length > columns:
        return set_cell_size(text, columns - len(CUT)) + CUT
    padding = " " * (columns - length)
    return padding + text if right else text + padding


def _widths(rows: Rows, titles: Sequence[str], texts: Callable[[Row], list[str]]) -> list[int]:
    widths = [cell_len(title) for title in titles]
    for row in rows:
        widths = [max(width, cell_len(text)) for width, text in zip(widths, texts(row), strict=True)]
    return widths


def _fitting(
    columns: Sequence[Column], rows: Rows, text: Callable[[Column, Row], str], room: int
) -> list[tuple[Column, int]]:
    """The columns that have room, with their widths."""
    titles = [column.short_title for column in columns]
    widths = _widths(rows, titles, lambda row: [text(column, row) for column in columns])
    measures = []
    for one, width in zip(columns, widths, strict=True):
        least = width if one.least is None else max(one.least, cell_len(one.short_title))
        ample = max(least, one.ample or 0) if room < WIDE_COLUMNS else least
        measures.append(Measure(width, least, ample, one.rank))
    return [(one, width) for one, width in zip(columns, fitted(measures, room), strict=True) if width]


def _detailed(column: Column, left_out: Container[str]) -> Column:
    """The column, which shows the value of the one that is left out in its favour, if a row has one."""
    details, key = column.details, column.key
    if details is None or details not in left_out:
        return column
    return replace(column, value=lambda row: row.get(details) or row.get(key))


def _short(column: Column, row: Row, shorten: Callable[[str], str]) -> str:
    """The text of a cell on a terminal."""
    if column.short is not None and (value := column.value_in(row)) is not None:
        with suppress(ValueError, OverflowError):  # foreign text in the place of a time, or a time that no zone has
            return column.short(value)
    return shorten(column.text_in(row))


def cut_name(text: str, columns: int) -> str:
    """The text of a name, cut in its middle to so many columns of a terminal: many names differ at their ends."""
    if cell_len(text) <= columns:
        return text
    room = (columns - len(CUT)) // 2
    end = text[len(text) - room :]
    while cell_len(end) > room:
        end = end[1:]
    beginning = set_cell_size(text, columns - len(CUT) - cell_len(end))
    return beginning.rstrip(CUT) + CUT + end.lstrip(CUT)  # an id may be cut there already


def _empty_table(fitting: Sequence[tuple[Column, int]], *, with_head: bool) -> Table:
    table = Table(box=None, padding=(0, len(GAP), 0, 0), pad_edge=False, show_header=with_head, header_style="bold dim")
    for column, width in fitting:
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(column.short_title, justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    return table
