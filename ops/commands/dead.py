"""`signalq dead list` and `signalq dead show`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from consumer.settings import Settings
from ops.dead import LETTERS_MAX, DeadLetters
from ops.errors import CommandFailed
from ops.escaping import escaped
from ops.invocation import Invocation, SignalqCommand, SignalqGroup, pass_invocation
from ops.letters import DeadLetter
from ops.render import Column, Row, console, plural, print_json, print_rows, shown

# Below this nobody would see the bar.
BAR_FROM_LETTERS = 2000
BAR_COLUMNS = 32
NAME_COLUMNS = 18

COLUMNS = [
    Column("dead_at", "DEAD AT", style="dim"),
    Column("intent_id", "INTENT", plain_only=True),
    Column("generation", "GEN", right=True, plain_only=True),
    Column("reason", "REASON", style="red"),
    Column("connector", "CONNECTOR", style="bold", may_be_cut=True),
    Column("strategy", "STRATEGY", may_be_cut=True),
    Column("action", "ACTION", may_be_cut=True),
    Column("client_order_id", "CLIENT ORDER", may_be_cut=True),
    Column("attempts", "TRIES", right=True),
    Column("http_status", "HTTP", right=True),
    Column("detail", "DETAIL", plain_only=True),
]


@click.group(cls=SignalqGroup, example="signalq dead list --reason rejected")
def command() -> None:
    """Look at the dead letters: intents that were not delivered, and why.

    Looking changes nothing: every letter stays where it is, in its order.
    """


@command.command("list", cls=SignalqCommand, example="signalq dead list --reason rejected --connector main")
@click.option("--id", "intent_id", metavar="ID", help="Only this intent.")
@click.option("--reason", metavar="REASON", help="Only this reason: rejected, expired, outcome-unknown, …")
@click.option("--connector", metavar="NAME", help="Only this connector.")
@click.option("--strategy", metavar="NAME", help="Only this strategy.")
@click.option("--all", "everything", is_flag=True, help="As many as there are; so it is without --limit.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most the N oldest of those that fit.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_invocation
def list_letters(
    invocation: Invocation, /, *, everything: bool, limit: int | None, as_json: bool, **filters: str | None
) -> None:
    """List the dead letters, oldest first; one that is there twice is shown and counted once.

    One reader at a time: a second one waits up to 10 s, and says so.
    """
    if everything and limit:
        raise click.UsageError("--all and --limit contradict each other")
    wanted = {name: value for name, value in filters.items() if value is not None}
    asyncio.run(_list(invocation.settings(), wanted, limit, as_json=as_json))


@command.command("show", cls=SignalqCommand, example="signalq dead show 3b61a24e3b6743658da38126d25cb526")
@click.argument("intent_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter, whole.")
@pass_invocation
def show_letter(invocation: Invocation, *, intent_id: str, as_json: bool) -> int:
    """Show one letter whole: its headers, its properties and its body, tokens masked.

    Two strategies may use the same ID: then both letters are shown. The exit status is 1 if there is none.
    """
    return asyncio.run(_show(invocation.settings(), intent_id, as_json=as_json))


async def _list(settings: Settings, wanted: dict[str, str], limit: int | None, *, as_json: bool) -> None:
    rows: list[Row] = []
    matched = 0
    async with DeadLetters(settings, on_wait=_say) as letters:
        with _bar(letters.ready) as step:
            async for letter in letters:
                step()
                row = letter.row()
                if all(row[name] == value for name, value in wanted.items()):
                    matched += 1
                    if limit is None or matched <= limit:
                        rows.append(row)
        read = min(letters.ready, LETTERS_MAX) - letters.copies
        unread = letters.ready - LETTERS_MAX
    if rows:
        print_rows(COLUMNS, rows, as_json=as_json, note=_note)
    _say(_summary(read, matched, len(rows)))
    if unread > 0:
        _say(f"{unread:,} more were not read: one look takes in the {LETTERS_MAX:,} oldest")


def _summary(read: int, matched: int, shown_count: int) -> str:
    if not read:
        return "there are no dead letters"
    letters = plural(read, "dead letter")
    said = f"{matched:,} of {letters} fit" if matched < read else letters
    if shown_count < matched:
        said += "; shown is the oldest" if shown_count == 1 else f"; shown are the {shown_count:,} oldest"
    return said


def _note(row: Row) -> str:
    return f"{shown(row['intent_id'])}  {shown(row['detail'])}"


async def _show(settings: Settings, intent_id: str, *, as_json: bool) -> int:
    async with DeadLetters(settings, on_wait=_say) as letters:
        with _bar(letters.ready) as step:
            found = []
            async for letter in letters:
                step()
                if letter.intent_id == intent_id:
                    found.append(letter)
    if not found:
        raise CommandFailed(f"there is no dead letter {intent_id}: `signalq dead list` shows those there are")
    for letter in found:
        if as_json:
            more = {"properties": letter.properties_shown(), "headers": letter.headers_shown()}
            print_json({**letter.row(), **more, "body": letter.body_shown()})
        else:
            _print_letter(letter)
    return 0


def _print_letter(letter: DeadLetter) -> None:
    out = console()
    for title, values in (
        ("Dead letter", letter.row()),
        ("Properties", letter.properties_shown()),
        ("Headers", letter.headers_shown()),
    ):
        out.print(Text(title, style="bold"))
        width = max([NAME_COLUMNS, *(len(shown(name)) for name in values)])
        for name, value in values.items():
            out.print(Text.assemble("  ", (shown(name).ljust(width), "dim"), "  ", shown(value)))
    out.print(Text.assemble(("Body", "bold"), (f"  {len(letter.body):,} bytes", "dim")))
    out.print(Text("  " + escaped(letter.body_shown())))


def _say(sentence: str) -> None:
    console(stderr=True).print(sentence)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on a terminal, where there are many letters; gives what to call for each."""
    errors = console(stderr=True)
    progress = Progress(
        TextColumn("reading"),
        BarColumn(BAR_COLUMNS),
        MofNCompleteColumn(),
        TextColumn("letters"),
        console=errors,
        transient=True,
        disable=not errors.is_terminal or total < BAR_FROM_LETTERS,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = progress.add_task("reading", total=min(total, LETTERS_MAX))
    with progress:
        yield lambda: progress.advance(task)
