"""Foreign text, safe to show: nothing in it can move the cursor, break a line, or turn text round, or is a secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signalq.secrets.blanking import Blanker

# One that is shorter would turn up by chance.
SECRET_CHARACTERS_MIN = 6


class Secrets:
    """What this run of the command knows to be secret: nothing, until its settings are read."""

    def __init__(self) -> None:
        self._blanker: Blanker | None = None

    def learn(self, values: Iterable[str], *, names: Iterable[str] = ()) -> None:
        """Blank these in everything that is shown; a part of one that stands in one of the names is none."""
        # Imported here: what is shown of --help needs no library.
        from signalq.secrets.blanking import Blanker  # noqa: PLC0415

        self._blanker = self._blanker or Blanker()
        self._blanker.learn(values, names=names)

    def forget(self) -> None:
        """Know none again."""
        self._blanker = None

    def finds(self, text: str) -> bool:
        """Whether one of them stands in a text."""
        return self._blanker is not None and self._blanker.finds(text, characters_min=SECRET_CHARACTERS_MIN)

    def blanked(self, text: str) -> str:
        """The text without them, and without what logs in to any URL in it."""
        return text if self._blanker is None else self._blanker(text, characters_min=SECRET_CHARACTERS_MIN)


secrets = Secrets()


def escaped(text: str) -> str:
    r"""The text with every character that is not printable as `\x1b`, `\n`, `\u202e`: controls, bidi overrides,
    zero-width and unassigned characters, lone surrogates. A backslash that was there stays as it is.

    Known secrets, and what logs in to a URL, are blanked.
    """
    return escaped_whole(secrets.blanked(text))


def escaped_whole(text: str) -> str:
    """The same with secrets and all, for `dead show --raw` alone."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def without_secrets(value: object) -> object:
    """JSON data with known secrets blanked in every text of it; keys stay."""
    if isinstance(value, str):
        return secrets.blanked(value)
    if isinstance(value, Mapping):
        return {name: without_secrets(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return value
