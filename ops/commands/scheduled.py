"""`signalq scheduled list` and `signalq scheduled cancel`."""

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from signalq.consumer.ledger.queries.orders import Filter
from signalq.ops.scheduled import ROWS_MAX, cancel, list_pending
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, as_stored, pass_invocation
from signalq.ops.terminal.render import Column, Row, plural, print_rows, say, shown

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


def _filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that filter intents; the command gets them as `wanted`. Raises UsageError if they contradict."""

    @click.option(
        "--id", "intent_ids", type=as_stored, metavar="ID", multiple=True, help="Only this intent; may be repeated."
    )
    @click.option("--connector", type=as_stored, metavar="NAME", help="Only this connector.")
    @click.option("--strategy", type=as_stored, metavar="NAME", help="Only this strategy.")
    @click.option("--all", "everything", is_flag=True, help="All there are.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
    @wraps(function)
    def with_filter(*, everything: bool, as_json: bool, **names: Any) -> Any:
        wanted = Filter(**names)
        if everything and wanted != Filter():
            raise click.UsageError("--all and a filter contradict each other")
        return function(wanted=wanted, everything=everything, as_json=as_json)

    return with_filter


@command.command("list", example="signalq scheduled list --connector main")
@_filtered
@pass_invocation
def list_scheduled(invocation: Invocation, /, *, wanted: Filter, everything: bool, as_json: bool) -> None:
    """List the intents that wait, the soonest due first."""
    del everything  # the same as no filter
    rows, unlisted = asyncio.run(list_pending(invocation.settings(), wanted))
    if rows:
        print_rows(COLUMNS, rows, as_json=as_json, note=_note)
    say(f"{plural(len(rows), 'intent')} scheduled" if rows else "nothing that fits is scheduled")
    if unlisted:
        say(f"{unlisted:,} more are not shown: a listing has at most {ROWS_MAX:,} rows")


@command.command("cancel", example="signalq scheduled cancel --id 3b61a24e3b6743658da38126d25cb526")
@_filtered
@pass_invocation
def cancel_scheduled(invocation: Invocation, /, *, wanted: Filter, everything: bool, as_json: bool) -> int:
    """Cancel the intents that wait, and answer for each: canceled, or too late.

    The ledger decides: a canceled intent is not POSTed any more, an intent that was claimed before is too late. The
    exit status is 1 if any was too late, or is unknown. The outcomes are published at once; if RabbitMQ can't be
    reached, the consumer publishes each when the canceled intent would have been due.
    """
    if not everything and wanted == Filter():
        raise click.UsageError("say which: --id, --connector, --strategy, or --all")
    done = asyncio.run(cancel(invocation.settings(), wanted))
    if done.rows:
        print_rows([RESULT, *COLUMNS], done.rows, as_json=as_json, note=_note)
    say(_summary(len(done.rows) - done.too_late, done.too_late))
    if done.why_unpublished is not None:
        say(f"their outcome events come when they would have been due ({done.why_unpublished})")
    if done.unknown_ids:
        names = ", ".join(done.unknown_ids)
        raise CommandFailed(f"the ledger knows no intent {names}: `signalq scheduled list` shows the intents that wait")
    return 1 if done.too_late else 0


def _summary(canceled: int, too_late: int) -> str:
    if not canceled and not too_late:
        return "nothing that fits is scheduled"
    return f"{plural(canceled, 'intent')} canceled" + (f", {too_late:,} too late" if too_late else "")


def _note(row: Row) -> str:
    return shown(row["intent_id"])
