"""JSON as an order needs it: exact digits, no duplicate keys, nothing guessed.

Numbers keep the digits that came in (`JsonNumber`); a float would round a price.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import NoReturn

from signalq.errors import InvalidIntent, Problem
from signalq.masking import shown_name

BODY_BYTES_MAX = 65_536
DEPTH_MAX = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class JsonNumber:
    """A JSON number as its text, e.g. `1.50` or `1e3`."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonNumber) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return "JsonNumber(…)"


def _refused(message: str, field: str | None = None) -> InvalidIntent:
    return InvalidIntent([Problem(field, message)])


def _no_constant(_name: str) -> NoReturn:
    raise _refused("NaN and Infinity are not JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    times = Counter(key for key, _ in pairs)
    repeated = [key for key, count in times.items() if count > 1]
    raise InvalidIntent([Problem(shown_name(key), "is there more than once") for key in repeated])


_decoder = json.JSONDecoder(
    parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=_no_constant, object_pairs_hook=_unique
)


def parse_object(body: bytes) -> dict[str, object]:
    """Read a JSON object of at most BODY_BYTES_MAX bytes; numbers become JsonNumber.

    Raises InvalidIntent, with one sentence, for anything else: another encoding, a byte-order mark, duplicate keys,
    NaN, lone surrogates, nesting deeper than DEPTH_MAX.
    """
    if not body:
        raise _refused("the body is empty")
    if len(body) > BODY_BYTES_MAX:
        raise _refused(f"the body has {len(body)} bytes, at most {BODY_BYTES_MAX} are allowed")
    if body.startswith(_BYTE_ORDER_MARK):
        raise _refused("the body begins with a byte-order mark")
    try:
        value = _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _refused(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _refused(f"the body is not JSON ({error.msg}, line {error.lineno} column {error.colno})") from None
    except RecursionError:
        raise _refused(f"the body is nested deeper than {DEPTH_MAX}") from None
    if not isinstance(value, dict):
        raise _refused("the body is JSON, but not an object")
    for key, item in value.items():
        _check(item, shown_name(key), DEPTH_MAX - 1)
        if not _encodable(key):
            raise _refused("the name of the field holds a lone surrogate", shown_name(key))
    return value


def _check(value: object, field: str, depth_left: int) -> None:
    """Lone surrogates (only an escape can smuggle one in) and nesting, below one field of the object."""
    if depth_left < 0:
        raise _refused(f"is nested deeper than {DEPTH_MAX}", field)
    if isinstance(value, str) and not _encodable(value):
        raise _refused("holds a lone surrogate", field)
    if isinstance(value, dict):
        for key, item in value.items():
            _check(key, field, depth_left)
            _check(item, field, depth_left - 1)
    elif isinstance(value, list):
        for item in value:
            _check(item, field, depth_left - 1)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def render(value: object) -> str:
    """The JSON text of what parse_object gives, every number with the digits that came in."""
    if isinstance(value, JsonNumber):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{_quoted(key)}:{render(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(render, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


NAME_CHARACTERS_MAX = 64


def printable_name(name: str) -> str:
    """A foreign name, safe to show: control and non-ASCII characters escaped, cut at NAME_CHARACTERS_MAX."""
    shown = name[:NAME_CHARACTERS_MAX].encode("unicode_escape", "backslashreplace").decode("ascii")
    return shown + ("…" if len(name) > NAME_CHARACTERS_MAX else "")
