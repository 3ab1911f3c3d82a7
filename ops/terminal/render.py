"""The output of a command: a table on a terminal, a plain one elsewhere, one JSON object a line with `--json`."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.plain import Row as Row  # noqa: PLC0414 - callers that render take it from here
from signalq.ops.terminal.plain import ascii_json as ascii_json  # noqa: PLC0414 - callers that render take it from here
from signalq.ops.terminal.plain import json_line as json_line  # noqa: PLC0414 - callers that render take it from here
from signalq.ops.terminal.plain import plural as plural  # noqa: PLC0414 - callers that render take it from here

GAP = "  "
# A column that may be cut is never cut below this.
CELL_COLUMNS_MIN = 8
SPOOLED_IN_MEMORY_BYTES_MAX = 1 << 20
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the row's key, how it looks, whether it may be cut on a narrow terminal.

    `style` is a rich style, or gives one for a value.
    """

    key: str
    title: str
    style: str | Callable[[object], str] = ""
    right: bool = False
    may_be_cut: bool = False
    plain_only: bool = False

    def style_of(self, value: object) -> str:
        """The style of one cell."""
        return self.style(value) if callable(self.style) else self.style


def console(*, stderr: bool = False) -> Console:
    """A console that prints text unchanged: no markup, no emoji codes, no guessed highlights."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def print_json(row: Row, *, raw: bool = False) -> None:
    """Write one row as JSON, at once: a program that reads along should not wait for a buffer."""
    sys.stdout.write(json_line(row, raw=raw) + "\n")
    sys.stdout.flush()


class Spool:
    """Rows of plain values, kept until they are shown, on disk if they are many; use it as a context manager.

    Rows are shown after the reading: a person who pages through them must not keep the queue or the connection waiting.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(SPOOLED_IN_MEMORY_BYTES_MAX, "w+", encoding="ascii")  # noqa: SIM115
        self._rows = 0

    def add(self, row: Row) -> None:
        """Keep one more row."""
        self._file.write(json.dumps(dict(row)) + "\n")
        self._rows += 1

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Row]:
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()


Rows = Sequence[Row] | Spool
"""Rows that can be read more than once: a table is measured first, and then written row by row."""


def print_rows(
    columns: Sequence[Column], rows: Rows, *, as_json: bool, note: Callable[[Row], str] | None = None
) -> None:
    """Show rows: on a terminal cut to its width, with a second line under each by `note`; elsewhere whole, for grep."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    out = console()
    is_table = out.is_terminal
    columns = [column for column in columns if not (is_table and column.plain_only)]
    widths = _widths(columns, rows)
    if is_table:
        widths = _fitted(columns, widths, out.width)

    def write(texts: list[str], styles: list[str]) -> None:
        line = _line(columns, texts, widths, styles)
        if is_table:
            out.print(line)
        else:
            sys.stdout.write(line.plain + "\n")

    write([column.title for column in columns], ["bold dim"] * len(columns))
    for row in rows:
        write(_cells(columns, row), [column.style_of(row.get(column.key)) for column in columns])
        if is_table and note is not None and (says := note(row)):
            out.print(Padding(Text(says, style="dim"), (0, 0, 0, len(GAP)), expand=False), soft_wrap=False)


def say(sentence: str) -> None:
    """Write one sentence to standard error: standard output is for rows."""
    console(stderr=True).print(escaped(sentence))


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
        return set_cell_size(text, columns - 1) + "…"
    padding = " " * (columns - length)
    return padding + text if right else text + padding


def _cells(columns: Sequence[Column], row: Row) -> list[str]:
    """The texts of a row: blank if the row has no such field, a dash if its value is not known."""
    return [shown(row[column.key]) if column.key in row else "" for column in columns]


def _widths(columns: Sequence[Column], rows: Rows) -> list[int]:
    widths = [cell_len(column.title) for column in columns]
    for row in rows:
        widths = [max(width, cell_len(text)) for width, text in zip(widths, _cells(columns, row), strict=True)]
    return widths


def _fitted(columns: Sequence[Column], widths: list[int], columns_max: int) -> list[int]:
    """Take from the widest column that may be cut until the row fits, or nothing more can be taken."""
    fitted = list(widths)
    while sum(fitted) + len(GAP) * (len(fitted) - 1) > columns_max:
        cuttable = [at for at, column in enumerate(columns) if column.may_be_cut and fitted[at] > CELL_COLUMNS_MIN]
        if not cuttable:
            break
        fitted[max(cuttable, key=lambda at: fitted[at])] -= 1
    return fitted


def _line(columns: Sequence[Column], texts: list[str], widths: list[int], styles: list[str]) -> Text:
    parts = [
        Text(sized(text, width, right=column.right), style=style)
        for column, text, width, style in zip(columns, texts, widths, styles, strict=True)
    ]
    line = Text(GAP).join(parts)
    line.rstrip()
    return line
