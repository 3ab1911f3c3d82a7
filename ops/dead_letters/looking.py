"""Looks through the letters in the queue, which leave them where they are, and tell the ledger what is there."""

import re
from collections.abc import Callable
from dataclasses import replace

from signalq.ops.dead_letters.census import Census, census_of
from signalq.ops.dead_letters.letter import Letter, LetterFilter
from signalq.ops.dead_letters.listing import Looked, summary
from signalq.ops.dead_letters.reader import LETTERS_MAX, LetterReader
from signalq.ops.dead_letters.report import reading
from signalq.ops.ledger import may_mean, only_one
from signalq.settings.sections import Settings

# An id that signalq gives is whole.
WHOLE_ID = re.compile(r"[0-9a-f]{32}")


async def look_through(
    settings: Settings, wanted: LetterFilter, on_fit: Callable[[Letter], None], fits_max: int | None
) -> Looked:
    """Give the oldest `fits_max` letters that fit, or all, to `on_fit`."""
    matched = 0

    def count(letter: Letter) -> None:
        nonlocal matched
        matched += 1
        if fits_max is None or matched <= fits_max:
            on_fit(letter)

    async with census_of(settings) as census:
        letters = await read_letters(settings, await with_whole_ids(settings, wanted), count, census)
    shown_count = matched if fits_max is None else min(matched, fits_max)
    warnings = []
    if unread := letters.ready - letters.to_read:
        warnings.append(f"{unread:,} more were not read: one look takes in the {LETTERS_MAX:,} oldest")
    remarks: list[str] = []
    if census is not None and (news := census.sentence()) is not None:
        (remarks if census.why_not is None else warnings).append(news)
    return Looked(shown_count, summary(letters.to_read - letters.copies, matched, shown_count), warnings, remarks)


async def letters_with(settings: Settings, intent_id: str) -> list[Letter]:
    """The letters with this id, or with the only one that begins so."""
    found: list[Letter] = []
    async with census_of(settings) as census:
        wanted = await with_whole_ids(settings, LetterFilter(frozenset({intent_id})))
        await read_letters(settings, wanted, found.append, census)
    return found


async def with_whole_ids(settings: Settings, wanted: LetterFilter, *, acts: bool = False) -> LetterFilter:
    """The filter with whole ids: a short one is looked up among the letters; see only_one. Raises CommandFailed."""
    if all(map(WHOLE_ID.fullmatch, wanted.ids)):
        return wanted
    found: set[str] = set()

    def note(letter: Letter) -> None:
        intent_id = letter.intent_id
        if intent_id is not None and any(may_mean(one, intent_id) for one in wanted.ids):
            found.add(intent_id)

    await read_letters(settings, LetterFilter(), note)
    return replace(wanted, ids=frozenset(only_one(one, found, acts=acts) for one in wanted.ids))


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
