"""The view of a world: how to use it, then a line for each entry; with `--json`, an object for each."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from signalq.ops.dev.events import Entry
from signalq.ops.dev.world import World
from signalq.ops.terminal.environment import environment_mark
from signalq.ops.terminal.order_columns import order_text
from signalq.ops.terminal.render import console, cut_name, print_json, shown, sized
from signalq.settings.sections import ENV_PREFIX

ORDER_TO_TRY = "publish --wait --connector demo --action openLong --percent 50"
TIME_COLUMNS, TOOK_COLUMNS = 8, 6
# The columns of connector and order: in 80 there is room for `openLong 50 % limit 65000` and the longest outcome.
NARROW, WIDE = (12, 25), (16, 40)
WIDE_FROM_COLUMNS = 110
GAP = "  "
# A longer wait is told by its end.
SAID_AS_A_WAIT_MS = 60_000
STYLES = {
    "delivered": "green",
    "dead": "bold red",
    "canceled": "yellow",
    "duplicate": "dim",
    "scheduled": "cyan",
    "retrying": "yellow",
    "warning": "yellow",
    "error": "bold red",
}


class View:
    """Shows a world on standard output, at once."""

    def __init__(self, *, as_json: bool, out: Console | None = None) -> None:
        self._as_json = as_json
        self._out = out or console()

    def step(self, text: str) -> None:
        """Say what is being done; nothing with `--json`."""
        if not self._as_json:
            self._out.print(Text(text, style="dim"), soft_wrap=not self._out.is_terminal)
            sys.stdout.flush()

    def greet(self, world: World, link: str | None) -> None:
        """Say that the world is ready, where it is, and how to use it; `link` is the console's one-time link."""
        if self._as_json:
            own = {"console_link": link, "settings": str(world.file), "try": line_to_try(world)}
            print_json({**addresses(world), **own})
            return
        self._print(Text.assemble("\nReady; ", environment_mark(world.settings), "\n"))
        for name, address in addresses(world).items():
            self._print(Text.assemble(f"  {name:<10}", (address, "cyan")))
        self._print(Text.assemble(f"  {'settings':<10}", (str(world.file), "cyan"), ("  yours to change", "dim")))
        if link is not None:
            self._print(Text("\nTo act in the console, open this link in a browser; it works once:\n"))
            self._print(Text(f"  {link}", style="bold"))
        self._print(Text("\nTo see an order go through, paste this line into another terminal:\n"))
        self._print(Text(f"  {line_to_try(world)}", style="bold"))
        self._print(Text("\nFor other commands and programs there, these first:\n"))
        for line in exports(world):
            self._print(Text(f"  {line}", style="bold"))
        self._print(Text("\nCtrl-C ends all of it; the next start has the same world again.\n", style="dim"))
        self._print(Text(self._columns("TIME", "CONNECTOR", "ORDER", "TOOK", "OUTCOME"), style="bold dim"))

    def entry(self, entry: Entry) -> None:
        """Show an entry: a line, and a second one for a detail that does not fit."""
        if self._as_json:
            print_json(entry.row())
            return
        line = self._line(entry)
        detail = shown(entry.detail) if entry.detail else ""
        if entry.outcome == "retrying":
            detail = f"{shown(entry.reason)}: {detail}"
        if detail and self._out.is_terminal and line.cell_len + len(GAP) + cell_len(detail) > self._out.width:
            self._print(line)
            indent = TIME_COLUMNS + len(GAP)
            self._out.print(Padding(Text(detail, style="dim"), (0, 0, 0, indent), expand=False), soft_wrap=False)
        else:
            self._print(line.append(f"{GAP}{detail}", style="dim") if detail else line)
        sys.stdout.flush()

    def _line(self, entry: Entry) -> Text:
        at = entry.at.astimezone().strftime("%H:%M:%S")
        if entry.event is not None:
            return Text.assemble((at, "dim"), GAP, (shown(entry.event), STYLES.get(entry.outcome or "", "")))
        took = _duration(entry.took_ms) if entry.took_ms is not None else ""
        head = self._columns(at, shown(entry.connector), shown(order_text(entry.row())), took, "")
        return Text.assemble(head, (_outcome(entry), STYLES.get(entry.outcome or "", "")))

    def _columns(self, at: str, connector: str, order: str, took: str, outcome: str) -> str:
        is_wide = not self._out.is_terminal or self._out.width >= WIDE_FROM_COLUMNS
        connector_columns, order_columns = WIDE if is_wide else NARROW
        cells = (
            self._sized(at, TIME_COLUMNS),
            self._sized(
                cut_name(connector, connector_columns) if self._out.is_terminal else connector, connector_columns
            ),
            self._sized(order, order_columns),
            self._sized(took, TOOK_COLUMNS, right=True),
        )
        return GAP.join((*cells, outcome))

    def _sized(self, text: str, columns: int, *, right: bool = False) -> str:
        """The text in its column, cut on a terminal alone."""
        return sized(text, columns if self._out.is_terminal else max(columns, cell_len(text)), right=right)

    def _print(self, text: Text) -> None:
        self._out.print(text)
        sys.stdout.flush()


