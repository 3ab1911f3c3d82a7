"""Blank known secrets in a text: one rule for every output, log line, error and letter, and for foreign answers."""

import base64
import string
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, groupby

from signalq.secrets.masking import MASK, looks_like_a_name, names_a_secret, without_logins
from signalq.secrets.unescaping import may_be_escaped, views

# So many characters of a secret in a row count as a part of it. Six characters of a hexadecimal id, which many ids and
# some secrets are, would appear by chance once in a thousand orders where ten tokens are known.
PART_CHARACTERS = 8
# The rest of a longer secret is not looked for: a body may have 64 KiB for its token.
SECRET_CHARACTERS_MAX = 2_048
# Other spellings are looked for only of a secret of at least so many characters: those of a shorter one would appear by
# chance.
_FORMS_FROM_CHARACTERS = 6
# One place in three is looked at, for a piece of so many characters: every part of PART_CHARACTERS has such a piece at
# one of these places.
_PIECE_CHARACTERS = 6
_STEP = PART_CHARACTERS - _PIECE_CHARACTERS + 1
FORMS_REMEMBERED_MAX = 256
BODY_SECRETS_CHARACTERS_MAX = 512
# A longer part of a secret does not appear by chance.
_PLAIN_NAME_CHARACTERS_MAX = 12


class Blanker:
    """Blanks known secrets anywhere in a text, whole or in part, in any spelling.

    A secret is recognised as it is, in base 64 and in hexadecimal; the case of ASCII's letters does not count. In the
    text it may be escaped as in JSON, in Python, in a URL or in HTML. PART_CHARACTERS of it in a row are blanked as
    well, unless they are a part of one of the `names` (a token may be called after its connector) or a plain word. A
    secret shorter than that is blanked where all of it appears.
    """

    def __init__(self, secrets: Iterable[str] = (), *, names: Iterable[str] = ()) -> None:
        self._short: set[str] = set()
        self._by_beginning: dict[str, list[str]] = {}
        self._pieces: set[str] = set()
        self._all = ""
        self._names = ""
        self.learn(secrets, names=names)

    def learn(self, secrets: Iterable[str], *, names: Iterable[str] = ()) -> None:
        """Blank these secrets as well, from now on; an empty text is ignored."""
        forms = {_folded(form) for one in secrets if one for form in _forms(one[:SECRET_CHARACTERS_MAX])}
        self._short |= {form for form in forms if len(form) < PART_CHARACTERS}
        long = [form for form in forms if len(form) >= PART_CHARACTERS]
        new = [form for form in long if form not in self._by_beginning.get(form[:PART_CHARACTERS], ())]
        for form in new:
            self._by_beginning.setdefault(form[:PART_CHARACTERS], []).append(form)
            self._pieces.update([form[at : at + _PIECE_CHARACTERS] for at in range(len(form) - _PIECE_CHARACTERS + 1)])
        self._all = "\n".join([self._all, *new])
        self._names = "\n".join([self._names, *map(_folded, names)])

    def finds(self, text: str, *, characters_min: int = 1) -> bool:
        """Whether the text may hold a part of a secret. It is asked for every log line, so it is quick to say no."""
        if may_be_escaped(text):
            return True
        folded = _folded(text)
        return bool(self._places(folded)) or any(self._short_ones_in(folded, characters_min))

    def holds(self, text: str, *, characters_min: int = 1) -> bool:
        """Whether the text holds a whole secret."""
        for view, _ in views(text) if self.finds(text, characters_min=characters_min) else ():
            folded = _folded(view)
            if any(self._short_ones_in(folded, characters_min)):
                return True
            if any(self._is_whole(folded[start:end]) for start, end in self._stretches(folded)):
                return True
        return False

    def __call__(self, text: str, *, characters_min: int = 1) -> str:
        """The text with the secrets of at least `characters_min` blanked, and the login of every URL in it."""
        if self.finds(text, characters_min=characters_min):
            hidden = [False] * len(text)
            for view, places in views(text):
                for start, end in self._found(view, characters_min):
                    first, last = (start, end) if places is None else (places[start][0], places[end - 1][1])
                    hidden[first:last] = [True] * (last - first)
            text = _masked_where(text, hidden)
        return without_logins(text)

    def _found(self, text: str, characters_min: int) -> Iterator[tuple[int, int]]:
        """The places of secrets and parts of secrets, from and to."""
        folded = _folded(text)
        for short in self._short_ones_in(folded, characters_min):
            yield from _places_of(short, folded)
        for start, end in self._stretches(folded):
            stretch = folded[start:end]
            if self._is_whole(stretch) or not (stretch in self._names or _is_a_plain_name(text[start:end])):
                yield start, end

    def _short_ones_in(self, folded: str, characters_min: int) -> Iterator[str]:
        return (short for short in self._short if len(short) >= characters_min and short in folded)

    def _places(self, folded: str) -> list[int]:
        """The places, of those that are looked at, of a piece of a secret."""
        size, pieces = _PIECE_CHARACTERS, self._pieces
        if not pieces:
            return []
        looked_at = [folded[at : at + size] for at in range(0, len(folded) - size + 1, _STEP)]
        if pieces.isdisjoint(looked_at):
            return []
        return [number * _STEP for number, piece in enumerate(looked_at) if piece in pieces]

    def _stretches(self, folded: str) -> list[tuple[int, int]]:
        """The stretches that the text has in common with a secret, of a part or more; overlapping ones are joined."""
        stretches: list[tuple[int, int]] = []
        for place in self._places(folded):
            for start in range(max(place - _STEP + 1, 0), place + 1):
                end = start + PART_CHARACTERS
                if end > len(folded) or folded[start:end] not in self._all:
                    continue
                if stretches and start <= stretches[-1][1]:
                    stretches[-1] = stretches[-1][0], end
                else:
                    stretches.append((start, end))
        return stretches

    def _is_whole(self, stretch: str) -> bool:
        return any(
            stretch.startswith(form, at)
            for at in range(len(stretch) - PART_CHARACTERS + 1)
            for form in self._by_beginning.get(stretch[at : at + PART_CHARACTERS], ())
        )


