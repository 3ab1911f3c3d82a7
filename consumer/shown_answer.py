"""What a person may see of a webhook's answer: its beginning, printable, every known secret blanked.

An answer is foreign text. It may repeat the token that it was sent, whole or cut, as it is or encoded: so every run of
characters that a known secret has, too, in any of its usual spellings, is blanked, once it is long enough to tell
anything of it.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

SHOWN_CHARACTERS_MAX = 200
# Of what was read, so much is looked at: blanking makes it shorter, and only the beginning is shown.
LOOKED_AT_CHARACTERS = 1_000
# A run as long as this tells of a secret; a shorter secret is blanked where it stands as a whole.
RUN_CHARACTERS = 6
BLANK = "***"


class Secrets:
    """The secrets that are known, ready to be looked for."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._short: set[str] = set()
        self._runs: set[str] = set()
        for secret in set(secrets):
            for spelling in map(_lower, _spellings(secret)):
                if len(spelling) <= RUN_CHARACTERS:
                    self._short.add(spelling)
                else:
                    self._runs.update(_runs(spelling))

    def __or__(self, other: Secrets) -> Secrets:
        both = Secrets(())
        both._short, both._runs = self._short | other._short, self._runs | other._runs
        return both

    def blanked(self, text: str) -> str:
        """The text without them."""
        hidden = [False] * len(text)
        lowered = _lower(text)
        for start, run in enumerate(_runs(lowered)):
            if run in self._runs:
                hidden[start : start + RUN_CHARACTERS] = [True] * RUN_CHARACTERS
        for short in self._short:
            start = lowered.find(short)
            while start >= 0:
                hidden[start : start + len(short)] = [True] * len(short)
                start = lowered.find(short, start + 1)
        shown: list[str] = []
        for character, is_hidden in zip(text, hidden, strict=True):
            if not is_hidden:
                shown.append(character)
            elif not shown or shown[-1] != BLANK:
                shown.append(BLANK)
        return "".join(shown)


def shown(answer: bytes, secrets: Secrets) -> str | None:
    """At most SHOWN_CHARACTERS_MAX of an answer; None for one that says nothing."""
    text = answer.decode("utf-8", "replace")[:LOOKED_AT_CHARACTERS]
    words = "".join(character if character.isprintable() else " " for character in secrets.blanked(text)).split()
    return " ".join(words)[:SHOWN_CHARACTERS_MAX] or None


def _spellings(secret: str) -> set[str]:
    """As it is, and as it looks in JSON, in a URL and in HTML."""
    quoted = [json.dumps(secret), json.dumps(secret, ensure_ascii=False)]
    spelled = {secret, *(text[1:-1] for text in quoted), quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return {one for one in (*spelled, secret.replace("/", "\\/"), html.escape(secret)) if one}


def _runs(text: str) -> list[str]:
    return [text[start : start + RUN_CHARACTERS] for start in range(len(text) - RUN_CHARACTERS + 1)]


def _lower(text: str) -> str:
    """Without the case of ASCII letters: it stays as long as it was."""
    return "".join(character.lower() if character.isascii() else character for character in text)
