"""The order intent: its fields, the rules of each, and what of it is POSTed.

The fields are those of Crypto-Arsenal's "API Trading" webhook. Rules and wording follow docs/intent.md.
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Collection, Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
)
from pydantic.alias_generators import to_camel

from signalq.errors import InvalidIntent, Problem
from signalq.message.strict_json import DIGITS_MAX, JsonNumber, digits_of, parse_object, render
from signalq.names import LADDER_MAX_S
from signalq.secrets.masking import looks_like_a_name, shown_name

CONNECTOR_NAME_BYTES_MAX = 128
CLIENT_ORDER_ID_BYTES_MAX = 128
TOO_LONG = f"has more than {DIGITS_MAX} digits written out"

CANCEL_ALL_SPELLINGS = ("cancelAll", "cancellAll", "cancel_all")
FUTURES_ACTIONS = ("openLong", "closeLong", "openShort", "closeShort")
EXIT_ACTIONS = ("closeLong", "closeShort", "cancel", *CANCEL_ALL_SPELLINGS)
Action = Literal[
    "buy",
    "sell",
    "openLong",
    "closeLong",
    "openShort",
    "closeShort",
    "cancel",
    "cancelAll",
    "cancellAll",
    "cancel_all",
]

# Fields that speak to signalq, not to the platform: forwarded, the platform would delay a second time.
_NOT_POSTED = frozenset({"delaySeconds", "delaySecondsFilter"})

_PLAIN_DECIMAL = re.compile(r"(?:\d+(?:\.\d+)?|\.\d+)", re.ASCII)
_NUMERIC = re.compile(r"-?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,9})?", re.ASCII)
# Control and format characters, by Unicode's general category: they show as nothing, or turn the text around them.
_UNSEEN = frozenset({"Cc", "Cf"})


def _as_decimal_text(value: object) -> object:
    """The text that goes out: a string as it is, a number in plain notation with exactly its own digits.

    Null is refused: JSON.stringify and pandas write it for NaN, and a price that could not be computed must not become
    a market order. So is Python's float: its digits are not those that anybody meant.
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
            "must not be a float, whose digits nobody meant: write it as a string or as a Decimal"
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


def _above_zero(value: str) -> str:
    if not Decimal(value) > 0:
        raise ValueError("must be greater than 0")
    return value


def _at_most_100(value: str) -> str:
    if Decimal(value) > 100:
        raise ValueError("must be at most 100")
    return value


def _as_seconds(value: object) -> object:
    """Seconds from a JSON number, a Python number, or a numeric string."""
    if isinstance(value, JsonNumber):
        return _parse_number(value.text)
    if isinstance(value, str):
        if not _NUMERIC.fullmatch(value):
            raise ValueError("must be a number of seconds")
        return _parse_number(value)
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return _parse_number(str(value))
    raise ValueError("must be a number of seconds")


def _bytes_between(value: str, low: int, high: int) -> str:
    if not low <= len(value.encode()) <= high:
        raise ValueError(f"must have {low} to {high} bytes")
    return value


def connector_name(value: str) -> str:
    """The name of a connector, as it came. Raises ValueError where it can't be one.

    What looks like another name must not be one beside it, past its limits and its pause.
    """
    _bytes_between(value, 1, CONNECTOR_NAME_BYTES_MAX)
    if not value.isprintable() and not _UNSEEN.isdisjoint(map(unicodedata.category, value)):
        raise ValueError("must not hold control or format characters")
    if value != value.strip():
        raise ValueError("must not begin or end with white space")
    return value


