"""The options that listings share: which columns, in which order, and again and again (`--columns --sort --watch`)."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import click

from signalq.ops.terminal.invocation import one_of
from signalq.ops.terminal.plain import Row
from signalq.ops.terminal.render import Column, console, print_rows
from signalq.ops.terminal.spool import Rows, Spool

WATCH_PERIOD_S = 2
WATCH_PERIOD_MIN_S, WATCH_PERIOD_MAX_S = 0.2, 3_600


@dataclass(frozen=True, slots=True)
class View:
    """How a listing is shown; `columns` are the chosen ones, or all. `watch_s` is the time between two looks."""

    columns: Sequence[Column]
    as_json: bool
    sort: Column | None = None
    descending: bool = False
    watch_s: float | None = None

    def sorted(self, rows: Spool | Sequence[Row]) -> Rows:
        """The rows in the order that was asked for; a row without a value is last, either way."""
        if self.sort is None:
            return rows
        values: dict[int, Any] = dict(enumerate(map(self.sort.value_in, rows)))
        known = [number for number, value in values.items() if value is not None]
        known.sort(key=values.__getitem__, reverse=self.descending)
        numbers = [*known, *(number for number, value in values.items() if value is None)]
        return rows.in_order(numbers) if isinstance(rows, Spool) else [rows[number] for number in numbers]

    def print(self, rows: Spool | Sequence[Row]) -> None:
        """Show the rows, in this order."""
        print_rows(self.columns, self.sorted(rows), as_json=self.as_json)


def listing_options(columns: Sequence[Column], *, can_watch: bool = True) -> Callable[..., Any]:
    """Add the options, and `--json`; the command gets them as `view`. Raises UsageError if they contradict."""
    by_key = {column.key: column for column in columns}

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def with_view(
            *args: Any,
            chosen: tuple[str, ...],
            sort: str | None,
            as_json: bool,
            watch_s: float | None = None,
            **rest: Any,
        ) -> Any:
            _check(as_json=as_json, watches=watch_s is not None, chooses=bool(chosen))
            shown = [replace(by_key[key], rank=0) for key in chosen] or columns
            by = by_key[sort.removeprefix("-")] if sort is not None else None
            descending = sort is not None and sort.startswith("-")
            return function(*args, view=View(shown, as_json, by, descending, watch_s), **rest)

        made: Callable[..., Any] = with_view
        for option in _options(list(by_key), can_watch=can_watch):
            made = option(made)
        return made

    return add


def _options(keys: Sequence[str], *, can_watch: bool) -> Iterator[Callable[..., Any]]:
    """The options, from the last one in the help to the first."""
    yield click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
    if can_watch:
        yield click.option(
            "--watch",
            "watch_s",
            is_flag=False,
            flag_value=str(WATCH_PERIOD_S),
            type=click.FloatRange(WATCH_PERIOD_MIN_S, WATCH_PERIOD_MAX_S),
            metavar="SECONDS",
            help=f"Look again every {WATCH_PERIOD_S} s, or as often as you say, until Ctrl-C.",
        )
    yield click.option(
        "--sort",
        callback=_sort_key(keys),
        shell_complete=_completed([*keys, *(f"-{key}" for key in keys)]),
        metavar="COLUMN",
        help="Sort the rows by one of these columns; with a - before it, the largest first.",
    )
    yield click.option(
        "--columns",
        "chosen",
        callback=_column_keys(keys),
        shell_complete=_completed(keys),
        metavar="A,B",
        help=f"Only these columns, in this order, of {', '.join(keys)}.",
    )


def _completed(words: Sequence[str]) -> Callable[..., list[str]]:
    return lambda _context, _parameter, typed: [word for word in words if word.startswith(typed)]


def _check(*, as_json: bool, watches: bool, chooses: bool) -> None:
    if as_json and chooses:
        raise click.UsageError("--json has all fields: take --columns out, and choose with jq")
    if as_json and watches:
        raise click.UsageError("--watch is for a table: take --json out, or follow `signalq outcomes --json`")
    out = console()
    if watches and not (sys.stdout.isatty() and out.is_terminal and not out.is_dumb_terminal):
        raise click.UsageError(
            "--watch takes a terminal that can clear its screen: `signalq outcomes` follows what happens anywhere else"
        )


def _column_keys(keys: Sequence[str]) -> Callable[..., tuple[str, ...]]:
    is_one = one_of("column", keys)

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
        chosen = [one.strip() for one in value.split(",")] if value is not None else []
        for one in chosen:
            is_one(context, parameter, one)
        return tuple(dict.fromkeys(chosen))

    return check


def _sort_key(keys: Sequence[str]) -> Callable[..., str | None]:
    is_one = one_of("column", keys)

    def check(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
        if value is not None:
            is_one(context, parameter, value.removeprefix("-"))
        return value

    return check
