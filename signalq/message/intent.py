"""The order intent: its fields, the rules between them, and the bytes that are published and POSTed.

The fields are those of Crypto-Arsenal's "API Trading" webhook. The rule of each field by itself is in field_rules.py.
Rules and wording follow docs/intent.md.
"""

import json
from collections.abc import Collection, Mapping
from decimal import Decimal
from operator import is_
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    BaseModel,
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
from signalq.message.field_rules import (
    CANCEL_ALL_SPELLINGS,
    EXIT_ACTIONS,
    FUTURES_ACTIONS,
    Action,
    ClientOrderId,
    ConnectorName,
    ConnectorToken,
    OptionalDecimal,
    OptionalPercent,
    Seconds,
    Text,
)
from signalq.message.problems import problems_of
from signalq.message.strict_json import JsonNumber, parse_object, render
from signalq.names import LADDER_MAX_S

# Fields that speak to signalq, not to the platform: forwarded, the platform would delay a second time.
NOT_POSTED = frozenset({"delaySeconds", "delaySecondsFilter"})


class OrderIntent(BaseModel):
    """One order that a strategy wants placed: frozen, and valid from the moment it exists.

    `fixed`, `percent`, `limit`, `profit` and `loss` are given as a string, an int or a Decimal, never as a float, and
    kept as a decimal string, digit by digit; `delay_seconds` is a Decimal, in seconds. The constructor raises
    InvalidIntent (a ValueError), which names each bad field and quotes no value. docs/intent.md has the rules.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    connector_name: ConnectorName
    """The account on the platform that the order is for: 1 to 128 bytes of UTF-8."""
    action: Action
    """The kind of order; the three spellings of `cancelAll` mean the same."""
    connector_token: Annotated[ConnectorToken | None, Field(repr=False)] = None
    """The connector's secret; None where the consumer's settings have it."""
    fixed: OptionalDecimal = None
    """The amount, above 0. The platform prefers it where `percent` is there too."""
    percent: OptionalPercent = None
    """A share in percent, above 0 and at most 100."""
    limit: OptionalDecimal = None
    """The limit price, above 0; None makes a market order."""
    profit: OptionalDecimal = None
    """The take-profit price, above 0; only for futures."""
    loss: OptionalDecimal = None
    """The stop-loss price, above 0; only for futures."""
    log: Text | None = None
    """A message for the platform's log."""
    client_order_id: Annotated[ClientOrderId | None, Field(validate_default=True)] = None
    """The order's id, by which a later `cancel` names it: 1 to 128 bytes of UTF-8."""
    delay_seconds: Seconds | None = None
    """The delay, in seconds from the creation; at most the consumer's `delivery.delay_max_s`."""
    delay_seconds_filter: Text | None = None
    """A text without which in `log` there is no delay."""

    # Fields that a connector lets through untouched, and the order in which all fields came in.
    _extra: dict[str, object] = PrivateAttr(default_factory=dict)
    _order: tuple[str, ...] = PrivateAttr(default=())
    # How many fields were given, and all values, when they were validated: a copy with others (model_copy) keeps these.
    _validated: tuple[int, tuple[object, ...]] | None = PrivateAttr(default=None)

    # A type checker sees the constructor that pydantic derives from the fields.
    if not TYPE_CHECKING:

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise InvalidIntent(problems_of(error, _PYTHON_NAMES)) from None
            self._private["_validated"] = self._as_it_is()

        # As RootModel marks its own: model_validate then bypasses this constructor, which would lose the context.
        __init__.__pydantic_base_init__ = True

    @classmethod
    def model_validate(cls, *args: Any, **options: Any) -> Self:
        """Validate as pydantic does; raises InvalidIntent, with the JSON's field names."""
        try:
            return super().model_validate(*args, **options)
        except ValidationError as error:
            raise InvalidIntent(problems_of(error, _JSON_NAMES)) from None

    @classmethod
    def model_validate_json(cls, *args: Any, **options: Any) -> Self:
        """Validate; unlike signalq's own reader, accept duplicate keys and refuse fractions written as JSON numbers."""
        try:
            return super().model_validate_json(*args, **options)
        except ValidationError as error:
            raise InvalidIntent(problems_of(error, _JSON_NAMES)) from None

    @model_serializer(mode="wrap")
    def _without_absent_fields(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A dump can be read again: a null, which was not there, would be refused."""
        return {name: value for name, value in serialized(self).items() if value is not None}

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
        """Whether the intent carries fields beyond the table, which its connector lets through."""
        return bool(self._private["_extra"])

    def is_exit(self, *, spot_sell_is_exit: bool = False) -> bool:
        """Whether the intent ends a position or an order; every other intent is an open."""
        return self.action in EXIT_ACTIONS or (spot_sell_is_exit and self.action == "sell")

    @property
    def delay_ms(self) -> int:
        """The delay from the creation, in whole ms, rounded up; 0 where the filter is not met."""
        if not self.delay_seconds or (self.delay_seconds_filter and self.delay_seconds_filter not in (self.log or "")):
            return 0
        # In whole numbers: Decimal's own arithmetic rounds to 28 digits, and a delay must not end early.
        numerator, denominator = self.delay_seconds.as_integer_ratio()
        return -(-1000 * numerator // denominator)

    def checked(self) -> Self:
        """The same intent, valid: validated anew where its values changed since. Raises InvalidIntent.

        They change by pydantic's `model_copy`, which validates nothing; None that is given is not None that is absent.
        """
        if (validated := self._private.get("_validated")) is not None:
            given_count, values = validated
            if given_count == len(self.model_fields_set) and all(map(is_, values, self.__dict__.values())):
                return self
        given = {name: value for name, value in self.__dict__.items() if name in self.model_fields_set}
        same = type(self)(**given)
        same._extra, same._order = self._extra, self._order
        return same

    def _as_it_is(self) -> tuple[int, tuple[object, ...]]:
        return len(self.model_fields_set), tuple(self.__dict__.values())

    @property
    def _private(self) -> dict[str, Any]:
        """The private attributes: read by pydantic's own way, each takes as long as a field to validate."""
        return self.__pydantic_private__ or {}

    def to_message(self) -> bytes:
        """The body to publish, as UTF-8 JSON: every field that is there, in the order in which the fields came in."""
        return _rendered(self._fields())

    def to_webhook(self, *, token: str | None = None, cancel_all_spelling: str | None = None) -> bytes:
        """The body to POST: the same object without the delay. `token` is filled in where the intent has none."""
        fields = {name: value for name, value in self._fields().items() if name not in NOT_POSTED}
        if cancel_all_spelling and self.kind == "cancelAll":
            fields["action"] = cancel_all_spelling
        if token is not None:
            fields.setdefault("connectorToken", token)
        return _rendered(fields)

    def _fields(self) -> dict[str, object]:
        values, private = self.__dict__, self._private
        present = {alias: value for name, alias in _ALIASES.items() if (value := values.get(name)) is not None}
        present |= private["_extra"]
        # A copy with other fields (model_copy) may lack fields that came in, or have new ones: new ones go last.
        return {name: present[name] for name in private["_order"] if name in present} | present

    def __eq__(self, other: object) -> bool:
        """Intents are equal if they have the same fields with the same values, in any order."""
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
_NULL_IS_ABSENT = frozenset(FIELD_NAMES) - frozenset(DECIMAL_FIELDS)
# Both spellings of each field, in Python and in JSON: to the one in JSON, and to the one in Python.
_JSON_NAMES = {spelling: alias for name, alias in _ALIASES.items() for spelling in (name, alias)}
_PYTHON_NAMES = {spelling: name for name, alias in _ALIASES.items() for spelling in (name, alias)}


def intent_from_fields(
    fields: Mapping[str, object],
    *,
    extra_fields: Collection[str] = (),
    token_needed: bool = False,
    delay_max_s: int = LADDER_MAX_S,
) -> OrderIntent:
    """Read an intent from an object of JSON fields.

    An explicit null counts as absent, but is refused in a decimal field. `extra_fields` are let through untouched, null
    included. `token_needed` says that no token is configured for the connector. `delay_max_s` is the longest delay, in
    seconds. Raises InvalidIntent with a problem for every bad field.
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
    intent._private.update(_extra=extra, _order=tuple(present), _validated=intent._as_it_is())
    return intent


def intent_from_body(body: bytes) -> OrderIntent:
    """Read an intent from a message body, by the rules alone (no connector's settings). Raises InvalidIntent."""
    return intent_from_fields(parse_object(body))
