"""Bytes and AMQP properties on one side, an intent and the facts of its delivery on the other."""

from __future__ import annotations

import hashlib
import struct
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from aiormq.abc import FieldTable
from pamqp import encode
from pamqp.commands import Basic

from signalq import names
from signalq.errors import InvalidIntent, Problem

# RabbitMQ (before 4.0.1) takes a republished message that still carries these for a cycle, and drops it; CC and BCC
# would send copies elsewhere.
BROKER_HEADERS = frozenset({"x-delivery-count", "x-acquired-count", "CC", "BCC"})
BROKER_HEADER_PREFIXES = ("x-death", "x-first-death-", "x-last-death-")
# Properties travel in one AMQP frame (131,072 bytes by default); headers beyond this are not carried along, nor are
# more values (those of arrays and tables counted): with what the ladder adds, they could not be read when they return.
HEADERS_BYTES_MAX = 65_536
HEADER_VALUES_MAX = 256
SHORT_STRING_BYTES_MAX = 255
# Of an identity that is too long to travel; a digest of all of it follows.
ID_BYTES_KEPT = 200
# Above this, a whole number in a header is no date any more (the year 9999).
CREATED_MS_MAX = 253_402_300_799_000
# The year 2001: what lies before it was most likely meant in seconds.
CREATED_MS_MIN = 978_307_200_000
# A producer's clock may be wrong; a date that is further ahead than this is none.
CREATED_AHEAD_MS_MAX = 86_400_000
# Clocks agree as well as this. A date that is further ahead is told of, and what counts instead is kept at once.
CLOCKS_AGREE_MS = 1_000

DIGEST_BYTES = 16
# Of an id that belongs to other bytes, so much is kept in the id that takes its place.
ID_CHARACTERS_KEPT = 200

CreatedFrom = Literal["signalq-created-ms", "timestamp_in_ms", "timestamp", "first receipt"]


@dataclass(frozen=True, slots=True)
class Creation:
    """When an intent was created, in ms since the epoch, and who says so.

    `age_ms` is where its age begins, `delay_ms` where its delay begins; they differ for a `timestamp` in whole
    seconds, whose start counts for the age and whose end for the delay: never too young, never too early.
    `pinned` says that the message itself does not carry this time (none was given, or one in the future): whoever
    passes the message on has to write it down. `ahead_ms` is how far in the future the one was that was given.
    """

    age_ms: int
    delay_ms: int
    source: CreatedFrom
    pinned: bool = False
    ahead_ms: int = field(default=0, compare=False)

    @property
    def is_ahead(self) -> bool:
        """Whether a time in the future was given, by more than clocks differ: now counts instead, once."""
        return self.ahead_ms > CLOCKS_AGREE_MS

    def as_given(self) -> Creation:
        """The same time, as it was given: of a copy of ours it lies ahead only because our clock was set back since."""
        given = replace(self, age_ms=self.age_ms + self.ahead_ms, delay_ms=self.delay_ms + self.ahead_ms, ahead_ms=0)
        return given if self.ahead_ms else self


def creation(properties: Basic.Properties, received_ms: int) -> Creation:
    """The creation time; one that lies in the future counts as now (`received_ms`).

    Raises InvalidIntent for a `signalq-created-ms` that can't be a date.
    """
    headers = properties.headers or {}
    if names.CREATED_MS in headers:
        return _created(_created_ms(headers[names.CREATED_MS], received_ms), "signalq-created-ms", received_ms)
    if (stamped_ms := broker_stamp_ms(properties)) is not None:
        return _created(stamped_ms, "timestamp_in_ms", received_ms)
    if isinstance(properties.timestamp, datetime):
        return _created(int(properties.timestamp.timestamp()) * 1000, "timestamp", received_ms, unsure_ms=1000)
    return Creation(received_ms, received_ms, "first receipt", pinned=True)


def broker_stamp_ms(properties: Basic.Properties) -> int | None:
    """When the broker took the message, by its own clock, where it is one that stamps messages."""
    stamped_ms = (properties.headers or {}).get(names.BROKER_TIMESTAMP_MS)
    if not isinstance(stamped_ms, int) or isinstance(stamped_ms, bool):
        return None
    return stamped_ms if 0 <= stamped_ms <= CREATED_MS_MAX else None


def _created(given_ms: int, source: CreatedFrom, received_ms: int, *, unsure_ms: int = 0) -> Creation:
    ahead_ms = max(0, given_ms - received_ms)
    age_ms, delay_ms = min(given_ms, received_ms), min(given_ms + unsure_ms, received_ms)
    return Creation(age_ms, delay_ms, source, pinned=ahead_ms > 0, ahead_ms=ahead_ms)


