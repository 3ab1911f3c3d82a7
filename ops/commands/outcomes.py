"""`signalq outcomes`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from signalq.message.identity import short_id
from signalq.message.outcome import STATUSES, Outcome, Status
from signalq.ops.outcomes import OutcomeFilter, follow
from signalq.ops.terminal.invocation import Invocation, NearChoice, SignalqCommand, as_stored, pass_invocation
from signalq.ops.terminal.layout import GAP, ID_CHARACTERS_MIN
from signalq.ops.terminal.moments import moment, time_or_day
from signalq.ops.terminal.render import console, cut_name, note, print_json, say, shown, sized
from signalq.ops.terminal.stopping import stop_event

if TYPE_CHECKING:
    from signalq.settings.sections import Settings

# The columns in a pipe, and on a terminal, where one of 100 columns or more has room for the strategy as well.
COLUMNS = {"updated_at": 24, "status": 9, "connector": 16, "strategy": 16, "action": 10, "why": 15}
NARROW = {"updated_at": 8, "status": 9, "connector": 13, "action": 10, "why": 15}
WIDE = {"updated_at": 8, "status": 9, "connector": 16, "strategy": 13, "action": 10, "why": 15}
WIDE_FROM_COLUMNS = 100
STYLES = {"delivered": "green", "dead": "red", "canceled": "yellow", "duplicate": "dim"}


@click.command(
    cls=SignalqCommand, example="signalq outcomes --connector main --since 1h\nsignalq outcomes --status dead --json"
)
@click.option("--connector", type=as_stored, metavar="NAME", help="Only this connector.")
@click.option("--strategy", type=as_stored, metavar="NAME", help="Only this strategy.")
@click.option("--status", type=NearChoice(STATUSES), help="Only this ending.")
@click.option(
    "--since",
    callback=moment,
    metavar="WHEN",
    help="First the endings since then, by the ledger: so long ago (90s, 15m, 2h, 1d), or a time "
    "(2026-01-31T12:00, in UTC unless it says otherwise).",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_invocation
def command(
    invocation: Invocation,
    *,
    connector: str | None,
    strategy: str | None,
    status: Status | None,
    since: datetime | timedelta | None,
    as_json: bool,
) -> None:
    """Follow the outcomes of intents, live: a line for each ending, from now on, until Ctrl-C.

    It reads the events on the exchange of outcomes, and takes none away from other listeners. If the connection is
    lost, it says so and connects again; intents that ended meanwhile are not shown. An ending is shown once, even if
    its event comes again. The ledger, which --since asks, knows no duplicates and no unreadable messages.
    """
    settings = invocation.settings()
    asyncio.run(_run(settings, OutcomeFilter(connector, strategy, status), since, as_json=as_json))


async def _run(settings: Settings, wanted: OutcomeFilter, since: datetime | timedelta | None, *, as_json: bool) -> None:
    async def past() -> list[Outcome]:
        if since is None:
            return []
        # Imported here: the ledger's libraries take as long to import as all others together.
        from signalq.ops.orders.past import past_outcomes  # noqa: PLC0415

        found, are_all = await past_outcomes(
            settings, since, connector=wanted.connector, strategy=wanted.strategy, status=wanted.status
        )
        if not are_all:
            say(f"more have ended since then: the latest {len(found):,} are shown")
        return found

    await follow(
        settings,
        wanted,
        until=stop_event(),
        on_outcome=_printer(as_json=as_json),
        on_away=_say_away,
        on_open=lambda: note("following; Ctrl-C ends it"),
        past=past,
    )


def _printer(*, as_json: bool) -> Callable[[Outcome], None]:
    if as_json:
        return lambda outcome: print_json(outcome.row())
    out = console()
    columns, id_columns = _layout(out)
    titles = {name: name.upper().replace("_", " ") for name in columns} | {"updated_at": "ENDED"}
    out.print(Text(f"{_cells(titles, columns)}{GAP}INTENT", style="bold dim"))
    sys.stdout.flush()

    def show(outcome: Outcome) -> None:
        out.print(_line(outcome, columns, id_columns))
        sys.stdout.flush()

    return show


def _layout(out: Console) -> tuple[dict[str, int], int | None]:
    """The columns with their widths, and how many columns of a terminal are left for the id; None in a pipe."""
    if not out.is_terminal:
        return COLUMNS, None
    columns = WIDE if out.width >= WIDE_FROM_COLUMNS else NARROW
    return columns, max(out.width - sum(columns.values()) - len(GAP) * len(columns), ID_CHARACTERS_MIN)


def _line(outcome: Outcome, columns: dict[str, int], id_columns: int | None) -> Text:
    """The line of one outcome. The id comes last: other commands take it, also cut as here, as an argument."""
    row = outcome.row()
    texts = {name: shown(row.get(name)) for name in columns} | {"why": shown(outcome.reason or outcome.http_status)}
    if id_columns is not None and outcome.updated_at is not None:
        texts["updated_at"] = time_or_day(row["updated_at"])
    intent_id = shown(outcome.intent_id)
    if id_columns is not None:
        texts = {name: cut_name(text, columns[name]) for name, text in texts.items()}
        intent_id = cut_name(short_id(intent_id, id_columns), id_columns)
    return Text(_cells(texts, columns), style=STYLES[outcome.status]).append(f"{GAP}{intent_id}", style="dim")


def _cells(texts: dict[str, str], columns: dict[str, int]) -> str:
    """The texts, padded; in a pipe a longer one is whole."""
    return GAP.join(sized(texts[name], max(width, cell_len(texts[name]))) for name, width in columns.items())


def _say_away(why: str | None) -> None:
    say("listening again; what ended meanwhile was not seen" if why is None else f"{why}; trying again")
