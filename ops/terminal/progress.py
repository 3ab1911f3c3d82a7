"""A bar for long work, on standard error, if that is a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from signalq.ops.terminal.invocation import is_quiet
from signalq.ops.terminal.render import console

BAR_COLUMNS = 32


@contextmanager
def bar(work: str, things: str, total: int, *, least: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how many more are done; fewer than `least` are done before a person sees a bar."""
    errors = console(stderr=True)
    columns = TextColumn(work), BarColumn(BAR_COLUMNS), MofNCompleteColumn(), TextColumn(things)
    is_off = not errors.is_terminal or is_quiet() or total < least
    progress = Progress(
        *columns, console=errors, transient=True, disable=is_off, redirect_stdout=False, redirect_stderr=False
    )
    task = progress.add_task(work, total=total)
    with progress:
        yield lambda done: progress.advance(task, done)
