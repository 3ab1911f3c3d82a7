"""The part of a webhook's answer that a person may see: its beginning, printable, without any known secret.

An answer is foreign text, which may repeat the token that it was sent, whole or cut, as it is or encoded.
"""

from __future__ import annotations

from signalq.secrets.blanking import Blanker

SHOWN_CHARACTERS_MAX = 200
# So much of an answer is looked at: blanking makes it shorter, and only the beginning is shown.
LOOKED_AT_CHARACTERS = 1_000


def shown(answer: bytes, *blankers: Blanker) -> str | None:
    """At most SHOWN_CHARACTERS_MAX of an answer, without the secrets that the blankers know; None for an empty one."""
    text = answer.decode("utf-8", "replace")[:LOOKED_AT_CHARACTERS]
    for blanker in blankers:
        text = blanker(text)
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return " ".join(words)[:SHOWN_CHARACTERS_MAX] or None
