"""`signalq orders list` and `signalq orders show`."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from signalq.consumer.ledger.queries.orders import STATUSES, Filter
from signalq.consumer.orders.state import REASONS
from signalq.kinds import Kind
from signalq.ops.orders.records import read_orders, read_timelines
from signalq.ops.orders.stats import read_stats
from signalq.ops.orders.stats_view import print_stats
from signalq.ops.orders.timeline_view import print_order
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, as_stored, one_of, pass_invocation
from signalq.ops.terminal.listing import View, listing_options
from signalq.ops.terminal.moments import moment
from signalq.ops.terminal.near_connector import say_near_connector
from signalq.ops.terminal.order_columns import ORDER_COLUMNS
from signalq.ops.terminal.plain import Row, plural
from signalq.ops.terminal.render import note, print_json
from signalq.ops.terminal.spool import Spool
from signalq.ops.terminal.watching import Look, watch
from signalq.settings.sections import Settings

ROWS_DEFAULT = 100
STATS_SINCE = "24h"
# So many are sorted at each look of a --watch.
WATCHED_ROWS_MAX = 100_000


def _status(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value == "duplicate":
        raise click.BadParameter("a duplicate has no row of its own: see the consumer's log")
    return one_of("status", STATUSES)(context, parameter, value)


@click.group(
    cls=SignalqGroup,
    example="signalq orders list --status dead --since 1h\nsignalq orders show ID\nsignalq orders stats",
)
def command() -> None:
    """The state of each intent, as the ledger knows it.

    An intent is there from its first attempt on (from its first receipt if it is delayed or undated),
    until ledger.retention_days after its ending. A message that could not be read is among the dead
    letters alone.
    """


@command.command("list", example="signalq orders list --connector main --status dead --since 2h")
@click.option(
    "--id", "intent_ids", type=as_stored, metavar="ID", multiple=True, help="Only this intent; may be repeated."
)
@click.option("--connector", type=as_stored, metavar="NAME", help="Only this connector.")
@click.option("--strategy", type=as_stored, metavar="NAME", help="Only this strategy.")
@click.option("--status", callback=_status, metavar="STATUS", help=f"Only this one: {', '.join(STATUSES)}.")
@click.option(
    "--reason",
    callback=one_of("reason", REASONS),
    metavar="REASON",
    help="Only this reason: rejected, expired, outcome-unknown, …",
)
@click.option(
    "--since",
    callback=moment,
    metavar="WHEN",
    help="Only intents that came or changed since then: so long ago (90s, 15m, 2h, 1d), or a time "
    "(2026-01-31T12:00, in UTC unless it says otherwise).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help=f"At most the N newest; {ROWS_DEFAULT} by default.")
@click.option("--all", "everything", is_flag=True, help="As many as there are.")
@listing_options(ORDER_COLUMNS)
@pass_invocation
def list_orders(
    invocation: Invocation,
    /,
    *,
    status: str | None,
    reason: str | None,
    since: datetime | timedelta | None,
    limit: int | None,
    everything: bool,
    view: View,
    **names: Any,
) -> None:
    """List intents, the newest first, by when the ledger first heard of them.

    On a terminal, times are local, and an ID is cut to what tells it from the others: every command that takes an ID
    takes it so. --sort sorts the rows that are listed. An intent whose dead letter is not confirmed yet is shown as
    retrying, with its reason.
    """
    if everything and limit:
        raise click.UsageError("--all and --limit contradict each other")
    rows_max = None if everything else limit or ROWS_DEFAULT
    wanted = Filter(**names, status=status, reason=reason)
    settings = invocation.settings()
    if view.watch_s is not None:
        asyncio.run(watch("signalq orders list", view, _looking(settings, wanted, since, rows_max)))
    else:
        asyncio.run(_list(settings, wanted, since, rows_max, view))


@command.command("show", example="signalq orders show 3b61a24e3b6743658da38126d25cb526")
@click.argument("intent_id", type=as_stored, metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an intent, with its timeline as a list.")
@pass_invocation
def show_order(invocation: Invocation, *, intent_id: str, as_json: bool) -> None:
    """Show one intent and its timeline, oldest first.

    Two strategies may use the same ID: then both are shown. The exit status is 1 if there is none.
    """
    settings = invocation.settings()
    found = asyncio.run(read_timelines(settings, intent_id))
    if not found:
        raise CommandFailed(
            f"the ledger knows no intent {intent_id}: it was not taken up yet, could not be read (see `signalq dead "
            f"list`), or ended more than {settings.ledger.retention_days:g} days ago (ledger.retention_days)",
            kind=Kind.UNKNOWN_ID,
        )
    for number, order in enumerate(found):
        if as_json:
            print_json(order)
        else:
            print_order(order, is_first=not number)


@command.command("stats", example="signalq orders stats --since 7d\nsignalq orders stats --connector main --json")
@click.option("--connector", type=as_stored, metavar="NAME", help="Only this connector.")
@click.option("--strategy", type=as_stored, metavar="NAME", help="Only this strategy.")
@click.option(
    "--since",
    callback=moment,
    default=STATS_SINCE,
    metavar="WHEN",
    help="Only intents that came or changed since then: so long ago (2h, 7d), or a time "
    f"(2026-01-31T12:00, in UTC unless it says otherwise); {STATS_SINCE} by default.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: for all, by connector, by hour.")
@pass_invocation
def show_stats(invocation: Invocation, /, *, since: datetime | timedelta, as_json: bool, **names: str | None) -> None:
    """Show at a glance how many orders ended how, and how long they took, by connector and by hour.

    More than 48 hours are told by the day, but for --json. Queued is the time from an order's creation to its first
    POST, late the time from the due time of a delayed one; a POST is one attempt. Of each, half of the orders took at
    most the first time (p50), and 99 of 100 the second (p99).
    """
    stats = asyncio.run(read_stats(invocation.settings(), Filter(**names), since))  # type: ignore[arg-type]
    print_stats(stats, as_json=as_json)


async def _list(
    settings: Settings, wanted: Filter, since: datetime | timedelta | None, rows_max: int | None, view: View
) -> None:
    """Write JSON page by page; write a table, or sorted rows, at the end."""
    with Spool() as rows:
        on_page: Callable[[list[dict[str, object]]], None] = rows.extend
        if view.as_json and view.sort is None:
            on_page = view.print
        count, more = await read_orders(settings, wanted, on_page, since=since, rows_max=rows_max)
        if len(rows):
            view.print(rows)
    note(_summary(count, more))
    if not count:
        say_near_connector(settings, wanted.connector)


def _looking(settings: Settings, wanted: Filter, since: datetime | timedelta | None, listed_max: int | None) -> Look:
    """Return the look at the newest orders, as many as fit the terminal; at those that are listed, to sort them."""
    listed_max = min(listed_max or WATCHED_ROWS_MAX, WATCHED_ROWS_MAX)

    async def look(rows_max: int | None) -> tuple[list[Row], str]:
        rows: list[Row] = []
        rows_max = min(rows_max or listed_max, listed_max)
        count, _ = await read_orders(settings, wanted, rows.extend, since=since, rows_max=rows_max, counts_more=False)
        return rows, f"the {count:,} newest intents" if count == rows_max > 1 else plural(count, "intent")

    return look


def _summary(count: int, more: int) -> str:
    if not count:
        return "the ledger knows no intent that fits"
    if not more:
        return plural(count, "intent")
    newest = "newest intent" if count == 1 else f"{count:,} newest intents"
    return f"the {newest}; {more:,} more fit: `--limit` shows more, `--all` all"
