"""A dead letter: its fields by its headers and its body, the form in which it may be shown, and a filter."""

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from signalq import names
from signalq.consumer.orders.kept import TEXT_CHARACTERS_MAX, plain_seconds
from signalq.consumer.orders.letters import MARK_BYTES, mark_of
from signalq.errors import InvalidIntent
from signalq.message.envelope import strategy
from signalq.message.intent import FIELD_NAMES
from signalq.message.strict_json import JsonNumber, parse_object, render
from signalq.secrets.blanking import BodyBlanker
from signalq.secrets.masking import MASK, SECRET_CHARACTERS_MIN, names_a_secret, shown_name
from signalq.times import iso_utc

# A longer body is cut when it is shown.
BODY_CHARACTERS_MAX = 65_536
# A larger number is no generation that we counted.
GENERATION_MAX = 1_000_000_000
JSON_TYPE = "application/json"
# The headers whose values are shown: those of an intent by the contract, and those that signalq adds.
KNOWN_HEADERS = names.OWN_HEADERS | {names.CREATED_MS, names.STRATEGY, names.TRACEPARENT, names.BROKER_TIMESTAMP_MS}
# The fields of a listing, in the contract's order.
_LISTED = (
    *("intent_id", "generation", "connector", "strategy", "action", "client_order_id"),
    *("reason", "detail", "attempts", "http_status", "dead_at"),
)
_KNOWN_PROPERTIES = frozenset({"message_id", "app_id", "timestamp"})
_PROPERTIES = ("message_id", "app_id", "content_type", "timestamp", "correlation_id", "reply_to")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(slots=True)
class Letter:
    """One letter. In a letter that is not ours, missing fields are None. `tag` is its delivery tag."""

    intent_id: str | None
    generation: int | None
    connector: str | None
    strategy: str
    action: str | None
    client_order_id: str | None
    reason: str | None
    detail: str | None
    attempts: int | None
    http_status: int | None
    dead_at: str | None
    is_ours: bool
    properties: Basic.Properties
    body: bytes = field(repr=False)
    tag: int = 0
    # In a letter that is not ours: how many like it were met before it.
    place: int = 0
    # The body's fields; None where it is no JSON object.
    _fields: dict[str, object] | None = field(default=None, repr=False)
    _own: BodyBlanker | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def identity(self) -> bytes:
        """A digest, equal only for the copies that a crash leaves of one letter; small, so that many fit in memory.

        A letter that is not ours has no copies, however alike another is.
        """
        if not self.is_ours:
            return self.mark
        return mark_of(self.strategy, self.intent_id, self.generation, self.body)

    @property
    def mark(self) -> bytes:
        """A digest by which this letter, and not a copy of it, is recognised on another channel."""
        said = repr((self.strategy, self.intent_id, self.generation, self.dead_at, self.place)).encode()
        return hashlib.blake2b(said + self.body, digest_size=MARK_BYTES).digest()

    def row(self) -> dict[str, object]:
        """The fields of a listing, in the contract's order; known secrets are blanked."""
        return {name: self._hidden(getattr(self, name)) for name in _LISTED} | {"order": self._order()}

    def _order(self) -> dict[str, object] | None:
        """The order as other listings show it, by the body: fields of an intent alone, never the token."""
        if self._fields is None:
            return None
        shown = self._masked(self._fields, _is_listed)
        return {name: _plain_field(name, shown[name]) for name in FIELD_NAMES if _is_listed(name) and name in shown}

    def properties_shown(self, *, raw: bool = False) -> dict[str, object]:
        """The AMQP properties that are set, except the headers; the values of known ones alone, or all (`raw`)."""
        given = {name: _plain(value) for name in _PROPERTIES if (value := getattr(self.properties, name)) is not None}
        return given if raw else self._masked(given, lambda name: name in _KNOWN_PROPERTIES or given[name] == JSON_TYPE)

    def headers_shown(self, *, raw: bool = False) -> dict[str, object]:
        """The headers; the values of known headers alone, or all (`raw`)."""
        headers = {name: _plain(value) for name, value in (self.properties.headers or {}).items()}
        traceparent = headers.get(names.TRACEPARENT)
        known = KNOWN_HEADERS if _TRACEPARENT.fullmatch(str(traceparent)) else KNOWN_HEADERS - {names.TRACEPARENT}
        return headers if raw else self._masked(headers, known.__contains__)

    @property
    def is_readable(self) -> bool:
        """Whether its body is a JSON object, which has fields."""
        return self._fields is not None

    def body_shown(self, *, raw: bool = False) -> str | None:
        """The body as text, not yet escaped: values of an intent's fields, never the token; or everything (`raw`).

        In a body that is no JSON object, a token may stand anywhere: then only the names of an intent's fields that are
        in it are shown, and None if there are none.
        """
        if raw:
            return _cut(self.body.decode("utf-8", "backslashreplace"), self.body)
        if self._fields is None:
            plain = self.body.replace(b"\0", b"")  # UTF-16 is recognised too
            there = [name for name in FIELD_NAMES if f'"{name}"'.encode() in plain]
            return render(dict.fromkeys(there, MASK)) if there else None
        shown = self._masked(self._fields, _is_listed)
        return _cut(render(shown), self.body)

    def _masked(self, values: Mapping[str, object], is_known: Callable[[str], bool]) -> dict[str, object]:
        """The values under known names, and a mask in place of each other one."""
        return {
            shown_name(name): self._hidden(value) if is_known(name) and not isinstance(value, (dict, list)) else MASK
            for name, value in values.items()
        }

    def _hidden(self, value: object) -> object:
        """A value without this body's token, and without values under a name like that."""
        if not isinstance(value, str):
            return value
        if self._own is None:
            self._own = BodyBlanker(self._fields or {}, characters_min=SECRET_CHARACTERS_MIN)
        return self._own(value)


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """The conditions that a letter has to meet, all of them; with none, every letter fits.

    `seen` are the marks of the letters that a person was shown and agreed to discard: then no other letter fits.
    `chosen` are the same by identity, as the ledger knows letters: then the copies of one fit like itself.
    """

    ids: frozenset[str] = frozenset()
    reason: str | None = None
    connector: str | None = None
    strategy: str | None = None
    seen: frozenset[bytes] | None = None
    chosen: frozenset[bytes] | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether the letter meets all conditions."""
        return (
            (not self.ids or letter.intent_id in self.ids)
            and self.reason in {None, letter.reason}
            and self.connector in {None, letter.connector}
            and self.strategy in {None, letter.strategy}
            and (self.seen is None or letter.mark in self.seen)
            and (self.chosen is None or letter.identity in self.chosen)
        )


def _is_listed(name: str) -> bool:
    """Whether a field's value is shown: one of an intent, and not the token."""
    return name in FIELD_NAMES and not names_a_secret(name)