def _encodable(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds a lone surrogate") from None
    return value


Text = Annotated[str, Field(strict=True), AfterValidator(_encodable)]
DecimalText = Annotated[str, AfterValidator(_above_zero)]
PercentText = Annotated[DecimalText, AfterValidator(_at_most_100)]
# Around the whole, so that a None that was given is seen, too.
_Decimal = BeforeValidator(_as_decimal_text)


class OrderIntent(BaseModel):
    """An order that somebody wants placed: frozen, valid from the moment it exists.

    Prices and amounts are decimal strings, kept digit by digit; `delay_seconds` is a Decimal in seconds.
    Making one raises InvalidIntent (a ValueError), which names each bad field and shows no value.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    connector_name: Annotated[Text, AfterValidator(connector_name)]
    action: Action
    connector_token: Annotated[Text | None, Field(repr=False)] = None
    fixed: Annotated[DecimalText | None, _Decimal] = None
    percent: Annotated[PercentText | None, _Decimal] = None
    limit: Annotated[DecimalText | None, _Decimal] = None
    profit: Annotated[DecimalText | None, _Decimal] = None
    loss: Annotated[DecimalText | None, _Decimal] = None
    log: Text | None = None
    client_order_id: Annotated[Text | None, Field(validate_default=True)] = None
    delay_seconds: Annotated[Decimal, BeforeValidator(_as_seconds)] | None = None
    delay_seconds_filter: Text | None = None

    # Fields that a connector lets through untouched, and the order in which all fields came in.
    _extra: dict[str, object] = PrivateAttr(default_factory=dict)
    _order: tuple[str, ...] = PrivateAttr(default=())

    # A type checker sees the constructor that pydantic derives from the fields.
    if not TYPE_CHECKING:

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise InvalidIntent(problems_of(error, _NAMES)) from None

        # As RootModel says it of its own: validating needs no detour by this constructor, which would lose its context.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def model_validate(cls, *args: Any, **options: Any) -> Self:
        """As pydantic's, but what is wrong is an InvalidIntent, under the JSON's field names."""
        try:
            return super().model_validate(*args, **options)
        except ValidationError as error:
            raise InvalidIntent(problems_of(error)) from None

    @classmethod
    def model_validate_json(cls, *args: Any, **options: Any) -> Self:
        """As `model_validate`; unlike signalq's own reader it lets duplicate keys pass, and JSON's fractions do not."""
        try:
            return super().model_validate_json(*args, **options)
        except ValidationError as error:
            raise InvalidIntent(problems_of(error)) from None

    @model_serializer(mode="wrap")
    def _without_what_is_absent(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is dumped can be read again: a null would not be what was there, but a refusal."""
        return {name: value for name, value in serialized(self).items() if value is not None}

    @field_validator("connector_token", mode="after")
    @classmethod
    def _token_not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value:
            raise ValueError("must not be empty")
        return value

    @field_validator("client_order_id", mode="after")
    @classmethod
    def _client_order_id_bytes(cls, value: str | None) -> str | None:
        if value is not None:
            return _bytes_between(value, 1, CLIENT_ORDER_ID_BYTES_MAX)
        return value

    @field_validator("profit", "loss", mode="after")
    @classmethod
    def _only_for_futures(cls, value: str | None, info: ValidationInfo) -> str | None:
        action = info.data.get("action")
        if value is not None and action is not None and action not in FUTURES_ACTIONS:
            raise ValueError("is only for " + ", ".join(FUTURES_ACTIONS))
        return value

    @field_validator("delay_seconds", mode="after")
    @classmethod
    def _delay_in_bounds(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        delay_max_s = (info.context or {}).get("delay_max_s", LADDER_MAX_S)
        if value is not None and not 0 <= value <= delay_max_s:
            raise ValueError(f"must be between 0 and {delay_max_s} seconds")
        return value

    @field_validator("client_order_id", mode="before")
    @classmethod
    def _cancel_names_an_order(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.data.get("action") == "cancel":
            raise ValueError("is needed with the action cancel")
        return value

    @property
    def kind(self) -> str:
        """The action, with one spelling for `cancelAll`."""
        return "cancelAll" if self.action in CANCEL_ALL_SPELLINGS else self.action

    @property
    def has_extra_fields(self) -> bool:
        """Whether it carries fields beyond the table, which its connector lets through."""
        return bool(self._extra)

    @property
    def extra_fields(self) -> tuple[str, ...]:
        """The names of these fields."""
        return tuple(self._extra)

    def is_exit(self, *, spot_sell_is_exit: bool = False) -> bool:
        """Whether it ends a position or an order; the rest are opens."""
        return self.action in EXIT_ACTIONS or (spot_sell_is_exit and self.action == "sell")

    @property
    def delay_ms(self) -> int:
        """How long to wait from the creation, in whole ms rounded up; 0 where the filter is not met."""
        if not self.delay_seconds or (self.delay_seconds_filter and self.delay_seconds_filter not in (self.log or "")):
            return 0
        # In whole numbers: Decimal's own arithmetic rounds to 28 digits, and a delay must not end early.
        numerator, denominator = self.delay_seconds.as_integer_ratio()
        return -(-1000 * numerator // denominator)

    def checked(self) -> Self:
        """The same intent, judged anew: a `model_copy` with other fields never was. Raises InvalidIntent."""
        given = {name: value for name, value in self.__dict__.items() if name in self.model_fields_set}
        same = type(self)(**given)
        same._extra, same._order = self._extra, self._order
        return same

    def to_message(self) -> bytes:
        """The body to publish: every field that is there, in the order it came in."""
        return _rendered(self._fields())

    def to_webhook(self, *, token: str | None = None, cancel_all_spelling: str | None = None) -> bytes:
        """The body to POST: the same object without the delay, the token filled in where there was none."""
        fields = {name: value for name, value in self._fields().items() if name not in _NOT_POSTED}
        if cancel_all_spelling and self.kind == "cancelAll":
            fields["action"] = cancel_all_spelling
        if token is not None:
            fields.setdefault("connectorToken", token)
        return _rendered(fields)

    def _fields(self) -> dict[str, object]:
        values = self.__dict__
        present = {alias: value for name, alias in _ALIASES.items() if (value := values.get(name)) is not None}
        present |= self._extra
        # A copy with other fields (model_copy) may lack some of those that came in, or have new ones: these go last.
        return {name: present[name] for name in self._order if name in present} | present

    def __eq__(self, other: object) -> bool:
        """The same fields with the same values, in whatever order they came in."""
        return isinstance(other, OrderIntent) and self._fields() == other._fields()

    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))


def _rendered(fields: Mapping[str, object]) -> bytes:
    if all(type(value) is str for value in fields.values()):
        return _encode_strings(fields).encode()
    seconds = fields.get("delaySeconds")
    if isinstance(seconds, Decimal):
        fields = {**fields, "delaySeconds": JsonNumber(format(seconds, "f"))}
    return render(fields).encode()


_encode_strings = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_ALIASES = {name: to_camel(name) for name in OrderIntent.model_fields}
FIELD_NAMES = tuple(_ALIASES.values())
DECIMAL_FIELDS = ("fixed", "percent", "limit", "profit", "loss")
# A field by its name in Python or in JSON, as the JSON has it, and as Python has it.
_JSON_NAMES = _ALIASES | {alias: alias for alias in FIELD_NAMES}
_NULL_IS_ABSENT = frozenset(FIELD_NAMES) - frozenset(DECIMAL_FIELDS)
_NAMES = {spelling: name for name, alias in _ALIASES.items() for spelling in (name, alias)}


def intent_from_fields(
    fields: Mapping[str, object],
    *,
    extra_fields: Collection[str] = (),
    token_needed: bool = False,
    delay_max_s: int = LADDER_MAX_S,
) -> OrderIntent:
    """The intent in an object of JSON fields; an explicit null is as if absent, but in a decimal field it is refused.

    `extra_fields` are let through untouched, null and all; `token_needed` says that no token is configured for the
    connector.
    Raises InvalidIntent with a problem for every bad field.
    """
    present = {name: value for name, value in fields.items() if value is not None or name not in _NULL_IS_ABSENT}
    extra = {name: present[name] for name in extra_fields if name in present and name not in FIELD_NAMES}
    problems: list[Problem] = []
    if token_needed and "connectorToken" not in present:
        problems.append(Problem("connectorToken", "is missing, and none is configured for the connector"))
    try:
        # By alias alone: a body that says connector_name is misspelt, not understood.
        intent = OrderIntent.model_validate(
            {name: value for name, value in present.items() if name not in extra},
            context={"delay_max_s": delay_max_s},
            by_alias=True,
            by_name=False,
        )
    except InvalidIntent as invalid:
        raise InvalidIntent([*problems, *invalid.problems]) from None
    if problems:
        raise InvalidIntent(problems)
    intent._extra = extra
    intent._order = tuple(present)
    return intent


def intent_from_body(body: bytes) -> OrderIntent:
    """The intent in a message body, by the rules alone (no connector's settings). Raises InvalidIntent."""
    return intent_from_fields(parse_object(body))


def problems_of(error: ValidationError, names: Mapping[str, str] | None = None) -> list[Problem]:
    """What pydantic found, as our problems: our words, no values; fields as `names` has them, else as the JSON has."""
    found = error.errors(include_url=False, include_input=False)
    known = _JSON_NAMES if names is None else names
    return [_problem(details, known, suggest=number < SUGGESTIONS_MAX) for number, details in enumerate(found)]


def _problem(details: Any, names: Mapping[str, str], *, suggest: bool) -> Problem:
    given = str(details["loc"][0]) if details["loc"] else None
    name = names.get(given, given) if given is not None else None
    match details["type"]:
        case "missing":
            return Problem(name, "is missing")
        case "extra_forbidden" if names.get(given or "") == given:
            return Problem(name, "is there twice, under its name here and under the JSON's")
        case "extra_forbidden":
            known = tuple(dict.fromkeys(names.values()))
            suggest = suggest and looks_like_a_name(given or "")
            nearest = f", the nearest is {nearest_name(given or '', known)}" if suggest else ""
            return Problem(shown_name(given or ""), f"is not a field of an intent{nearest}")
        case "literal_error":
            return Problem(name, "must be one of " + ", ".join(get_args(Action)))
        case "string_type":
            return Problem(name, "must be a string")
        case _:
            return Problem(name, details["msg"].removeprefix("Value error, "))


def nearest_name(name: str, known: Collection[str]) -> str:
    """The known name that looks most like `name`, in whatever case."""
    folded = {candidate.casefold(): candidate for candidate in known}
    best = difflib.get_close_matches(name[:NEAREST_CHARACTERS_MAX].casefold(), folded, n=1, cutoff=0.0)
    return folded[best[0]]


NEAREST_CHARACTERS_MAX = 32
# Looking for the nearest of a name takes up to 0.15 ms, and no body may cost more than 2 ms.
SUGGESTIONS_MAX = 5
