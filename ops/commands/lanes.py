"""`signalq lanes list`, `pause`, `close-only` and `resume`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import click

from signalq.consumer.orders.switch import ALL, State
from signalq.kinds import Kind
from signalq.message.field_rules import connector_name
from signalq.message.near_names import NearNames
from signalq.ops.lanes import (
    SWITCH_WAIT_S,
    WHY_CHARACTERS_MAX,
    ChangedSwitch,
    LaneReader,
    change_switch,
    list_lanes,
)
from signalq.ops.ledger import open_ledger, this_user
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, as_stored, pass_invocation
from signalq.ops.terminal.listing import View, listing_options
from signalq.ops.terminal.plain import Row, plural
from signalq.ops.terminal.render import Column, console, print_json
from signalq.ops.terminal.watching import watch
from signalq.settings.sections import Settings

SHARED = "(shared lane)"
STYLES = {"open": "green", "close-only": "yellow", "paused": "red"}
COLUMNS = [
    Column("connector", "CONNECTOR", style="bold", least=16, is_name=True),
    Column("state", "STATE", style=lambda value: STYLES.get(str(value), "")),
    Column("ready", "READY", right=True),
    Column("unacked", "UNACKED", right=True),
    Column("queue", "QUEUE", least=24, rank=1, is_name=True),
    Column("active_consumer", "CONSUMER", least=14, is_name=True),
]


@click.group(cls=SignalqGroup, example="signalq lanes list\nsignalq lanes pause --all --why 'the platform is down'")
def command() -> None:
    """The lanes, and the switch: stop connectors within a second, and let them go on."""


@command.command("list", example="signalq lanes list\nsignalq lanes list --watch --sort -ready")
@listing_options(COLUMNS)
@pass_invocation
def list_all(invocation: Invocation, *, view: View) -> None:
    """List the lanes: their waiting orders, the state of the switch, and the consumer that serves them.

    A connector without a lane of its own has a row where the switch names it. With --json the row of
    the shared lane has no connector.
    """
    settings = invocation.settings()
    if view.watch_s is not None:
        asyncio.run(_watch(settings, view))
        return
    rows = asyncio.run(list_lanes(settings))
    view.print(rows if view.as_json else _named(rows))


async def _watch(settings: Settings, view: View) -> None:
    async with LaneReader(settings) as reader:

        async def look(_rows_max: int | None) -> tuple[list[Row], str]:
            rows = await reader.rows()
            return _named(rows), plural(len(rows), "lane")

        await watch("signalq lanes list", view, look)


def _named(rows: Sequence[Row]) -> list[Row]:
    """The rows with a name for the shared lane, which has no connector."""
    return [{**row, "connector": row["connector"] or SHARED} for row in rows]


def _changing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments of the three commands that change the switch."""
    # From the last one in the help to the first.
    function = click.option("--json", "as_json", is_flag=True, help="One JSON object: what was done.")(function)
    function = click.option(
        "--why", type=as_stored, metavar="TEXT", default="", help="The reason, for the log and the audit."
    )(function)
    function = click.option("--all", "everything", is_flag=True, help="All connectors, also ones not seen yet.")(
        function
    )
    return pass_invocation(click.argument("connector", required=False)(function))


@command.command("pause", example="signalq lanes pause main --why 'odd fills'\nsignalq lanes pause --all")
@_changing
def pause(invocation: Invocation, **given: Any) -> None:
    """Let no POST begin later than 1 s after this command returned.

    A POST on the wire is finished. Waiting orders keep their place, and grow old: an order that gets too
    old is dead, expired. The pause holds over restarts, until `signalq lanes resume`.
    """
    _change(invocation.settings(), "paused", **given)


@command.command("close-only", example="signalq lanes close-only main\nsignalq lanes close-only --all")
@_changing
def close_only(invocation: Invocation, **given: Any) -> None:
    """Let exits go alone: opens are dead, forbidden, when they would be POSTed.

    Exits are closeLong, closeShort, cancel and cancelAll. Delayed and replayed opens are judged when
    they are due. The state holds over restarts, until `signalq lanes resume`.
    """
    _change(invocation.settings(), "close-only", **given)


@command.command("resume", example="signalq lanes resume main\nsignalq lanes resume --all")
@_changing
def resume(invocation: Invocation, **given: Any) -> None:
    """Let a connector go on; with --all, every connector, whatever its own state.

    A connector stays as it is while the switch of all connectors is stricter than its own.
    """
    _change(invocation.settings(), "open", **given)


def _change(
    settings: Settings, state: State, *, connector: str | None, everything: bool, why: str, as_json: bool
) -> None:
    """Change the switch. Raises CommandFailed if a consumer that lives has not taken it up."""
    name = _meant(connector, everything=everything)
    if len(why) > WHY_CHARACTERS_MAX:
        raise click.UsageError(f"--why takes at most {WHY_CHARACTERS_MAX} characters")
    done = asyncio.run(_changed(settings, name, state, why))
    if as_json:
        print_json(done.row())
    else:
        console().print(_said(done))
    if name != ALL and settings.connectors and name not in settings.connectors:
        near = NearNames(settings.connectors).of(name)
        nearest = f", the nearest is {escaped(near)}" if near is not None else ""
        console(stderr=True).print(f"the settings name no connector {escaped(name)}{nearest}")
    if done.not_taken_up_by:
        late = ", ".join(escaped(one) for one in done.not_taken_up_by)
        raise CommandFailed(
            f"the switch is changed, but not taken up within {SWITCH_WAIT_S:g} s by {late}: look at the log of it",
            kind=Kind.NOT_TAKEN_UP,
        )


async def _changed(settings: Settings, connector: str, state: State, why: str) -> ChangedSwitch:
    async with open_ledger(settings) as ledger:
        return await change_switch(ledger, connector, state, why=why, actor=this_user())


def _meant(connector: str | None, *, everything: bool) -> str:
    if everything == (connector is not None):
        raise click.UsageError("say which: one CONNECTOR, or --all")
    if connector is None:
        return ALL
    try:
        return connector_name(connector)
    except UnicodeEncodeError:
        raise click.UsageError("CONNECTOR is no UTF-8") from None
    except ValueError as error:
        raise click.UsageError(f"CONNECTOR {error}") from None


def _said(done: ChangedSwitch) -> str:
    """One sentence for people: the state that holds now, and how many consumers have taken it up."""
    name = escaped(done.change.connector)
    subject = f"{name} is" if name else "all connectors are"
    if done.effective != done.change.state:
        own = f"{subject} {done.effective} as before: all connectors are, and {name} itself is {done.change.state} now"
        said = f"{own} (`signalq lanes resume --all` opens all)"
    else:
        said = f"{subject} {done.effective} now"
    if done.taken_up_by:
        return f"{said}; {plural(len(done.taken_up_by), 'consumer has', 'consumers have')} taken it up"
    return f"{said}; no consumer runs, it holds for those that come" if not done.not_taken_up_by else said
