"""`signalq orders list` and `signalq orders show`."""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import click

from signalq.consumer.ledger.queries.orders import STATUSES, Filter
from signalq.consumer.orders.state import REASONS
from signalq.ops.orders.records import read_orders, read_timelines
from signalq.ops.orders.timeline_view import STATUS_STYLES, print_order
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, as_stored, one_of, pass_invocation
from signalq.ops.terminal.render import Column, Row, plural, print_json, print_rows, say, shown
from signalq.settings.sections import Settings

ROWS_DEFAULT = 100
# A table's columns are as wide as its widest row, so it holds all of them.
TABLE_ROWS_MAX = 100_000

COLUMNS = [
    Column("created_at", "CREATED AT", style="dim"),
    Column("intent_id", "INTENT", plain_only=True),
    Column("generation", "GEN", right=True, plain_only=True),
    Column("status", "STATUS", style=lambda value: STATUS_STYLES.get(str(value), "")),
    Column("reason", "REASON"),
    Column("connector", "CONNECTOR", style="bold", may_be_cut=True),
    Column("strategy", "STRATEGY", may_be_cut=True),
    Column("action", "ACTION", may_be_cut=True),
    Column("client_order_id", "CLIENT ORDER", plain_only=True),
    Column("attempts", "TRIES", right=True),
    Column("http_status", "HTTP", right=True),
    Column("due_at", "DUE AT", plain_only=True),
    Column("updated_at", "UPDATED AT", plain_only=True),
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_UNITS_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def _status(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value == "duplicate":
        raise click.BadParameter("a duplicate has no row of its own: see the consumer's log")
    return one_of("status", STATUSES)(context, parameter, value)


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """A moment: so long ago (`15m`), or a time in ISO 8601, in UTC unless it says otherwise."""
    if value is None:
        return None
    try:
        if found := _DURATION.fullmatch(value):
            return timedelta(seconds=float(found[1]) * _UNITS_S[found[2]])
        at = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        example = "15m, 2h or 1d, nor a time like 2026-01-31T12:00"
        raise click.BadParameter(f"{value} is neither a duration like {example}") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@click.group(cls=SignalqGroup, example="signalq orders list --status dead --since 1h\nsignalq orders show ID")
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
    callback=_moment,
    metavar="WHEN",
    help="Only intents that came or changed since then: so long ago (90s, 15m, 2h, 1d), or a time "
    "(2026-01-31T12:00, in UTC unless it says otherwise).",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help=f"At most the N newest; {ROWS_DEFAULT} by default.")
@click.option("--all", "everything", is_flag=True, help="As many as there are.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
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
    as_json: bool,
    **names: Any,
) -> None:
    """List intents, the newest first, by when the ledger first heard of them.

    An intent whose dead letter is not confirmed yet is shown as retrying, with its reason.
    """
    if everything and limit:
        raise click.UsageError("--all and --limit contradict each other")
    rows_max = None if everything else limit or ROWS_DEFAULT
    wanted = Filter(**names, status=status, reason=reason)
    asyncio.run(_list(invocation.settings(), wanted, since, rows_max, as_json=as_json))


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
            f"list`), or ended more than {settings.ledger.retention_days:g} days ago (ledger.retention_days)"
        )
    for number, order in enumerate(found):
        if as_json:
            print_json(order)
        else:
            print_order(order, is_first=not number)


async def _list(
    settings: Settings, wanted: Filter, since: datetime | timedelta | None, rows_max: int | None, *, as_json: bool
) -> None:
    """Write JSON page by page, however many there are; write a table at the end."""
    rows: list[Row] = []
    on_page: Callable[[list[dict[str, object]]], None] = rows.extend
    if as_json:
        on_page = partial(print_rows, COLUMNS, as_json=True)
    else:
        rows_max = TABLE_ROWS_MAX if rows_max is None else min(rows_max, TABLE_ROWS_MAX)
    count, more = await read_orders(settings, wanted, on_page, since=since, rows_max=rows_max)
    if rows:
        print_rows(COLUMNS, rows, as_json=False, note=_note)
    say(_summary(count, more))


def _summary(count: int, more: int) -> str:
    if not count:
        return "the ledger knows no intent that fits"
    if not more:
        return plural(count, "intent")
    ways = "`--limit` shows more, `--all` all" if count < TABLE_ROWS_MAX else "`--all --json` shows all"
    newest = "newest intent" if count == 1 else f"{count:,} newest intents"
    return f"the {newest}; {more:,} more fit: {ways}"


def _note(row: Row) -> str:
    generation = "" if row["generation"] == 1 else f"  generation {row['generation']}"
    client_order = "" if row["client_order_id"] is None else f"  client order {shown(row['client_order_id'])}"
    due = "" if row["due_at"] is None else f"  due {row['due_at']}"
    return f"{shown(row['intent_id'])}{generation}{client_order}{due}"
