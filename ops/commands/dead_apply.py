"""`signalq dead replay` and `signalq dead discard`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import click

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.orders.state import REASONS
from signalq.errors import SignalQError
from signalq.ops.dead_letters.batches import LetterAction, LetterResult, apply
from signalq.ops.dead_letters.channel import LETTERS_MAX
from signalq.ops.dead_letters.discard import DiscardAction
from signalq.ops.dead_letters.filter import LetterFilter
from signalq.ops.dead_letters.letter import Letter
from signalq.ops.dead_letters.replay import ReplayAction
from signalq.ops.dead_letters.report import ActionReport, reading
from signalq.ops.ledger import check_mark, open_ledger
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, one_of, pass_invocation
from signalq.ops.terminal.render import Spool, plural, say
from signalq.settings.sections import Settings

MakeAction = Callable[[Settings, LedgerClient, AsyncExitStack], LetterAction]


@dataclass(frozen=True, slots=True)
class Choice:
    """The letters that a command line chooses, and how their results are shown."""

    wanted: LetterFilter
    dry_run: bool
    as_json: bool


def filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that filter letters; the command gets them as `wanted`."""

    @click.option("--id", "ids", metavar="ID", multiple=True, help="Only this intent; give it again for more.")
    @click.option(
        "--reason",
        callback=one_of("reason", REASONS),
        metavar="REASON",
        help="Only this reason: rejected, expired, outcome-unknown, …",
    )
    @click.option("--connector", metavar="NAME", help="Only this connector.")
    @click.option("--strategy", metavar="NAME", help="Only this strategy.")
    @wraps(function)
    def with_filter(
        *args: Any, ids: tuple[str, ...], reason: str | None, connector: str | None, strategy: str | None, **rest: Any
    ) -> Any:
        return function(*args, wanted=LetterFilter(frozenset(ids), reason, connector, strategy), **rest)

    return with_filter


def _chosen(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that replay and discard share, as `choice`. Raises UsageError if no letter is chosen."""

    @filtered
    @click.option("--all", "everything", is_flag=True, help="All that fit; needed when there is no filter.")
    @click.option("--dry-run", is_flag=True, help="Say what would become of each letter, and change nothing.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a letter's row, result and why.")
    @wraps(function)
    def with_choice(
        *args: Any, wanted: LetterFilter, everything: bool, dry_run: bool, as_json: bool, **rest: Any
    ) -> Any:
        if wanted.is_everything and not everything:
            raise click.UsageError("say which letters: --id, --reason, --connector, --strategy, or --all")
        return function(*args, choice=Choice(wanted, dry_run, as_json), **rest)

    return with_choice


@click.command("replay", cls=SignalqCommand, example="signalq dead replay --reason rejected --connector main --dry-run")
@_chosen
@click.option("--force", is_flag=True, help="Replay letters that need a person's word, too; each refusal says why.")
@pass_invocation
def replay_letters(invocation: Invocation, /, *, choice: Choice, force: bool) -> int:
    """Publish dead letters again, oldest first, as their intents' next generation.

    Each keeps its identity and passes every check again; its attempts begin anew, its deadline counts from now, and a
    delay that is over is not served again. It is replayed only if the ledger says that it is dead at exactly this
    generation. These need --force: outcome-unknown; opens older than delivery.open_max_age_s; letters that the ledger
    does not know; letters that ended longer than ledger.retention_days ago.

    If it is interrupted, it loses nothing and orders nothing twice: run it again. The exit status is 1 if a letter was
    refused, or if there is none for an --id.
    """

    def action(settings: Settings, ledger: LedgerClient, stack: AsyncExitStack) -> LetterAction:
        broker = settings.broker
        publisher = ConfirmedPublisher(
            broker.url.get_secret_value(), name="signalq dead replay", heartbeat_s=broker.heartbeat_s
        )
        stack.push_async_callback(publisher.close)
        return ReplayAction(settings, ledger, publisher, force=force, dry_run=choice.dry_run)

    return _run(invocation.settings(), choice, action, "replayed")


@click.command("discard", cls=SignalqCommand, example="signalq dead discard --reason expired --strategy momentum")
@_chosen
@click.option("--yes", "-y", is_flag=True, help="Don't ask; without a terminal nothing is asked anyway.")
@click.option("--force", is_flag=True, help="Also letters whose replay no consumer has taken yet (it ends); don't ask.")
@pass_invocation
def discard_letters(invocation: Invocation, /, *, choice: Choice, yes: bool, force: bool) -> int:
    """Throw dead letters away for good; the ledger notes the user's name.

    The exit status is 1 if a letter was refused, or if there is none for an --id.
    """
    settings = invocation.settings()
    if not (yes or force or choice.dry_run) and sys.stdin.isatty() and sys.stderr.isatty():
        choice = replace(choice, wanted=_confirmed(settings, choice.wanted))

    def action(_settings: Settings, ledger: LedgerClient, _stack: AsyncExitStack) -> LetterAction:
        return DiscardAction(ledger, force=force, dry_run=choice.dry_run)

    return _run(settings, choice, action, "discarded")


def _run(settings: Settings, choice: Choice, make: MakeAction, verb: str) -> int:
    """Apply the action, show the result of each letter even if interrupted, and return the exit status."""
    with Spool() as rows:
        report = ActionReport(verb, rows, dry_run=choice.dry_run)
        try:
            unread = asyncio.run(_apply(settings, choice.wanted, make, report))
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
    say(report.summary())
    if unread:
        say(f"{unread:,} more were not read: one run takes in the {LETTERS_MAX:,} oldest, run it again")
    if failure := report.failure(choice.wanted):
        raise CommandFailed(failure)
    return 0


async def _apply(settings: Settings, wanted: LetterFilter, make: MakeAction, report: ActionReport) -> int:
    """Go through the letters; return how many were left unread."""
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        await check_mark(settings, ledger)
        action = make(settings, ledger, stack)
        async with reading(settings, "working") as (letters, step):

            def on_letter(letter: Letter, result: LetterResult | None) -> None:
                step()
                report.add(letter, result)

            await apply(letters, wanted, action, on_letter)
            return letters.ready - letters.to_read


def _confirmed(settings: Settings, wanted: LetterFilter) -> LetterFilter:
    """Ask the person; a letter that comes in after the question is not meant. Raises CommandFailed for a no."""
    seen = asyncio.run(_seen(settings, wanted))
    if seen and not click.confirm(f"throw {plural(len(seen), 'dead letter')} away for good?", err=True):
        raise CommandFailed("nothing was thrown away")
    return replace(wanted, seen=seen)


async def _seen(settings: Settings, wanted: LetterFilter) -> frozenset[bytes]:
    async with reading(settings, "reading") as (letters, step):
        seen = set()
        async for letter in letters:
            step()
            if wanted.fits(letter):
                seen.add(letter.mark)
        return frozenset(seen)
