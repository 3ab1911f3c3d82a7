"""`signalq dead`: list and show here; replay and discard in dead_apply.py."""

from __future__ import annotations

import asyncio

import click
from rich.text import Text

from signalq.ops.commands.dead_apply import discard_letters, filtered, replay_letters
from signalq.ops.dead_letters.channel import LETTERS_MAX
from signalq.ops.dead_letters.filter import LetterFilter
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.report import COLUMNS, note, reading
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.escaping import escaped, escaped_whole
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, SignalqGroup, pass_invocation
from signalq.ops.terminal.render import Spool, console, plural, print_json, print_rows, say, shown
from signalq.settings.sections import Settings

NAME_COLUMNS = 18


@click.group(cls=SignalqGroup, example="signalq dead list --reason rejected")
def command() -> None:
    """Look at the dead letters (intents that were not delivered, and why), replay or discard them.

    Looking changes nothing: every letter stays where it is, in its order.
    """


@command.command("list", cls=SignalqCommand, example="signalq dead list --reason rejected --connector main")
@filtered
@click.option("--all", "everything", is_flag=True, help="As many as there are; the same as no --limit.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most the N oldest of those that fit.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@pass_invocation
def list_letters(
    invocation: Invocation, /, *, wanted: LetterFilter, everything: bool, limit: int | None, as_json: bool
) -> None:
    """List the dead letters, oldest first; a letter that is there twice is shown and counted once.

    One reader at a time: a second one waits up to 10 s, and says so.
    """
    if everything and limit:
        raise click.UsageError("--all and --limit contradict each other")
    with Spool() as rows:
        sentences = asyncio.run(_list(invocation.settings(), wanted, limit, rows))
        if len(rows):
            print_rows(COLUMNS, rows, as_json=as_json, note=note)
    for sentence in sentences:
        say(sentence)


@command.command("show", cls=SignalqCommand, example="signalq dead show 3b61a24e3b6743658da38126d25cb526")
@click.argument("intent_id", metavar="ID")
@click.option("--raw", is_flag=True, help="Show headers, properties and body as they are, with all secrets.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter.")
@pass_invocation
def show_letter(invocation: Invocation, *, intent_id: str, raw: bool, as_json: bool) -> int:
    """Show one letter: its headers, its properties and its body.

    Of the body and of a producer's headers only the values of an intent's fields are shown, and never a token: a value
    under a misspelt name may be one, and so may a body that can't be read. --raw shows everything as it is.

    Two strategies may use the same ID: then both letters are shown. The exit status is 1 if there is none.
    """
    return asyncio.run(_show(invocation.settings(), intent_id, raw=raw, as_json=as_json))


command.add_command(replay_letters)
command.add_command(discard_letters)


async def _list(settings: Settings, wanted: LetterFilter, limit: int | None, rows: Spool) -> list[str]:
    """Read the letters into `rows`, and return what to say of them."""
    matched = 0
    async with reading(settings, "reading") as (letters, step):
        async for letter in letters:
            step()
            if wanted.fits(letter):
                matched += 1
                if limit is None or matched <= limit:
                    rows.add(letter.row())
        sentences = [_summary(letters.to_read - letters.copies, matched, len(rows))]
        if unread := letters.ready - letters.to_read:
            sentences.append(f"{unread:,} more were not read: one look takes in the {LETTERS_MAX:,} oldest")
    return sentences


def _summary(read: int, matched: int, shown_count: int) -> str:
    if not read:
        return "there are no dead letters"
    letters = plural(read, "dead letter")
    said = f"{matched:,} of {letters} fit" if matched < read else letters
    if shown_count < matched:
        said += "; shown is the oldest" if shown_count == 1 else f"; shown are the {shown_count:,} oldest"
    return said


async def _show(settings: Settings, intent_id: str, *, raw: bool, as_json: bool) -> int:
    found = []
    async with reading(settings, "reading") as (letters, step):
        async for letter in letters:
            step()
            if letter.intent_id == intent_id:
                found.append(letter)
    if not found:
        raise CommandFailed(f"there is no dead letter {intent_id}: `signalq dead list` shows those there are")
    for letter in found:
        show(letter, raw=raw, as_json=as_json)
    return 0


def show(letter: Letter, *, raw: bool, as_json: bool) -> None:
    """Show one letter."""
    properties, headers = letter.properties_shown(raw=raw), letter.headers_shown(raw=raw)
    if as_json:
        row = {**letter.row(), "properties": properties, "headers": headers, "body": letter.body_shown(raw=raw)}
        print_json(row, raw=raw)
    else:
        _print_letter(letter, properties, headers, raw=raw)


def _print_letter(letter: Letter, properties: dict[str, object], headers: dict[str, object], *, raw: bool) -> None:
    out = console()
    for title, values in (("Dead letter", letter.row()), ("Properties", properties), ("Headers", headers)):
        out.print(Text(title, style="bold"))
        width = max([NAME_COLUMNS, *(len(shown(name)) for name in values)])
        for name, value in values.items():
            text = escaped_whole(str(value)) if raw else shown(value)
            out.print(Text.assemble("  ", (shown(name).ljust(width), "dim"), "  ", text))
    out.print(Text.assemble(("Body", "bold"), (f"  {len(letter.body):,} bytes", "dim")))
    body = letter.body_shown(raw=raw)
    if body is not None:
        out.print(Text("  " + (escaped_whole(body) if raw else escaped(body))))
    if not raw and not letter.is_readable:
        out.print(Text(_NOT_SHOWN, style="dim"))


_NOT_SHOWN = "  (not shown: it is no JSON object, and may hold a token anywhere; `dead show --raw` shows it)"
