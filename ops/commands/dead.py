"""`signalq dead`: list, show, replay and discard."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import click

from signalq.consumer.orders.state import REASONS
from signalq.errors import SignalQError
from signalq.kinds import Kind
from signalq.ops.dead_letters.actions import DiscardAction, Errand, LetterAction, LetterResult, ReplayAction
from signalq.ops.dead_letters.batches import apply
from signalq.ops.dead_letters.census import Census
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.listing import Looked, list_noted
from signalq.ops.dead_letters.looking import letters_with, look_through, read_letters, with_whole_ids
from signalq.ops.dead_letters.reader import LETTERS_MAX
from signalq.ops.dead_letters.report import COLUMNS, ActionReport, reading, show
from signalq.ops.ledger import check_mark, open_ledger, this_user
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqGroup, as_stored, one_of, pass_invocation
from signalq.ops.terminal.listing import View, listing_options
from signalq.ops.terminal.near_connector import say_near_connector
from signalq.ops.terminal.plain import Row, plural
from signalq.ops.terminal.render import note, say
from signalq.ops.terminal.spool import Spool
from signalq.ops.terminal.traces import traced
from signalq.settings.sections import Settings

# Of the letters that the ledger knows, a terminal shows so many at once.
FIRST_ROWS = 200


@click.group(cls=SignalqGroup, example="signalq dead list --reason rejected")
def command() -> None:
    """Look at the dead letters (intents that were not delivered, and why), replay or discard them.

    A look leaves every letter where it is, in its order.
    """


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that a command line chooses, and how their results are shown."""

    wanted: LetterFilter
    dry_run: bool
    as_json: bool


def _filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that filter letters; the command gets them as `wanted`."""

    @click.option(
        "--id", "ids", type=as_stored, metavar="ID", multiple=True, help="Only this intent; give it again for more."
    )
    @click.option(
        "--reason",
        callback=one_of("reason", REASONS),
        metavar="REASON",
        help="Only this reason: rejected, expired, outcome-unknown, …",
    )
    @click.option("--connector", type=as_stored, metavar="NAME", help="Only this connector.")
    @click.option("--strategy", type=as_stored, metavar="NAME", help="Only this strategy.")
    @wraps(function)
    def with_filter(
        *, ids: tuple[str, ...], reason: str | None, connector: str | None, strategy: str | None, **rest: Any
    ) -> Any:
        return function(wanted=LetterFilter(frozenset(ids), reason, connector, strategy), **rest)

    return with_filter


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that replay and discard share, as `choice`. Raises UsageError if no letter is chosen."""

    @_filtered
    @click.option("--all", "everything", is_flag=True, help="All that fit; needed when there is no filter.")
    @click.option("--dry-run", is_flag=True, help="Say what would become of each letter, and change nothing.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a letter's row, result and why.")
    @wraps(function)
    def with_choice(*, wanted: LetterFilter, everything: bool, dry_run: bool, as_json: bool, **rest: Any) -> Any:
        if wanted == LetterFilter() and not everything:
            raise click.UsageError("say which letters: --id, --reason, --connector, --strategy, or --all")
        return function(choice=Choice(wanted, dry_run, as_json), **rest)

    return with_choice


@command.command("list", example="signalq dead list --reason rejected --connector main")
@_filtered
@click.option("--all", "everything", is_flag=True, help="As many as there are.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help=f"At most the N oldest of those that fit; on a terminal {FIRST_ROWS}, elsewhere all, unless you say.",
)
@click.option("--queue", "from_queue", is_flag=True, help="Read the queue itself, and tell the ledger what is there.")
@listing_options(COLUMNS, can_watch=False)
@pass_invocation
def list_letters(
    invocation: Invocation,
    /,
    *,
    wanted: LetterFilter,
    everything: bool,
    limit: int | None,
    from_queue: bool,
    view: View,
) -> None:
    """List the dead letters, oldest first; a letter that is there twice is shown and counted once.

    They are those that the ledger knows, and their number is compared with the queue's. --queue reads the queue,
    which has one reader at a time: a second one waits up to 10 s, and says so.
    """
    if everything and limit:
        raise click.UsageError("--all and --limit contradict each other")
    settings = invocation.settings()
    if limit is None and not everything and not view.as_json and view.sort is None and sys.stdout.isatty():
        limit = FIRST_ROWS
    with Spool() as rows:
        list_them = _list_queue if from_queue else _list
        found = asyncio.run(list_them(settings, wanted, rows, limit, view))
    if not found.shown:
        say_near_connector(settings, wanted.connector)
    for remark in (found.summary, *found.remarks):
        note(remark)
    for warning in found.warnings:
        say(warning)


async def _list(settings: Settings, wanted: LetterFilter, rows: Spool, limit: int | None, view: View) -> Looked:
    """List by the ledger. JSON is written page by page; a table, or sorted rows, at the end."""

    def keep(page: Sequence[Row]) -> None:
        for row in page:
            rows.add(row)

    async with open_ledger(settings) as ledger:
        is_written_at_once = view.as_json and view.sort is None
        said = await list_noted(settings, ledger, wanted, view.print if is_written_at_once else keep, limit)
    if len(rows):
        view.print(rows)
    return said


async def _list_queue(settings: Settings, wanted: LetterFilter, rows: Spool, limit: int | None, view: View) -> Looked:
    """List by the queue; all rows are written at the end: whoever pages through them must not keep the queue."""
    said = await look_through(settings, wanted, lambda letter: rows.add(letter.row()), limit)
    if len(rows):
        view.print(rows)
    return said


