"""Output that takes no library: counts in words, and rows as lines of JSON."""

import json
import re
from collections.abc import Mapping

from signalq.message.strict_json import render
from signalq.ops.terminal.escaping import secrets, without_secrets

Row = Mapping[str, object]

# In JSON text such a character is inside a string, and may be written as its escape.
_NOT_PLAIN = re.compile(r"[^\x20-\x7e]")


def ascii_json(value: object) -> str:
    """One line of JSON, in ASCII (foreign text can't reach the terminal), numbers with the digits that came in."""
    return _NOT_PLAIN.sub(lambda found: json.dumps(found[0])[1:-1], render(value))


def json_line(row: Row, *, raw: bool = False) -> str:
    """One row as a line of JSON. Known secrets are blanked, unless `raw`."""
    text = ascii_json(dict(row))
    return ascii_json(without_secrets(row)) if not raw and secrets.finds(text) else text


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 letter`, `1,200 letters`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
