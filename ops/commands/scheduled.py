"""`signalq scheduled list` and `signalq scheduled cancel`."""

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from signalq.consumer.ledger.queries.orders import Filter
from signalq.kinds import Kind
from signalq.ops.ledger import this_user
from signalq.ops.scheduled import ROWS_MAX, cancel, list_pending
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, as_stored, pass_invocation
from signalq.ops.terminal.listing import View, listing_options
from signalq.ops.terminal.moments import clock_time, span
from signalq.ops.terminal.near_connector import say_near_connector
from signalq.ops.terminal.order_columns import CLIENT_ORDER, CONNECTOR, INTENT, ORDER, STRATEGY
from signalq.ops.terminal.plain import Row, plural
from signalq.ops.terminal.render import Column, note, print_rows, say
from signalq.ops.terminal.watching import watch

COLUMNS = [
    Column("due_at", "DUE AT", short=clock_time),
    Column("remaining_s", "IN", right=True, style="bold", short=lambda seconds: span(float(str(seconds)))),
    INTENT,
    CONNECTOR,
    STRATEGY,
    ORDER,
    CLIENT_ORDER,
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
    @wraps(function)
    def with_filter(
        *,
        intent_ids: tuple[str, ...],
        connector: str | None,
        strategy: str | None,
        everything: bool,
        **rest: Any,
    ) -> Any:
        wanted = Filter(intent_ids, connector, strategy)
        if everything and wanted != Filter():
            raise click.UsageError("--all and a filter contradict each other")
        return function(wanted=wanted, everything=everything, **rest)

    return with_filter


@command.command("list", example="signalq scheduled list --connector main\nsignalq scheduled list --watch")
@_filtered
@listing_options(COLUMNS)
@pass_invocation
def list_scheduled(invocation: Invocation, /, *, wanted: Filter, everything: bool, view: View) -> None:
    """List the intents that wait, the soonest due first.

    On a terminal, times are local, and an ID is cut to what tells it from the others: every command that takes an ID
    takes it so.
    """
    del everything  # the same as no filter
    settings = invocation.settings()

    async def look(rows_max: int | None) -> tuple[list[Row], str]:
        rows, unlisted = await list_pending(settings, wanted, rows_max or ROWS_MAX)
        return [*rows], _scheduled(len(rows) + unlisted)

    if view.watch_s is not None:
        asyncio.run(watch("signalq scheduled list", view, look))
        return
    rows, unlisted = asyncio.run(list_pending(settings, wanted))
    if rows:
        view.print(rows)
    else:
        say_near_connector(settings, wanted.connector)
    note(_scheduled(len(rows)))
    if unlisted:
        say(f"{unlisted:,} more are not shown: a listing has at most {ROWS_MAX:,} rows")


@command.command("cancel", example="signalq scheduled cancel --id 3b61a24e3b6743658da38126d25cb526")
@_filtered
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_invocation
def cancel_scheduled(invocation: Invocation, /, *, wanted: Filter, everything: bool, as_json: bool) -> int:
    """Cancel the intents that wait, and answer for each: canceled, or too late.

    The ledger decides: a canceled intent is not POSTed any more, an intent that was claimed before is too late. The
    exit status is 1 if any was too late, or is unknown. The outcomes are published at once; if RabbitMQ can't be
    reached, the consumer publishes each when the canceled intent would have been due.
    """
    if not everything and wanted == Filter():
        raise click.UsageError("say which: --id, --connector, --strategy, or --all")
    done = asyncio.run(cancel(invocation.settings(), wanted, this_user()))
    if done.rows:
        print_rows([RESULT, *COLUMNS], done.rows, as_json=as_json)
    note(_summary(len(done.rows) - done.too_late, done.too_late))
    if done.why_unpublished is not None:
        say(f"their outcome events come when they would have been due ({done.why_unpublished})")
    if done.unknown_ids:
        names = ", ".join(done.unknown_ids)
        raise CommandFailed(
            f"the ledger knows no intent {names}: `signalq scheduled list` shows the intents that wait",
            kind=Kind.UNKNOWN_ID,
        )
    return 1 if done.too_late else 0


def _summary(canceled: int, too_late: int) -> str:
    if not canceled and not too_late:
        return "nothing that fits is scheduled"
    return f"{plural(canceled, 'intent')} canceled" + (f", {too_late:,} too late" if too_late else "")


def _scheduled(count: int) -> str:
    return f"{plural(count, 'intent')} scheduled" if count else "nothing that fits is scheduled"