@command.command("show", example="signalq dead show 3b61a24e3b6743658da38126d25cb526")
@click.argument("intent_id", type=as_stored, metavar="ID")
@click.option("--raw", is_flag=True, help="Show headers, properties and body as they are, with all secrets.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a letter.")
@pass_invocation
def show_letter(invocation: Invocation, *, intent_id: str, raw: bool, as_json: bool) -> None:
    """Show one letter: its headers, its properties and its body.

    Of the body and of a producer's headers only the values of an intent's fields are shown, and never a token: a value
    under a misspelt name may be one, and so may a body that can't be read. --raw shows everything as it is.

    Two strategies may use the same ID: then both letters are shown. The exit status is 1 if there is none.
    """
    found = asyncio.run(letters_with(invocation.settings(), intent_id))
    if not found:
        raise CommandFailed(
            f"there is no dead letter {intent_id}: `signalq dead list` shows those there are", kind=Kind.UNKNOWN_ID
        )
    for letter in found:
        show(letter, raw=raw, as_json=as_json)


@command.command("replay", example="signalq dead replay --reason rejected --connector main --dry-run")
@_chosen
@click.option("--force", is_flag=True, help="Replay letters that need a person's word, too; each refusal says why.")
@pass_invocation
def replay_letters(invocation: Invocation, /, *, choice: Choice, force: bool) -> None:
    """Publish dead letters again, oldest first, as their intents' next generation.

    Each keeps its identity and passes every check again; its attempts begin anew, its deadline counts from now, and a
    delay that is over is not served again. It is replayed only if the ledger says that it is dead at exactly this
    generation. These need --force: outcome-unknown; opens older than delivery.open_max_age_s; letters that the ledger
    does not know; letters that ended longer than ledger.retention_days ago.

    If it is interrupted, it loses nothing and orders nothing twice: run it again. The exit status is 1 if a letter was
    refused, or if there is none for an --id.
    """
    settings = invocation.settings()
    choice = replace(choice, wanted=asyncio.run(with_whole_ids(settings, choice.wanted, acts=True)))
    with traced(settings):
        _run(settings, choice, ReplayAction, force=force)


@command.command("discard", example="signalq dead discard --reason expired --strategy momentum")
@_chosen
@click.option("--yes", "-y", is_flag=True, help="Don't ask; without a terminal nothing is asked anyway.")
@click.option("--force", is_flag=True, help="Also letters whose replay no consumer has taken yet (it ends); don't ask.")
@pass_invocation
def discard_letters(invocation: Invocation, /, *, choice: Choice, yes: bool, force: bool) -> None:
    """Throw dead letters away for good; the ledger notes the user's name.

    The exit status is 1 if a letter was refused, or if there is none for an --id.
    """
    settings = invocation.settings()
    choice = replace(choice, wanted=asyncio.run(with_whole_ids(settings, choice.wanted, acts=True)))
    if not (yes or force or choice.dry_run) and sys.stdin.isatty() and sys.stderr.isatty():
        choice = replace(choice, wanted=_confirmed(settings, choice.wanted))
    _run(settings, choice, DiscardAction, force=force)


def _confirmed(settings: Settings, wanted: LetterFilter) -> LetterFilter:
    """Ask the person; a letter that comes in after the question is not meant. Raises CommandFailed for a no."""
    seen: set[bytes] = set()
    asyncio.run(read_letters(settings, wanted, lambda letter: seen.add(letter.mark)))
    if seen and not click.confirm(f"throw {plural(len(seen), 'dead letter')} away for good?", err=True):
        raise CommandFailed("nothing was thrown away")
    return replace(wanted, seen=frozenset(seen))


def _run(settings: Settings, choice: Choice, action_class: type[LetterAction], *, force: bool) -> None:
    """Apply the action, and show the result of each letter even if interrupted. Raises CommandFailed if any failed."""
    with Spool() as rows:
        report = ActionReport(f"{action_class.command}ed", rows, dry_run=choice.dry_run)
        try:
            unread = asyncio.run(_apply(settings, choice, action_class, report, force=force))
        except KeyboardInterrupt:
            report.print_rows(as_json=choice.as_json)
            say(f"interrupted; {report.summary()}; the other letters are where they were")
            raise
        except SignalQError:
            report.print_rows(as_json=choice.as_json)
            if report.read:
                say(f"not finished; {report.summary()}")
            raise
        report.print_rows(as_json=choice.as_json)
    note(report.summary())
    if unread:
        say(f"{unread:,} more were not read: one run takes in the {LETTERS_MAX:,} oldest, run it again")
    if failure := report.failure(choice.wanted):
        raise CommandFailed(failure)


async def _apply(
    settings: Settings, choice: Choice, action_class: type[LetterAction], report: ActionReport, *, force: bool
) -> int:
    """Go through the letters; return how many were left unread."""
    errand = Errand(this_user(), choice.wanted, force=force, dry_run=choice.dry_run)
    async with open_ledger(settings) as ledger:
        await check_mark(settings, ledger)
        census = None if choice.dry_run else Census(settings, ledger)
        if census is not None:
            await census.begin()
        async with (
            aclosing(action_class(settings, ledger, errand)) as action,
            reading(settings, "working", census) as (letters, step),
        ):

            def on_letter(letter: Letter, result: LetterResult | None) -> None:
                step()
                report.add(letter, result)

            await apply(letters, choice.wanted, action, on_letter)
            return letters.ready - letters.to_read