def _plain_field(name: str, value: object) -> object:
    """A field's value as the ledger keeps it: decimals as text, long texts cut."""
    text = value.text if isinstance(value, JsonNumber) else value
    if not isinstance(text, str):
        return text
    if name == "delaySeconds":
        with suppress(ValueError):  # no number, in the letter of an invalid intent
            return plain_seconds(float(text))
    return text[:TEXT_CHARACTERS_MAX]


def _cut(text: str, body: bytes) -> str:
    if len(text) > BODY_CHARACTERS_MAX:
        return text[:BODY_CHARACTERS_MAX] + f"… ({len(body):,} bytes in all)"
    return text


def read_letter(message: DeliveredMessage) -> Letter:
    """Read a letter, whether signalq or another program put it there."""
    properties = message.header.properties
    headers = properties.headers or {}
    try:
        fields = parse_object(message.body)
    except InvalidIntent:
        fields = None
    said = fields or {}

    def number(name: str) -> int | None:
        value = headers.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    generation = number(names.GENERATION)
    return Letter(
        intent_id=_text(headers, names.INTENT_ID) or properties.message_id,
        generation=generation if generation is not None and 0 <= generation <= GENERATION_MAX else None,
        connector=_text(headers, names.CONNECTOR) or _text(said, "connectorName"),
        strategy=strategy(properties),
        action=_text(said, "action"),
        client_order_id=_text(said, "clientOrderId"),
        reason=_text(headers, names.REASON),
        detail=_text(headers, names.DETAIL),
        attempts=number(names.ATTEMPTS),
        http_status=number(names.HTTP_STATUS),
        dead_at=_text(headers, names.DEAD_AT),
        is_ours=names.INTENT_ID in headers and names.REASON in headers,
        properties=properties,
        body=message.body,
        tag=message.delivery_tag or 0,
        _fields=fields,
    )


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    return value if isinstance(value, str) else None


def _plain(value: object) -> object:
    """A header's value in a form that JSON can hold."""
    if isinstance(value, datetime):
        return iso_utc(value)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
