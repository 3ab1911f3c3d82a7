"""Dead letters replayed or discarded in batches, so that the command may be interrupted anywhere.

replay    ledger: next generation -> publish, confirmed -> acknowledge the letter
discard   ledger: an event        -> acknowledge the letter

If the command ends between two of these, the letter is still there, and the ledger says how far it came: a second run
goes on from there. If a letter is published twice, the consumer answers the second copy from the ledger.
"""

import asyncio
from collections.abc import Callable

from signalq.errors import BrokerError, SignalQError
from signalq.ops.dead_letters.actions import LetterAction, LetterResult
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.reader import LetterReader

# For the rest of a batch after Ctrl-C.
FINISH_TIMEOUT_S = 10.0

OnLetter = Callable[[Letter, LetterResult | None], None]


async def apply(letters: LetterReader, wanted: LetterFilter, action: LetterAction, on_letter: OnLetter) -> None:
    """Go through the letters, and apply the action to those that fit.

    `on_letter` gets every letter in its order, once (no copies), with None if it does not fit. If the command is
    interrupted, the batch that was begun is finished. Raises the error that ended the run before its end.
    """
    done: dict[bytes, bool] = {}
    async for batch in letters.batches():
        work = asyncio.create_task(_apply(batch, done, letters, wanted, action, on_letter), name="batch")
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            await asyncio.wait([work], timeout=FINISH_TIMEOUT_S)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise


async def _apply(
    batch: list[Letter],
    done: dict[bytes, bool],
    letters: LetterReader,
    wanted: LetterFilter,
    action: LetterAction,
    on_letter: OnLetter,
) -> None:
    """Apply the action to one batch; `done` says of each identity whether its letter may be taken away."""
    firsts: dict[bytes, Letter] = {}
    for letter in batch:
        if letter.identity not in done:
            firsts.setdefault(letter.identity, letter)
    chosen = [letter for letter in firsts.values() if wanted.fits(letter)]
    results = await action.apply(chosen) if chosen else []
    result_by_tag = dict(zip((letter.tag for letter in chosen), results, strict=True))
    failure: SignalQError | None = None
    for letter in batch:
        result = result_by_tag.get(letter.tag)
        is_first = firsts.get(letter.identity) is letter
        if is_first:
            done[letter.identity] = result is not None and result.is_done
        # A copy goes with its original.
        if done[letter.identity] and not action.dry_run:
            try:
                await letters.take(letter)
            except BrokerError as error:
                result = result and result.without_the_broker(error)
                failure = failure or error
        if result is not None and result.error is not None:
            failure = failure or result.error
        if is_first:
            on_letter(letter, result)
    if failure is not None:
        raise failure
