"""Foreign text made safe to show: it can't move the cursor, break a line or turn text round, and holds no secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from signalq.secrets.masking import SECRET_CHARACTERS_MIN

if TYPE_CHECKING:
    from signalq.secrets.blanking import Blanker


class Secrets:
    """The secrets that this run of the command knows: none, until its settings are read."""

    def __init__(self) -> None:
        self._blanker: Blanker | None = None

    def learn(self, values: Iterable[str], *, names: Iterable[str] = ()) -> None:
        """Blank these in all shown text; a part of a secret that is also part of one of the `names` is not blanked."""
        # Imported here: --help needs no library.
        from signalq.secrets.blanking import Blanker  # noqa: PLC0415

        self._blanker = self._blanker or Blanker()
        self._blanker.learn(values, names=names)

    def finds(self, text: str) -> bool:
        """Whether a text holds one of them."""
        return self._blanker is not None and self._blanker.finds(text, characters_min=SECRET_CHARACTERS_MIN)

    def blanked(self, text: str) -> str:
        """The text without the secrets, and without the logins of URLs in it."""
        return text if self._blanker is None else self._blanker(text, characters_min=SECRET_CHARACTERS_MIN)


secrets = Secrets()


def escaped(text: str) -> str:
    r"""The text with every character that is not printable as `\x1b`, `\n`, `\u202e`: controls, bidi overrides,
    zero-width and unassigned characters, lone surrogates. A backslash that was there stays as it is.

    Known secrets, and the logins of URLs, are blanked.
    """
    return escaped_whole(secrets.blanked(text))


def escaped_whole(text: str) -> str:
    """The same with all secrets, for `dead show --raw` alone."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def without_secrets(value: object) -> object:
    """JSON data with known secrets blanked in every text; keys stay."""
    if isinstance(value, str):
        return secrets.blanked(value)
    if isinstance(value, Mapping):
        return {name: without_secrets(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return value