def _created_ms(given: object, received_ms: int) -> int:
    """The ms of a `signalq-created-ms`. Raises InvalidIntent that says what is expected, and quotes nothing."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= CREATED_DIGITS_MAX:
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool):
        kind = _KINDS.get(type(given), "something else")
        raise _not_a_date(f"{kind} is no creation time")
    if given < CREATED_MS_MIN:
        raise _not_a_date("it lies before 2001 (seconds instead of ms?)")
    if given > received_ms + CREATED_AHEAD_MS_MAX:
        ahead = "it lies more than a day ahead (is the producer's clock wrong, or was it given in µs or ns?)"
        raise _not_a_date(ahead)
    return given


def _not_a_date(why: str) -> InvalidIntent:
    expected = "an integer is expected, or its digits as a string: ms since 1970 in UTC"
    return InvalidIntent([Problem(names.CREATED_MS, f"{why}; {expected}")])


CREATED_DIGITS_MAX = 20
_KINDS: dict[type, str] = {
    bool: "a boolean",
    float: "a floating-point number",
    Decimal: "a decimal",
    datetime: "an AMQP timestamp",
    str: "a string of anything but digits",
    bytes: "a byte array",
    bytearray: "a byte array",
    dict: "a table",
    list: "a list",
    type(None): "a null",
}


def strategy(properties: Basic.Properties) -> str:
    """The strategy's name as the message gives it: a label, not an authorisation."""
    header = (properties.headers or {}).get(names.STRATEGY)
    label = header if isinstance(header, str) else None
    return (label or properties.app_id or properties.user_id or "-")[:SHORT_STRING_BYTES_MAX]


def new_message_id() -> str:
    """An identity for an intent that has none."""
    return uuid.uuid4().hex


def digest_of(body: bytes) -> bytes:
    """What tells one body from another."""
    return hashlib.blake2b(body, digest_size=DIGEST_BYTES).digest()


def fitting_id(message_id: str) -> str:
    """An identity that AMQP can carry on: itself, or of one that reading foreign bytes has made longer, its beginning
    and a digest.
    """
    if len(message_id.encode()) <= SHORT_STRING_BYTES_MAX:
        return message_id
    digest = hashlib.blake2b(message_id.encode(), digest_size=8).hexdigest()
    return f"{message_id.encode()[:ID_BYTES_KEPT].decode('utf-8', 'ignore')}~{digest}"


def id_of_its_own(message_id: str, digest: bytes) -> str:
    """The identity of an intent whose `message_id` belongs to an earlier one with another body."""
    return f"{message_id[:ID_CHARACTERS_KEPT]}~{digest.hex()[:16]}"


def id_of_nobodys(message_id: str, user: str | None, digest: bytes) -> str:
    """The identity of a message from somebody who may not claim `message_id`: another than any intent's, also than
    one that has an id of its own; the same again for the same message.
    """
    return id_of_its_own(message_id, digest_of(b"\x00".join([b"unauthorized", (user or "").encode(), digest])))


def publish_properties(
    *,
    message_id: str,
    strategy_name: str | None,
    created_ms: int,
    traceparent: str | None = None,
    user: str | None = None,
) -> Basic.Properties:
    """The properties with which our own producers publish an intent; `user` is that of their connection.

    The broker checks it, so that a strategy can be known by it. Without a name of its own a strategy's label would be
    that user: then it is left out.
    """
    headers: FieldTable = {names.CREATED_MS: created_ms}
    if traceparent:
        headers[names.TRACEPARENT] = traceparent
    return Basic.Properties(
        content_type="application/json",
        delivery_mode=2,
        message_id=message_id,
        timestamp=datetime.fromtimestamp(created_ms // 1000, tz=UTC),
        app_id=strategy_name,
        user_id=user if strategy_name is not None else None,
        headers=headers,
    )


def republish_properties(original: Basic.Properties, added: dict[str, Any], intent_id: str) -> Basic.Properties:
    """The properties of a message that we pass on: parked, handed to its lane, or dead.

    The producer's properties and headers stay, `added` joins them. Taken off: the broker's own headers,
    the expiration (a dead letter or a parked order must not vanish), the priority (to RabbitMQ 4 it is a matter of
    quorum queues too: on the ladder, later ones with it would stand before those that are due, and hold them up), and
    `user_id`, which the broker would compare with our user (the caller keeps it as a header). Headers too large to
    travel on are left behind.
    """
    headers = {name: value for name, value in (original.headers or {}).items() if not _is_internal(name)}
    if not _can_travel(headers):
        headers = {}
    return Basic.Properties(
        content_type=_short(original.content_type),
        content_encoding=_short(original.content_encoding),
        headers=headers | {name: value for name, value in added.items() if value is not None},
        delivery_mode=2,
        correlation_id=_short(original.correlation_id),
        reply_to=_short(original.reply_to),
        message_id=fitting_id(original.message_id or intent_id),
        timestamp=original.timestamp,
        message_type=_short(original.message_type),
        app_id=_short(original.app_id),
    )


def _short(text: str | None) -> str | None:
    """At most the 255 bytes of an AMQP short string (reading foreign bytes leniently may have made it longer)."""
    return text.encode()[:SHORT_STRING_BYTES_MAX].decode("utf-8", "ignore") if text is not None else None


def _is_internal(name: str) -> bool:
    return name in BROKER_HEADERS or name in names.OWN_HEADERS or name.startswith(BROKER_HEADER_PREFIXES)


def _can_travel(headers: FieldTable) -> bool:
    try:
        return _values_in(headers) <= HEADER_VALUES_MAX and len(encode.field_table(headers)) <= HEADERS_BYTES_MAX
    except (ValueError, TypeError, ArithmeticError, RecursionError, struct.error):
        return False  # a type we can read but not write


def _values_in(value: object) -> int:
    """Those of a table or an array, and of what is in it."""
    if not isinstance(value, (dict, list)):
        return 0
    return len(value) + sum(map(_values_in, value.values() if isinstance(value, dict) else value))
