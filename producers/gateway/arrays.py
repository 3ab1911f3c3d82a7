"""A request's body cut into its orders: an object is one, a JSON array of objects as many as it has.

Each order keeps its bytes as they came, and is read as strictly as one that came alone.
"""

import json
import re

from signalq.errors import InvalidIntent, Problem
from signalq.message.strict_json import check_size, is_beyond

# TradingView sends one message an alert; so many fit into it by far.
ORDERS_MAX = 20
# In all orders of an array, nested ones included: 25 an order, more than there are fields. It bounds what a body may
# cost to 2 ms, as VALUES_MAX does for one order.
ARRAY_VALUES_MAX = 512

_SPACE = re.compile(r"[ \t\n\r]*")
_SIZE = f"an array must have 1 to {ORDERS_MAX} orders"
# Only the end of each order is looked for: numbers stay texts, and are not computed.
_decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)


def array_of(body: bytes) -> list[bytes] | None:
    """The texts of the objects in an array; None for a body that is no array. Raises InvalidIntent for a bad array.

    The objects themselves are not judged, but for their ends.
    """
    if not body.lstrip(b" \t\n\r").startswith(b"["):
        return None
    check_size(len(body))
    if is_beyond(body, ARRAY_VALUES_MAX + ORDERS_MAX):
        raise _refused(f"the array has more than {ARRAY_VALUES_MAX} values (nested ones are counted)")
    try:
        return [text.encode() for text in _texts(body.decode("utf-8"))]
    except UnicodeDecodeError as error:
        raise _refused(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise _refused(f"the body is not JSON ({error.msg}, line {error.lineno} column {error.colno})") from None
    except RecursionError:
        raise _refused("the body is nested too deeply") from None


def _texts(text: str) -> list[str]:
    """The text of each object. Raises json.JSONDecodeError, RecursionError and InvalidIntent."""
    texts: list[str] = []
    at = _after_space(text, text.index("[") + 1)
    if text.startswith("]", at):
        raise _refused(_SIZE)
    while True:
        if not text.startswith("{", at):
            raise _refused(f"the body is an array, but order {len(texts) + 1} in it is not an object")
        if len(texts) == ORDERS_MAX:
            raise _refused(_SIZE)
        _, end = _decoder.raw_decode(text, at)
        texts.append(text[at:end])
        at = _after_space(text, end)
        if text.startswith("]", at):
            break
        if not text.startswith(",", at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        at = _after_space(text, at + 1)
    if _after_space(text, at + 1) != len(text):
        raise json.JSONDecodeError("Extra data", text, at + 1)
    return texts


def _after_space(text: str, at: int) -> int:
    """The place of the next character that is no white space."""
    found = _SPACE.match(text, at)
    return found.end() if found is not None else at


def _refused(message: str) -> InvalidIntent:
    return InvalidIntent([Problem(None, message)])
