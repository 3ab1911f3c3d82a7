"""`signalq check`."""

import asyncio
import sys
from collections import Counter
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signalq.ops.check.finding import Finding
from signalq.ops.check.findings import ENVIRONMENT, findings
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.ops.terminal.plain import plural
from signalq.ops.terminal.render import console, print_json

MARKS = {"ok": ("✓", "green"), "note": ("•", "yellow"), "wrong": ("✗", "bold red")}
NAME_COLUMNS = 13


@click.command(cls=SignalqCommand, example="signalq check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: check, state, found, advice, kind.")
@pass_invocation
def command(invocation: Invocation, *, as_json: bool) -> int:
    """Say what is right, what is wrong, and what to do about it. Changes nothing, sends nothing.

    It looks at the settings, the broker, the exchanges and queues, the dead letters of the last 24 h, the ledger,
    the way that strategies publish, and the webhook's host (it connects, and never POSTs). The exit status is 1 if
    something is wrong; things that only deserve a look, such as dead letters, are marked (•).
    """
    return asyncio.run(_check(invocation, as_json=as_json))


async def _check(invocation: Invocation, *, as_json: bool) -> int:
    states: Counter[str] = Counter()
    out = console()
    async for finding in findings(invocation.settings(), invocation.config):
        states[finding.state] += 1
        if as_json:
            print_json(asdict(finding))
        else:
            _show(out, finding)
    if not as_json:
        out.print(Text(_summary(states["wrong"], states["note"])))
    sys.stdout.flush()
    return 1 if states["wrong"] else 0


def _summary(wrong: int, noted: int) -> str:
    if wrong:
        return f"{plural(wrong, 'thing is', 'things are')} wrong"
    if noted:
        return f"nothing is wrong, {plural(noted, 'thing deserves', 'things deserve')} a look (•)"
    return "all is well"


def _show(out: Console, finding: Finding) -> None:
    """Show a finding: on a terminal long sentences go on below, at their words; elsewhere a line each, for grep."""
    mark, style = MARKS[finding.state]
    found = Text(finding.found, style="bold" if finding.check == ENVIRONMENT else "")
    lines = [((mark, style), (finding.check, "bold"), found)]
    if finding.advice:
        address = f"; see `signalq help {finding.kind}`" if finding.kind is not None else ""
        lines.append((("", ""), ("", ""), Text.assemble(("→ ", style), finding.advice, (address, "dim"))))
    if not out.is_terminal:
        for left, name, text in lines:
            out.print(Text.assemble(f"{left[0]:1} {name[0].ljust(NAME_COLUMNS)}", text))
        return
    table = Table.grid(padding=(0, 1, 0, 0))
    for width in (1, NAME_COLUMNS - 1, None):
        table.add_column(width=width, no_wrap=width is not None)
    for left, name, text in lines:
        table.add_row(Text(*left), Text(*name), text)
    out.print(table, soft_wrap=False)
