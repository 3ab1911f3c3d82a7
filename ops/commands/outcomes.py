"""`signalq outcomes`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from rich.text import Text

from signalq.message.outcome import STATUSES, Outcome, Status
from signalq.ops.outcomes import OutcomeFilter, follow
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, as_stored, pass_invocation
from signalq.ops.terminal.render import console, print_json, say, shown, sized
from signalq.ops.terminal.stopping import stop_event

if TYPE_CHECKING:
    from signalq.settings.sections import Settings

COLUMNS = {"updated_at": 24, "status": 9, "connector": 16, "strategy": 16, "action": 10, "why": 15}
STYLES = {"delivered": "green", "dead": "red", "canceled": "yellow", "duplicate": "dim"}


@click.command(cls=SignalqCommand, example="signalq outcomes --connector main\nsignalq outcomes --status dead --json")
@click.option("--connector", type=as_stored, metavar="NAME", help="Only this connector.")
@click.option("--strategy", type=as_stored, metavar="NAME", help="Only this strategy.")
@click.option("--status", type=click.Choice(STATUSES), help="Only this ending.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_invocation
def command(
    invocation: Invocation, *, connector: str | None, strategy: str | None, status: Status | None, as_json: bool
) -> None:
    """Follow the outcomes of intents, live: a line for each ending, from now on, until Ctrl-C.

    It reads the events on the exchange of outcomes, and takes none away from other listeners. If the connection is
    lost, it says so and connects again; intents that ended meanwhile are not shown. An ending is shown once, even if
    its event comes again.
    """
    settings = invocation.settings()
    asyncio.run(_run(settings, OutcomeFilter(connector, strategy, status), as_json=as_json))


async def _run(settings: Settings, wanted: OutcomeFilter, *, as_json: bool) -> None:
    await follow(
        settings,
        wanted,
        until=stop_event(),
        on_outcome=_printer(as_json=as_json),
        on_away=_say_away,
        on_open=lambda: say("following; Ctrl-C ends it"),
    )


def _printer(*, as_json: bool) -> Callable[[Outcome], None]:
    if as_json:
        return lambda outcome: print_json(outcome.row())
    out = console()
    out.print(Text(_columns({name: name.upper().replace("_", " ") for name in COLUMNS}) + "  INTENT", style="bold dim"))
    sys.stdout.flush()

    def show(outcome: Outcome) -> None:
        out.print(_line(outcome))
        sys.stdout.flush()

    return show


def _line(outcome: Outcome) -> Text:
    """The line of one outcome. The id comes last and is never cut: other commands take it as an argument."""
    row = outcome.row()
    texts = {name: shown(row.get(name)) for name in COLUMNS} | {"why": shown(outcome.reason or outcome.http_status)}
    line = Text(_columns(texts), style=STYLES[outcome.status])
    return line.append(f"  {shown(outcome.intent_id)}", style="dim")


def _columns(texts: dict[str, str]) -> str:
    return "  ".join(sized(texts[name], columns) for name, columns in COLUMNS.items())


def _say_away(why: str | None) -> None:
    say("listening again; what ended meanwhile was not seen" if why is None else f"{why}; trying again")