def addresses(world: World) -> dict[str, str]:
    """The address of each program of the world."""
    ops, gateway = world.settings.ops, world.settings.gateway
    return {
        "broker": world.settings.broker.url.get_secret_value(),
        "console": world.console_address,
        "gateway": f"http://{gateway.host}:{gateway.port}/trading-signal/webhook",
        "sandbox": f"http://127.0.0.1:{world.sandbox_port}/orders",
        "metrics": f"http://{ops.host}:{ops.port}/metrics",
    }


def line_to_try(world: World) -> str:
    """A line for any terminal, which needs nothing else."""
    return f"{_command()} --config {shlex.quote(str(world.file))} {ORDER_TO_TRY}"


def exports(world: World) -> Iterator[str]:
    """The lines after which every command, and every example of ours, uses this world."""
    own = _own_command()
    if own is not None and _command() != own.name:
        yield f"export PATH={shlex.quote(str(own.parent))}:$PATH"
    yield f"export {ENV_PREFIX}CONFIG={shlex.quote(str(world.file))}"
    yield f"export {ENV_PREFIX}BROKER__URL={world.settings.broker.url.get_secret_value()}"


def _command() -> str:
    """The command that runs this very signalq: by its name if the shell finds it, else by its path."""
    own = _own_command()
    if own is None:
        return f"{shlex.quote(sys.executable)} -m signalq"
    found = shutil.which(own.name)
    return own.name if found is not None and Path(found).resolve() == own.resolve() else shlex.quote(str(own))


def _own_command() -> Path | None:
    """The command beside this interpreter."""
    own = Path(sys.executable).with_name("signalq")
    return own if os.access(own, os.X_OK) else None


def _outcome(entry: Entry) -> str:
    """The outcome in few words: `dead: expired`, `scheduled, in 30.0 s`, `scheduled, 12:03:35`."""
    if entry.due_at is None:
        return f"{entry.outcome}: {shown(entry.reason)}" if entry.reason else shown(entry.outcome)
    wait_ms = max(0, round((entry.due_at - entry.at).total_seconds() * 1000))
    return f"{entry.outcome}, " + (
        f"in {_duration(wait_ms)}" if wait_ms < SAID_AS_A_WAIT_MS else f"{entry.due_at.astimezone():%H:%M:%S}"
    )


def _duration(ms: int) -> str:
    """`34 ms`, `1.2 s`, `5 min`, `3 h`."""
    if ms < 1000:
        return f"{ms} ms"
    if ms < 100_000:
        return f"{ms / 1000:.1f} s"
    minutes = round(ms / 60_000)
    return f"{minutes} min" if minutes < 100 else f"{round(minutes / 60)} h"
