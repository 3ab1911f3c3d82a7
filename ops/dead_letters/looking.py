"""Looks through the letters in the queue, which leave them where they are, and tell the ledger what is there."""

from collections.abc import Callable
from dataclasses import replace

from signalq.ops.dead_letters.census import Census, census_of
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.listing import summary
from signalq.ops.dead_letters.reader import LETTERS_MAX, LetterReader
from signalq.ops.dead_letters.report import reading
from signalq.ops.ledger import only_one
from signalq.settings.sections import Settings

# As long as an id that signalq gives: it is whole.
ID_CHARACTERS = 32


async def look_through(
    settings: Settings, wanted: LetterFilter, on_fit: Callable[[Letter], None], fits_max: int | None
) -> list[str]:
    """Give the oldest `fits_max` letters that fit, or all, to `on_fit`; return sentences on what was found."""
    matched = 0

    def count(letter: Letter) -> None:
        nonlocal matched
        matched += 1
        if fits_max is None or matched <= fits_max:
            on_fit(letter)

    async with census_of(settings) as census:
        letters = await read_letters(settings, await with_whole_ids(settings, wanted), count, census)
    shown_count = matched if fits_max is None else min(matched, fits_max)
    said = [summary(letters.to_read - letters.copies, matched, shown_count)]
    if unread := letters.ready - letters.to_read:
        said.append(f"{unread:,} more were not read: one look takes in the {LETTERS_MAX:,} oldest")
    if census is not None and (news := census.sentence()) is not None:
        said.append(news)
    return said


async def letters_with(settings: Settings, intent_id: str) -> list[Letter]:
    """The letters with this id, or with the only one that begins so."""
    found: list[Letter] = []
    async with census_of(settings) as census:
        wanted = await with_whole_ids(settings, LetterFilter(frozenset({intent_id})))
        await read_letters(settings, wanted, found.append, census)
    return found


async def with_whole_ids(settings: Settings, wanted: LetterFilter) -> LetterFilter:
    """The filter with whole ids: a beginning is looked up among the letters. Raises CommandFailed if it has several."""
    if all(len(one) >= ID_CHARACTERS for one in wanted.ids):
        return wanted
    begin: set[str] = set()

    def note(letter: Letter) -> None:
        if letter.intent_id is not None and letter.intent_id.startswith(tuple(wanted.ids)):
            begin.add(letter.intent_id)

    await read_letters(settings, LetterFilter(), note)
    return replace(wanted, ids=frozenset(only_one(one, begin) for one in wanted.ids))


async def read_letters(
    settings: Settings, wanted: LetterFilter, on_fit: Callable[[Letter], None], census: Census | None = None
) -> LetterReader:
    """Give every letter that fits to `on_fit`, oldest first; return the reader, which has counted them all."""
    async with reading(settings, "reading", census) as (letters, step):
        async for letter in letters:
            step()
            if wanted.fits(letter):
                on_fit(letter)
        return letters
