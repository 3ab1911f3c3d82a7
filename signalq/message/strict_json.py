"""JSON as an order needs it: exact digits, no duplicate keys, nothing guessed.

Numbers keep the digits that came in (`JsonNumber`); a float would round a price.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from signalq.errors import InvalidIntent, Problem
from signalq.secrets.masking import shown_name

BODY_BYTES_MAX = 65_536
# Fields, fields of nested objects, and elements of arrays; the top object is not counted. It bounds the depth as well.
VALUES_MAX = 64
# Of one number, both as it came and written out without an exponent.
DIGITS_MAX = 64
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# Up to the next comma or opening bracket outside of texts.
_TO_THE_NEXT_SIGN = rb'(?:[^",\[{]*+(?:"(?:[^"\\]++|\\.)*+"[^",\[{]*+)*+[,\[{])'


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A JSON number as its text, e.g. `1.50` or `1e3`."""

    text: str

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
_plain_decoder = json.JSONDecoder()


def parse_object(body: bytes) -> dict[str, object]:
    """Read a JSON object of at most BODY_BYTES_MAX bytes and VALUES_MAX values; numbers become JsonNumber.

    No body costs more than 2 ms. Raises InvalidIntent for any other body, and for another encoding than UTF-8, a
    byte-order mark, duplicate keys, NaN, lone surrogates, and a number of more than DIGITS_MAX digits.
    """
    if not body:
        raise _refused("the body is empty")
    check_size(len(body))
    if body.startswith(_BYTE_ORDER_MARK):
        raise _refused("the body begins with a byte-order mark")
    if is_beyond(body, VALUES_MAX):
        raise _too_many_values()
    try:
        text = body.decode("utf-8")
        if (texts := _texts(body, text)) is not None:
            return texts
        value = _decoder.decode(text)
    except UnicodeDecodeError as error:
        raise _refused(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _refused(f"the body is not JSON ({error.msg}, line {error.lineno} column {error.colno})") from None
    if not isinstance(value, dict):
        raise _refused("the body is JSON, but not an object")
    if values_below(value) > VALUES_MAX:
        raise _too_many_values()
    problems = [Problem(shown_name(key), message) for key, item in value.items() for message in _faults(key, item)]
    if problems:
        raise InvalidIntent(problems)
    return value


def _texts(body: bytes, text: str) -> dict[str, object] | None:
    """The fields of an object of texts alone, the usual order; None for any other body, and wherever that is not sure.

    Without a backslash, each quote begins or ends a text, and no text holds a lone surrogate. So an object of as many
    fields as there are quotes for, one text the name and one the value of each, holds no other value, and no key twice.
    """
    quotes = body.count(b'"')
    if quotes != 4 * body.count(b":") or quotes > 4 * VALUES_MAX or b"\\" in body:
        return None
    try:
        fields = _plain_decoder.decode(text)
    except ValueError:
        return None
    is_all_texts = isinstance(fields, dict) and quotes == 4 * len(fields) and set(map(type, fields.values())) == {str}
    return fields if is_all_texts else None


def check_size(body_bytes: int) -> None:
    """Raise InvalidIntent for more than BODY_BYTES_MAX bytes."""
    if body_bytes > BODY_BYTES_MAX:
        raise _refused(f"the body has {body_bytes} bytes, at most {BODY_BYTES_MAX} are allowed")


def is_beyond(body: bytes, values_max: int) -> bool:
    """Whether a glance shows more values than this: a body of 64 KiB may hold 20,000, or be as deep as it is long.

    Each value below the top one follows a comma, or is the first in its object or array. So more commas and opening
    brackets, outside of texts, than two for each value and one for the top mean more values.
    """
    signs = 2 * values_max + 2
    if body.count(b",") + body.count(b"[") + body.count(b"{") < signs:
        return False
    return re.compile(_TO_THE_NEXT_SIGN + b"{%d}+" % signs, re.DOTALL).match(body) is not None


def _too_many_values() -> InvalidIntent:
    return _refused(f"the body has more than {VALUES_MAX} values (nested ones and elements of arrays are counted)")


def values_below(value: object) -> int:
    """The number of values in an object or an array, nested ones included."""
    if not isinstance(value, (dict, list)):
        return 0
    items = value.values() if isinstance(value, dict) else value
    return len(value) + sum(map(values_below, items))


def _faults(name: str, item: object) -> Iterator[str]:
    """Each fault of one field, as a sentence."""
    if not is_encodable(name):
        yield "the name of the field holds a lone surrogate"
    leaves = list(_leaves(item))
    if not all(is_encodable(leaf) for leaf in leaves if isinstance(leaf, str)):
        yield "holds a lone surrogate"  # UTF-8 has none, but an escape can write one
    if any(digits_of(leaf.text) > DIGITS_MAX for leaf in leaves if isinstance(leaf, JsonNumber)):
        yield f"has more than {DIGITS_MAX} digits"


def _leaves(value: object) -> Iterator[object]:
    """Every text, name and number in the value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def digits_of(number: str) -> int:
    """The number of digits in the text of a number."""
    return len(number) - sum(map(number.count, "+-.eE"))


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can write the text: it holds no lone surrogate."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def render(value: object) -> str:
    """The JSON text of a value that parse_object returned; every number has the digits that came in."""
    if isinstance(value, JsonNumber):
        return value.text
    if isinstance(value, dict):
        return "{" + ",".join(f"{render(key)}:{render(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(render, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
