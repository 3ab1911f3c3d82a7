"""Foreign text, safe to show: nothing in it can move the cursor, break a line, or turn text round."""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "***"

# From the key on, up to the end of the value where the value is a well-formed string, else up to the end: of a body
# that nobody could read, nothing may be trusted to end where it seems to.
_TOKEN_IN_TEXT = re.compile(r'(token\\?["\']?\s*[:=]\s*)(?:"(?:[^"\\]|\\.)*"|.*)', re.IGNORECASE | re.DOTALL)


def escaped(text: str) -> str:
    r"""The text with every character that is not printable as `\x1b`, `\n`, `\u202e`: controls, bidi overrides,
    zero-width and unassigned characters, lone surrogates. A backslash that was there stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def is_secret(name: str) -> bool:
    """Whether the value under this name is not to be shown: `connectorToken`, and what is spelt nearly so."""
    return "token" in name.casefold()


def without_tokens(value: object) -> object:
    """JSON data with every token in it masked, however deep."""
    if isinstance(value, Mapping):
        return {name: MASK if is_secret(name) else without_tokens(item) for name, item in value.items()}
    if isinstance(value, list):
        return [without_tokens(item) for item in value]
    return value


def text_without_tokens(body: bytes) -> str:
    """A body that is no readable JSON, as text with everything that looks like a token masked.

    NUL bytes are left out, so that a body in UTF-16 is recognised too. Escape the result before showing it.
    """
    text = body.replace(b"\0", b"").decode("utf-8", "backslashreplace")
    return _TOKEN_IN_TEXT.sub(rf'\1"{MASK}"', text)
