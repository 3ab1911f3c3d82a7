"""`signalq check`."""

from __future__ import annotations

import asyncio
import sys

import click
from rich.console import Console
from rich.text import Text

from ops.check import Finding, findings
from ops.invocation import Invocation, SignalqCommand, pass_invocation
from ops.render import console, plural, print_json

MARKS = {"ok": ("✓", "green"), "note": ("•", "yellow"), "wrong": ("✗", "bold red")}
NAME_COLUMNS = 13


@click.command(cls=SignalqCommand, example="signalq check")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: check, state, found, advice.")
@pass_invocation
def command(invocation: Invocation, *, as_json: bool) -> int:
    """Say what is right, what is wrong, and what to do about it. Changes nothing, sends nothing.

    It looks at the settings, the broker, the exchanges and queues, the ledger and the webhook's host
    (which is connected to, never POSTed to). The exit status is 1 if something is wrong.
    """
    return asyncio.run(_check(invocation, as_json=as_json))


async def _check(invocation: Invocation, *, as_json: bool) -> int:
    wrong = 0
    out = console()
    async for finding in findings(invocation.settings(), invocation.config):
        wrong += finding.state == "wrong"
        if as_json:
            print_json(finding.row())
        else:
            _show(out, finding)
    if not as_json:
        out.print(Text("all is well" if not wrong else f"{plural(wrong, 'thing is', 'things are')} wrong"))
    sys.stdout.flush()
    return 1 if wrong else 0


def _show(out: Console, finding: Finding) -> None:
    mark, style = MARKS[finding.state]
    line = Text.assemble((mark, style), " ", (finding.check.ljust(NAME_COLUMNS), "bold"), finding.found)
    out.print(line)
    if finding.advice:
        out.print(Text.assemble(" " * (NAME_COLUMNS + 2), ("→ ", style), finding.advice))