class BodyBlanker:
    """Blanks the secrets of one body, the values of its fields with names of secrets, where all of one appears.

    A body may have many and long ones, and must not cost much: other spellings are looked for of the first ones alone.
    Parts are not looked for, since a strategy's names of connectors and ids are often parts of a token that it made up.
    """

    def __init__(self, fields: Mapping[str, object], *, characters_min: int) -> None:
        secrets = [value for name, value in fields.items() if isinstance(value, str) and names_a_secret(name)]
        self._secrets = [one for one in secrets if len(one) >= characters_min]
        with_totals = zip(self._secrets, accumulate(map(len, self._secrets)), strict=True)
        self._spelt = Blanker(one for one, total in with_totals if total <= BODY_SECRETS_CHARACTERS_MAX)

    def __call__(self, text: str) -> str:
        """The text with the secrets blanked; all of it is blanked where it holds one in another spelling."""
        if not self._secrets:
            return text
        hidden, folded = [False] * len(text), _folded(text)
        for start, end in (place for one in self._secrets for place in _places_of(_folded(one), folded)):
            hidden[start:end] = [True] * (end - start)
        shown = _masked_where(text, hidden)
        return MASK if self._spelt.holds(shown) else shown


def hold_token(texts: Collection[str], token: str) -> bool:
    """Whether one of the texts holds a whole token, in any spelling. Every order asks: it is quick to say no."""
    text = "\n".join(texts)
    folded, looked_for = _folded(text), _folded(token)
    if looked_for in folded:
        return True
    if may_be_escaped(text) and any(looked_for in _folded(view) for view, _ in views(text)):
        return True
    # Every spelling but an escaped one is longer by a third.
    may_be_spelt = max(map(len, texts), default=0) * 3 >= len(token) * 4 - 4
    return may_be_spelt and any(form in folded for form in _folded_forms(token))


def _is_a_plain_name(part: str) -> bool:
    return len(part) <= _PLAIN_NAME_CHARACTERS_MAX and looks_like_a_name(part) and not names_a_secret(part)


def _places_of(secret: str, folded: str) -> Iterator[tuple[int, int]]:
    start = folded.find(secret)
    while start >= 0:
        yield start, start + len(secret)
        start = folded.find(secret, start + 1)


def _masked_where(text: str, hidden: Sequence[bool]) -> str:
    if True not in hidden:
        return text
    runs = groupby(range(len(text)), key=hidden.__getitem__)
    return "".join(MASK if is_hidden else "".join(text[at] for at in places) for is_hidden, places in runs)


def _forms(secret: str) -> set[str]:
    """The secret as it is, in hexadecimal, and in base 64 at any offset in the encoded bytes."""
    if len(secret) < _FORMS_FROM_CHARACTERS:
        return {secret}
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, raw.hex()}
    for before in range(3):
        # The first and the last characters depend on the bytes that were encoded around the secret.
        encoded = base64.b64encode(b"\0" * before + raw)[_BASE64_OF_OTHERS[before] :]
        whole = encoded.decode()[: (len(raw) + before) * 8 // 6 - _BASE64_OF_OTHERS[before]]
        forms |= {whole, whole.replace("+", "-").replace("/", "_")}
    return forms


@lru_cache(maxsize=FORMS_REMEMBERED_MAX)
def _folded_forms(token: str) -> tuple[str, ...]:
    """The spellings of a token, folded. Most orders have one of a few tokens; none that is kept exceeds a name."""
    return tuple(map(_folded, _forms(token)))


# The number of base 64 characters that depend on 0, 1 and 2 bytes before.
_BASE64_OF_OTHERS = (0, 2, 3)

# Folding ignores the case of ASCII's letters, and reads a plus as a blank, as a form does; it keeps the length.
_FOLDS = {ord(letter): letter.lower() for letter in string.ascii_uppercase} | {ord("+"): " "}


def _folded(text: str) -> str:
    # Most texts are all ASCII, and lower() is much quicker than translate().
    return text.lower().replace("+", " ") if text.isascii() else text.translate(_FOLDS)
