"""`signalq scheduled list` and `signalq scheduled cancel`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import click

from signalq.consumer.ledger.queries.schedule import Filter
from signalq.ops.scheduled import ROWS_MAX, cancel, list_pending
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, SignalqGroup, pass_invocation
from signalq.ops.terminal.render import Column, Row, console, plural, print_rows, shown

F = TypeVar("F", bound=Callable[..., object])

COLUMNS = [
    Column("due_at", "DUE AT"),
    Column("remaining_s", "IN S", right=True, style="bold"),
    Column("connector", "CONNECTOR", style="bold", may_be_cut=True),
    Column("strategy", "STRATEGY", may_be_cut=True),
    Column("action", "ACTION", may_be_cut=True),
    Column("client_order_id", "CLIENT ORDER", may_be_cut=True),
    Column("intent_id", "INTENT", plain_only=True),
]
RESULT = Column("result", "RESULT", style=lambda value: "green" if value == "canceled" else "red")


@click.group(cls=SignalqGroup, example="signalq scheduled list\nsignalq scheduled cancel --connector main")
def command() -> None:
    """Delayed intents that wait for their due time: look at them, or cancel them."""


def _filters(function: F) -> F:
    for option in reversed(
        [
            click.option("--id", "intent_ids", metavar="ID", multiple=True, help="Only this intent; may be repeated."),
            click.option("--connector", metavar="NAME", help="Only this connector."),
            click.option("--strategy", metavar="NAME", help="Only this strategy."),
            click.option("--all", "everything", is_flag=True, help="All there are."),
            click.option("--json", "as_json", is_flag=True, help="One JSON object a line."),
        ]
    ):
        function = option(function)
    return function


@command.command("list", cls=SignalqCommand, example="signalq scheduled list --connector main")
@_filters
@pass_invocation
def list_scheduled(
    invocation: Invocation,
    *,
    intent_ids: tuple[str, ...],
    connector: str | None,
    strategy: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List what waits, the soonest due first."""
    wanted = _wanted(intent_ids, connector, strategy, everything=everything)
    found = asyncio.run(list_pending(invocation.settings(), wanted))
    if found.rows:
        print_rows(COLUMNS, found.rows, as_json=as_json, note=_note)
    _say(f"{plural(len(found.rows), 'intent')} scheduled" if found.rows else "nothing that fits is scheduled")
    if found.unlisted:
        _say(f"{found.unlisted:,} more are not shown: a listing has at most {ROWS_MAX:,} rows")


@command.command("cancel", cls=SignalqCommand, example="signalq scheduled cancel --id 3b61a24e3b6743658da38126d25cb526")
@_filters
@pass_invocation
def cancel_scheduled(
    invocation: Invocation,
    *,
    intent_ids: tuple[str, ...],
    connector: str | None,
    strategy: str | None,
    everything: bool,
    as_json: bool,
) -> int:
    """Cancel what waits, and answer for each: canceled, or too late.

    The ledger decides: what is canceled is not POSTed any more, what was claimed before is too late. The exit status
    is 1 if any was too late, or is unknown. Whoever follows the outcomes is told; where RabbitMQ can't be reached, by
    the consumer, when the canceled intent would have been due.
    """
    wanted = _wanted(intent_ids, connector, strategy, everything=everything)
    if not everything and wanted == Filter():
        raise click.UsageError("say which: --id, --connector, --strategy, or --all")
    done = asyncio.run(cancel(invocation.settings(), wanted))
    if done.rows:
        print_rows([RESULT, *COLUMNS], done.rows, as_json=as_json, note=_note)
    _say(_summary(len(done.rows) - done.too_late, done.too_late))
    if done.why_untold is not None:
        _say(f"their outcome events come when they would have been due ({escaped(done.why_untold)})")
    if done.unknown_ids:
        names = ", ".join(escaped(one) for one in done.unknown_ids)
        raise CommandFailed(f"the ledger knows no intent {names}: `signalq scheduled list` shows what waits")
    return 1 if done.too_late else 0


def _wanted(intent_ids: tuple[str, ...], connector: str | None, strategy: str | None, *, everything: bool) -> Filter:
    wanted = Filter(intent_ids, connector, strategy)
    if everything and wanted != Filter():
        raise click.UsageError("--all and a filter contradict each other")
    return wanted


def _summary(canceled: int, too_late: int) -> str:
    if not canceled and not too_late:
        return "nothing that fits is scheduled"
    return f"{plural(canceled, 'intent')} canceled" + (f", {too_late:,} too late" if too_late else "")


def _note(row: Row) -> str:
    return shown(row["intent_id"])


def _say(sentence: str) -> None:
    console(stderr=True).print(sentence)
