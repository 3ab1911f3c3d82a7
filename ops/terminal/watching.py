"""A table that is looked at again and again, in place, until Ctrl-C."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from signalq.errors import SignalQError
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.listing import View
from signalq.ops.terminal.plain import Row
from signalq.ops.terminal.render import tables_of
from signalq.ops.terminal.stopping import stop_event

# The head of the table, and the lines around it.
LINES_BESIDE_ROWS = 4

# Gives at most so many rows, and a sentence on all of them.
Look = Callable[[int], Awaitable[tuple[Sequence[Row], str]]]


async def watch(title: str, view: View, look: Look) -> None:
    """Show what `look` gives until SIGINT or SIGTERM; its error is shown in its place, and it is asked again."""
    out = Console(highlight=False, markup=False, emoji=False)
    asked_to_stop = stop_event()
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while not asked_to_stop.is_set():
            live.update(await _looked(title, view, look, out), refresh=True)
            with suppress(TimeoutError):
                await asyncio.wait_for(asked_to_stop.wait(), view.watch_s)


async def _looked(title: str, view: View, look: Look, out: Console) -> RenderableType:
    rows_max = max(out.height - LINES_BESIDE_ROWS, 1)
    every = f"every {view.watch_s:g} s, Ctrl-C ends it"
    head = Text(f"{title}  {datetime.now().astimezone():%H:%M:%S}  {every}", "dim", no_wrap=True, overflow="ellipsis")
    try:
        rows, said = await look(rows_max)
    except SignalQError as error:
        return Group(head, Text(), Text(escaped(str(error)), "red"))
    shown = list(view.sorted(rows))[:rows_max]
    return Group(head, *(tables_of(view.columns, shown, out.width) if shown else ()), Text(said))
