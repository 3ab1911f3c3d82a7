"""The work of a job: as the commands of `signalq dead` do it, by the same functions, but told to the job.

Each job opens the ledger and the queue for itself, as a command does: nobody's read waits for it, and what it had open
is closed with it.
"""

from collections.abc import Mapping
from contextlib import aclosing
from types import MappingProxyType

from signalq.consumer.ledger.client import LedgerClient
from signalq.errors import SignalQError
from signalq.ops.console.letters.job import Action, Job
from signalq.ops.dead_letters.actions import DiscardAction, Errand, LetterAction, LetterResult, ReplayAction
from signalq.ops.dead_letters.batches import apply
from signalq.ops.dead_letters.census import Census
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.outlook import is_exit
from signalq.ops.dead_letters.reader import open_letters
from signalq.ops.ledger import check_mark, open_ledger
from signalq.settings.sections import Settings

ACTIONS: Mapping[Action, type[LetterAction]] = MappingProxyType({"replay": ReplayAction, "discard": DiscardAction})
NO_NEWS = "the ledger knew of every letter that is there"


async def carry_out(job: Job, settings: Settings) -> None:
    """Do what was asked. Raises SignalQError where it can't be done, or not to its end."""
    settings = as_the_console(settings)
    async with open_ledger(settings) as ledger:
        if job.asked.kind in {"letter", "queue"}:
            await _look(job, settings, ledger)
        else:
            await _apply(job, settings, ledger)


def as_the_console(settings: Settings) -> Settings:
    """The settings with the broker's user that the console has for itself, if it has one."""
    url = settings.console.broker_url
    if url is None:
        return settings
    return settings.model_copy(update={"broker": settings.broker.model_copy(update={"url": url})})


async def _apply(job: Job, settings: Settings, ledger: LedgerClient) -> None:
    """Go through the letters: judge those that were chosen, and deal with them unless it is a verdict."""
    await check_mark(settings, ledger)
    census = None if job.asked.kind == "verdict" else await _begun(settings, ledger)
    wanted = LetterFilter(chosen=job.asked.chosen.each())
    errand = Errand(job.asked.actor, wanted, job.asked.confirmed(), dry_run=census is None, about=_about(job))
    action = ACTIONS[job.asked.action](settings, ledger, errand)

    def on_letter(letter: Letter, result: LetterResult | None) -> None:
        job.step()
        if result is not None:
            job.add(letter, result, settings, is_open=not is_exit(settings, letter.connector, letter.action))

    try:
        async with aclosing(action), open_letters(settings, on_wait=job.wait, census=census) as letters:
            job.begin_reading(letters.to_read)
            await apply(letters, wanted, action, on_letter)
            job.unread = letters.ready - letters.to_read
            if census is not None and letters.has_read_all:
                await census.end()
    finally:
        job.audited = action.audited
    job.said = census.sentence() if census is not None else None


def _about(job: Job) -> dict[str, object]:
    return {**job.asked.chosen.about, "chosen": job.asked.chosen.count, "job": job.key}


async def _look(job: Job, settings: Settings, ledger: LedgerClient) -> None:
    """Read the queue, tell the ledger what is there, and keep the letters with the id that was asked for."""
    try:
        await check_mark(settings, ledger)
        census: Census | None = await _begun(settings, ledger)
    except SignalQError:
        if job.asked.kind == "queue":
            raise
        census = None  # the letter can be shown all the same
    async with open_letters(settings, on_wait=job.wait, census=census) as letters:
        job.begin_reading(letters.to_read)
        async for letter in letters:
            job.step()
            if job.asked.intent_id is not None and letter.intent_id == job.asked.intent_id:
                job.keep(shown(letter), letter.identity, settings)
        job.unread = letters.ready - letters.to_read
        if census is not None and letters.has_read_all:
            await census.end()
    if job.asked.kind == "queue" and census is not None:
        job.said = census.sentence() or NO_NEWS


async def _begun(settings: Settings, ledger: LedgerClient) -> Census:
    census = Census(settings, ledger)
    await census.begin()
    return census


def shown(letter: Letter) -> dict[str, object]:
    """The letter as `signalq dead show` shows it: of its headers and its body known fields alone, never a token."""
    return {
        "letter": letter.row(),
        "properties": letter.properties_shown(),
        "headers": letter.headers_shown(),
        "body": letter.body_shown(),
        "body_bytes": len(letter.body),
        "is_readable": letter.is_readable,
    }
