"""A table that is looked at again and again, in place, until Ctrl-C."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

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

# Gives the first so many rows, or all that are listed (None), which are to be sorted; and a sentence on all of them.
Look = Callable[[int | None], Awaitable[tuple[Sequence[Row], str]]]

T = TypeVar("T")


async def watch(title: str, view: View, look: Look) -> None:
    """Show what `look` gives until SIGINT or SIGTERM; its error is shown in its place, and it is asked again.

    A look that takes long, because the ledger or the broker is away, ends with it. A terminal of another size is
    another look.
    """
    out = Console(highlight=False, markup=False, emoji=False)
    asked_to_stop, resized = stop_event(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, resized.set)
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while not asked_to_stop.is_set():
            resized.clear()
            frame = await _unless(asked_to_stop, _looked(title, view, look, out))
            if frame is not None:
                live.update(frame, refresh=True)
                await _unless(asked_to_stop, _time_out(view.watch_s, resized))


async def _unless(event: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The answer of the work; None, and the work is canceled, if the event comes first."""
    working, waiting = asyncio.create_task(work, name="look"), asyncio.create_task(event.wait(), name="until asked")
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)


async def _time_out(seconds: float | None, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


async def _looked(title: str, view: View, look: Look, out: Console) -> RenderableType:
    rows_max = max(out.height - LINES_BESIDE_ROWS, 1)
    try:
        rows, said = await look(rows_max if view.sort is None else None)
    except SignalQError as error:
        return Group(_head(title, view), Text(), Text(escaped(str(error)), "red"))
    shown = list(view.sorted(rows))[:rows_max]
    if len(shown) < len(rows):
        said += f"; the first {len(shown):,} have room here"
    end = Text(said, no_wrap=True, overflow="ellipsis")
    return Group(_head(title, view), *(tables_of(view.columns, shown, out.width) if shown else ()), end)


def _head(title: str, view: View) -> Text:
    text = f"{title}  {datetime.now().astimezone():%H:%M:%S}  every {view.watch_s:g} s, Ctrl-C ends it"
    return Text(text, "dim", no_wrap=True, overflow="ellipsis")
