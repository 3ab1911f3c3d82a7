"""The known name that another name looks like: a misspelt connector would be one of its own, past limits and pauses."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache

# A longer name is near another only where both fold to the same: each character of one is looked up by itself.
CHARACTERS_MAX = 64
# Shorter than this, what two names have in common says nothing.
COMMON_CHARACTERS_MIN = 2
# More known names that have one piece in common are not looked at.
ALIKE_MAX = 8
REMEMBERED_MAX = 4_096
# A word is named as the nearest where it is at least so alike, of 1.
NEAR_FROM = 0.6
# The nearest of a longer name is looked for by its first characters alone.
NEAREST_CHARACTERS_MAX = 32

_DIGITS = re.compile(r"\d+")


class NearNames:
    """Finds the known name that another is near, in a time that does not grow with the number of known names.

    Two names are near if they are the same but for case, width, accents' spelling, white space and punctuation, or one
    character apart: one too many, one too few, another one, or two that changed places. Names that differ in their
    digits alone (`grid-1`, `grid-2`) are a series, and not near.
    """

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)
        self._by_fold: dict[str, str] = {}
        self._by_piece: defaultdict[str, list[str]] = defaultdict(list)
        for name in known:
            folded = _folded(name)
            self._by_fold.setdefault(folded, name)
            for piece in _pieces(folded):
                if len(self._by_piece[piece]) < ALIKE_MAX:
                    self._by_piece[piece].append(name)
        self._by_piece.default_factory = None
        self.of = lru_cache(REMEMBERED_MAX)(self._of)

    def _of(self, name: str) -> str | None:
        """The known name that `name` is near; None where `name` is known itself, or near none."""
        if name in self._known or not self._known:
            return None
        folded = _folded(name)
        if (same := self._by_fold.get(folded)) is not None:
            return same
        alike = (known for piece in _pieces(folded) for known in self._by_piece.get(piece, ()))
        return next((known for known in alike if not _is_series(folded, _folded(known))), None)


def _folded(name: str) -> str:
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(character for character in text if character.isalnum()) or text


def _pieces(folded: str) -> Iterator[str]:
    """The name, and the name without each one of its characters: two names one character apart share a piece."""
    if len(folded) > CHARACTERS_MAX:
        return
    for piece in (folded, *(folded[:at] + folded[at + 1 :] for at in range(len(folded)))):
        if len(piece) >= COMMON_CHARACTERS_MIN:
            yield piece


def _is_series(one: str, other: str) -> bool:
    return bool(_DIGITS.search(one) and _DIGITS.search(other)) and _DIGITS.sub("", one) == _DIGITS.sub("", other)


def nearest_name(name: str, known: Collection[str]) -> str:
    """The known name that looks most like `name`; case does not count."""
    folded = {candidate.casefold(): candidate for candidate in known}
    best = get_close_matches(name[:NEAREST_CHARACTERS_MAX].casefold(), folded, n=1, cutoff=0.0)
    return folded[best[0]]


def nearest_clause(name: str, known: Collection[str], *, before: str = "") -> str:
    """A clause that names the nearest known name, after `before`; empty where none is near."""
    nearest = nearest_name(name, known)
    likeness = SequenceMatcher(None, name.casefold(), nearest.casefold()).ratio()
    return f", the nearest is {before}{nearest}" if likeness >= NEAR_FROM else ""
