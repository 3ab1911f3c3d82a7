"""The rule of each field of an order intent, by itself: actions, decimals, seconds, texts, names.

A rule takes the value of a field and returns the value to keep, or raises ValueError. Rules between two fields are in
intent.py. Rules and wording follow docs/intent.md.
"""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from signalq.message.strict_json import DIGITS_MAX, JsonNumber, digits_of, is_encodable

Action = Literal[
    "buy", "sell", "openLong", "closeLong", "openShort", "closeShort", "cancel", "cancelAll", "cancellAll", "cancel_all"
]
CANCEL_ALL_SPELLINGS = ("cancelAll", "cancellAll", "cancel_all")
FUTURES_ACTIONS = ("openLong", "closeLong", "openShort", "closeShort")
EXIT_ACTIONS = ("closeLong", "closeShort", "cancel", *CANCEL_ALL_SPELLINGS)

CONNECTOR_NAME_BYTES_MAX = 128
CLIENT_ORDER_ID_BYTES_MAX = 128
TOO_LONG = f"has more than {DIGITS_MAX} digits written out"

_PLAIN_DECIMAL = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)", re.ASCII)
_NUMERIC = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)
# Control and format characters, by Unicode's general category: they are invisible, or turn the text around them.
_INVISIBLE = frozenset({"Cc", "Cf"})


def _as_decimal_text(value: object) -> object:
    """The decimal as its text: a string stays as it is, a number becomes plain notation with exactly its own digits.

    Null is refused: JSON.stringify and pandas write it for NaN, and a price that could not be computed must not become
    a market order. Python's float is refused as well: its digits are not the digits that the strategy meant.
    """
    if value is None:
        raise ValueError("is null: give a decimal number, or leave the field out")
    if isinstance(value, str):
        if not _PLAIN_DECIMAL.fullmatch(value):
            raise ValueError("must be a decimal number such as 12.5, with digits and at most one point")
        return _not_too_long(value)
    if isinstance(value, JsonNumber):
        return _plain(value.text)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        return _plain(str(value))
    if isinstance(value, float):
        raise ValueError(  # noqa: TRY004 - pydantic gathers ValueErrors, and lets a TypeError through
            "must not be a float, whose digits are not exact: write it as a string or as a Decimal"
        )
    raise ValueError("must be a decimal number, as a string or as a JSON number")


def _plain(text: str) -> str:
    """`1.50` stays, `1e3` becomes 1000; digits are moved, never rounded."""
    if _PLAIN_DECIMAL.fullmatch(text):
        return _not_too_long(text)
    return format(_parse_number(text), "f")


def _parse_number(text: str) -> Decimal:
    try:
        number = Decimal(_not_too_long(text))
    except InvalidOperation:
        raise ValueError("must be a decimal number") from None
    if not number.is_finite():
        raise ValueError("must be a finite number")
    # 1e400 and 1e-400 are short to write and long to send.
    if abs(number.adjusted()) > DIGITS_MAX:
        raise ValueError(TOO_LONG)
    _not_too_long(format(number, "f"))
    return number


def _not_too_long(number: str) -> str:
    if digits_of(number) > DIGITS_MAX:
        raise ValueError(TOO_LONG)
    return number


def _as_seconds(value: object) -> object:
    """Seconds as a Decimal, from a JSON number, a Python number, or a numeric string."""
    if isinstance(value, JsonNumber):
        return _parse_number(value.text)
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    if is_number or (isinstance(value, str) and _NUMERIC.fullmatch(value)):
        return _parse_number(str(value))
    raise ValueError("must be a number of seconds")


def connector_name(value: str) -> str:
    """The name of a connector, unchanged. Raises ValueError for a text that can't be one.

    A name that only looks like another connector's would be a second connector, beside the limits and the pause of the
    first.
    """
    if not 1 <= len(value.encode()) <= CONNECTOR_NAME_BYTES_MAX:
        raise ValueError(f"must have 1 to {CONNECTOR_NAME_BYTES_MAX} bytes")
    if not value.isprintable() and not _INVISIBLE.isdisjoint(map(unicodedata.category, value)):
        raise ValueError("must not hold control or format characters")
    if value != value.strip():
        raise ValueError("must not begin or end with white space")
    return value


def _only_if(rule: Callable[[str], object], message: str) -> AfterValidator:
    """Takes a text of which the rule is true; `message` tells the fault of any other."""

    def checked(value: str) -> str:
        if not rule(value):
            raise ValueError(message)
        return value

    return AfterValidator(checked)


Text = Annotated[str, Field(strict=True), _only_if(is_encodable, "holds a lone surrogate")]
ConnectorName = Annotated[Text, AfterValidator(connector_name)]
ConnectorToken = Annotated[Text, _only_if(bool, "must not be empty")]
ClientOrderId = Annotated[
    Text,
    _only_if(
        lambda value: 1 <= len(value.encode()) <= CLIENT_ORDER_ID_BYTES_MAX,
        f"must have 1 to {CLIENT_ORDER_ID_BYTES_MAX} bytes",
    ),
]

_Positive = Annotated[str, _only_if(lambda value: Decimal(value) > 0, "must be greater than 0")]
_Share = Annotated[_Positive, _only_if(lambda value: Decimal(value) <= 100, "must be at most 100")]
# Around the whole, so that the rule sees an explicit None as well.
_IsDecimal = BeforeValidator(_as_decimal_text)
OptionalDecimal = Annotated[_Positive | None, _IsDecimal]
OptionalPercent = Annotated[_Share | None, _IsDecimal]
Seconds = Annotated[Decimal, BeforeValidator(_as_seconds)]
