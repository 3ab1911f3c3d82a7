"""`signalq dead replay` and `signalq dead discard`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import click

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.orders.state import REASONS
from signalq.errors import SignalQError
from signalq.ops.dead_letters.batches import Handler, check_ledger, settle
from signalq.ops.dead_letters.discard import Discarding
from signalq.ops.dead_letters.filter import Selection
from signalq.ops.dead_letters.reader import LETTERS_MAX, DeadLetters
from signalq.ops.dead_letters.replay import Replaying
from signalq.ops.dead_letters.report import SettledReport, letters_bar, say
from signalq.ops.ledger import open_ledger
from signalq.ops.terminal.choices import one_of
from signalq.ops.terminal.errors import CommandFailed
from signalq.ops.terminal.invocation import Invocation, SignalqCommand, pass_invocation
from signalq.ops.terminal.render import plural
from signalq.ops.terminal.row_spool import Spool
from signalq.settings.sections import Settings

MakeHandler = Callable[[Settings, LedgerClient, AsyncExitStack], Handler]


def filtered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose letters; the command gets them as `selection`."""

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
    def chosen(
        *args: Any, ids: tuple[str, ...], reason: str | None, connector: str | None, strategy: str | None, **rest: Any
    ) -> Any:
        selection = Selection(frozenset(ids), reason, connector, strategy)
        return function(*args, selection=selection, **rest)

    return chosen


def _settling(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that replay and discard share. Raises UsageError where nothing is chosen."""

    @filtered
    @click.option("--all", "everything", is_flag=True, help="All that fit; has to be given where no filter is.")
    @click.option("--dry-run", is_flag=True, help="Say what would become of each letter, and change nothing.")
    @click.option("--json", "as_json", is_flag=True, help="One JSON object a line: a letter's row, result and why.")
    @wraps(function)
    def chosen(*args: Any, selection: Selection, everything: bool, **rest: Any) -> Any:
        if selection.is_everything and not everything:
            raise click.UsageError("say which letters: --id, --reason, --connector, --strategy, or --all")
        return function(*args, selection=selection, **rest)

    return chosen


@click.command("replay", cls=SignalqCommand, example="signalq dead replay --reason rejected --connector main --dry-run")
@_settling
@click.option("--force", is_flag=True, help="Also what needs a person's word; without it, such a refusal says why.")
@pass_invocation
def replay_letters(
    invocation: Invocation, /, *, selection: Selection, force: bool, dry_run: bool, as_json: bool
) -> int:
    """Publish dead letters again, oldest first, as their intents' next generation.

    Each keeps its identity and passes every check again; its attempts begin anew, its deadline counts from now, and a
    delay that is over is not served again. It is replayed only if the ledger says that it is dead at exactly this
    generation. These need --force: outcome-unknown, opens older than delivery.open_max_age_s, and what the ledger does
    not know or ended longer than ledger.retention_days ago.

    Interrupted at any moment, it loses nothing and orders nothing twice: run it again. The exit status is 1 if a letter
    was refused, or there is none for an --id.
    """

    def handler(settings: Settings, ledger: LedgerClient, stack: AsyncExitStack) -> Handler:
        broker = settings.broker
        publisher = ConfirmedPublisher(
            broker.url.get_secret_value(), name="signalq dead replay", heartbeat_s=broker.heartbeat_s
        )
        stack.push_async_callback(publisher.close)
        return Replaying(settings, ledger, publisher, force=force, dry_run=dry_run)

    return _run(invocation.settings(), selection, handler, "replayed", dry_run=dry_run, as_json=as_json)


@click.command("discard", cls=SignalqCommand, example="signalq dead discard --reason expired --strategy momentum")
@_settling
@click.option("--yes", "-y", is_flag=True, help="Don't ask; off a terminal nobody is asked anyway.")
@click.option("--force", is_flag=True, help="Also letters whose replay nobody has taken up yet (it ends); don't ask.")
@pass_invocation
def discard_letters(
    invocation: Invocation, /, *, selection: Selection, yes: bool, force: bool, dry_run: bool, as_json: bool
) -> int:
    """Throw dead letters away for good; the ledger notes by whom.

    The exit status is 1 if a letter was refused, or there is none for an --id.
    """
    settings = invocation.settings()
    if not (yes or force or dry_run) and sys.stdin.isatty() and sys.stderr.isatty():
        selection = _confirmed(settings, selection)

    def handler(_settings: Settings, ledger: LedgerClient, _stack: AsyncExitStack) -> Handler:
        return Discarding(ledger, force=force, dry_run=dry_run)

    return _run(settings, selection, handler, "discarded", dry_run=dry_run, as_json=as_json)


def _run(
    settings: Settings, selection: Selection, make: MakeHandler, verb: str, *, dry_run: bool, as_json: bool
) -> int:
    """Do it, show what became of each letter also where it was interrupted, and give the exit status."""
    with Spool() as rows:
        report = SettledReport(verb, rows, dry_run=dry_run)
        try:
            unread = asyncio.run(_settle(settings, selection, make, report))
        except KeyboardInterrupt:
            report.print_rows(as_json=as_json)
            say(f"interrupted; {report.summary()}; the other letters are where they were")
            raise
        except SignalQError:
            report.print_rows(as_json=as_json)
            if report.read:
                say(f"not finished; {report.summary()}")
            raise
        report.print_rows(as_json=as_json)
    say(report.summary())
    if unread:
        say(f"{unread:,} more were not read: one run takes in the {LETTERS_MAX:,} oldest, run it again")
    if failure := report.failure(selection):
        raise CommandFailed(failure)
    return 0


async def _settle(settings: Settings, selection: Selection, make: MakeHandler, report: SettledReport) -> int:
    """Go through the letters; how many were left unread."""
    async with AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(open_ledger(settings))
        await check_ledger(settings, ledger)
        handler = make(settings, ledger, stack)
        async with _reading(settings, "settling") as (letters, step):

            def told(letter: Any, outcome: Any) -> None:
                step()
                report.tell(letter, outcome)

            await settle(letters, selection, handler, told)
            return letters.ready - letters.wanted


@asynccontextmanager
async def _reading(settings: Settings, what: str) -> AsyncIterator[tuple[DeadLetters, Callable[[], None]]]:
    async with DeadLetters(settings, on_wait=say) as letters:
        with letters_bar(what, letters.wanted) as step:
            yield letters, step


def _confirmed(settings: Settings, selection: Selection) -> Selection:
    """Ask the person; what comes in after the question is not meant. Raises CommandFailed for a no."""
    seen = asyncio.run(_seen(settings, selection))
    if seen and not click.confirm(f"throw {plural(len(seen), 'dead letter')} away for good?", err=True):
        raise CommandFailed("nothing was thrown away")
    return replace(selection, seen=seen)


async def _seen(settings: Settings, selection: Selection) -> frozenset[bytes]:
    async with _reading(settings, "reading") as (letters, step):
        seen = set()
        async for letter in letters:
            step()
            if selection.fits(letter):
                seen.add(letter.mark)
        return frozenset(seen)
