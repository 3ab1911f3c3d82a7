"""Replaying and discarding dead letters, so that it may be interrupted anywhere.

replay    ledger: next generation -> publish, confirmed -> acknowledge the letter
discard   ledger: a step          -> acknowledge the letter

Whatever ends the command between two of these, the letter is still there, and the ledger says how far it came: a
second run goes on from there. What was published twice the consumer answers from the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from signalq import names
from signalq.amqp.connection import connect
from signalq.amqp.foreign_properties import handle_foreign_properties
from signalq.amqp.ledger_mark import held_mark
from signalq.consumer.ledger.visit import LedgerClient
from signalq.errors import BrokerError, SignalQError
from signalq.ops.dead_letters.filter import Selection
from signalq.ops.dead_letters.letter import DeadLetter
from signalq.ops.dead_letters.reader import DeadLetters
from signalq.ops.dead_letters.rules import (
    Discard,
    DiscardVerdict,
    MovedOn,
    PublishAnyway,
    Refuse,
    ReplayVerdict,
    TakeBack,
)
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings

# How often the ledger is looked at again where the consumer was quicker.
LOOKS_MAX = 3
# What is left of a batch after Ctrl-C.
FINISH_TIMEOUT_S = 10.0

Result = Literal["replayed", "replayed already", "discarded", "refused", "not done"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one letter; `error` ended the run before the letter was dealt with."""

    result: Result
    why: str | None = None
    error: SignalQError | None = None

    @property
    def is_done(self) -> bool:
        """Whether the letter has served, and may be taken away."""
        return self.result in {"replayed", "replayed already", "discarded"}

    def without_the_broker(self, error: SignalQError) -> Outcome:
        """The letter could not be taken away: a replay stands all the same, a discarded letter is still there."""
        return Outcome("not done", str(error), error) if self.result == "discarded" else self


class Handler(Protocol):
    """What is done with letters."""

    dry_run: bool

    async def handle(self, letters: Sequence[DeadLetter]) -> list[Outcome]:
        """Everything but taking them away; an outcome for each. Raises SignalQError where nothing was done."""
        ...


async def settle(
    letters: DeadLetters, selection: Selection, handler: Handler, told: Callable[[DeadLetter, Outcome | None], None]
) -> None:
    """Go through the letters, and do with those that fit what the handler does.

    `told` hears of every letter in its order, once (not of copies): with None where it does not fit. A batch that was
    begun is finished also when the command is interrupted. Raises what ended the run before its end.
    """
    done: dict[bytes | int, bool] = {}
    async for batch in letters.batches():
        work = asyncio.create_task(_settle_batch(batch, letters, selection, handler, done, told), name="batch")
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work], timeout=FINISH_TIMEOUT_S)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise


async def _settle_batch(
    batch: list[DeadLetter],
    letters: DeadLetters,
    selection: Selection,
    handler: Handler,
    done: dict[bytes | int, bool],
    told: Callable[[DeadLetter, Outcome | None], None],
) -> None:
    firsts: dict[bytes | int, DeadLetter] = {}
    for letter in batch:
        if letter.identity not in done:
            firsts.setdefault(letter.identity, letter)
    chosen = [letter for letter in firsts.values() if selection.fits(letter)]
    outcomes = dict(zip((letter.tag for letter in chosen), await handler.handle(chosen), strict=True)) if chosen else {}
    failure: SignalQError | None = None
    for letter in batch:
        outcome = outcomes.get(letter.tag)
        is_first = firsts.get(letter.identity) is letter
        if is_first:
            done[letter.identity] = outcome is not None and outcome.is_done
        # A copy goes with what it is a copy of.
        if done[letter.identity] and not handler.dry_run:
            try:
                await letters.take(letter)
            except BrokerError as error:
                outcome = outcome and outcome.without_the_broker(error)
                failure = failure or error
        if outcome is not None and outcome.error is not None:
            failure = failure or outcome.error
        if is_first:
            told(letter, outcome)
    if failure is not None:
        raise failure


async def check_ledger(settings: Settings, ledger: LedgerClient) -> None:
    """See that the lanes on the broker belong to this ledger: another one knows nothing of these letters.

    Raises CommandFailed, BrokerUnreachable.
    """
    url = settings.broker.url.get_secret_value()
    handle_foreign_properties()
    async with await connect(url, name="signalq dead", heartbeat_s=settings.broker.heartbeat_s) as connection:
        held = await held_mark(connection, names.Names(settings.broker.prefix))
    if held is not None and held.ledger_id != ledger.mark.ledger_id:
        raise CommandFailed(
            f"the lanes on this broker belong to the ledger {held.ledger} ({held.ledger_id}), and ledger.url is "
            f"{ledger.shown} ({ledger.mark.ledger_id}): use the former"
        )


def outcome_of(verdict: ReplayVerdict | DiscardVerdict) -> Outcome:
    """What a verdict comes to once it is carried out."""
    match verdict:
        case Refuse(why):
            return Outcome("refused", why)
        case MovedOn(why):
            return Outcome("replayed already", why)
        case PublishAnyway(why):
            return Outcome("replayed", why)
        case Discard() | TakeBack():
            return Outcome("discarded")
        case _:
            return Outcome("replayed")
