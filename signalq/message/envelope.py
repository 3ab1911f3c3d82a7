"""The AMQP properties of an intent's message: what they say, how we publish it, and what travels on with it."""

import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from aiormq.abc import FieldTable
from pamqp import encode
from pamqp.commands import Basic

from signalq import names
from signalq.message.identity import SHORT_STRING_BYTES_MAX, fitting_id
from signalq.message.strict_json import values_below

# RabbitMQ (before 4.0.1) takes a republished message that still carries one of these for a cycle, and drops it; CC and
# BCC would send copies elsewhere.
BROKER_HEADERS = frozenset({"x-delivery-count", "x-acquired-count", "CC", "BCC"})
BROKER_HEADER_PREFIXES = ("x-death", "x-first-death-", "x-last-death-")
# Properties travel in one AMQP frame (131,072 bytes by default). Larger headers, or more values (those in arrays and
# tables counted), are left behind: with the headers that the ladder adds, they could not be read when they return.
HEADERS_BYTES_MAX = 65_536
HEADER_VALUES_MAX = 256
NO_TRACE: Mapping[str, str] = MappingProxyType({})


def strategy(properties: Basic.Properties) -> str:
    """The strategy's name as the message gives it, `-` where it gives none: a label, not an authorisation."""
    header = (properties.headers or {}).get(names.STRATEGY)
    label = header if isinstance(header, str) else None
    return (label or properties.app_id or properties.user_id or "-")[:SHORT_STRING_BYTES_MAX]


def publish_properties(
    *,
    message_id: str,
    strategy_name: str | None,
    created_ms: int,
    user: str | None = None,
    trace: Mapping[str, str] = NO_TRACE,
) -> Basic.Properties:
    """The properties with which our own producers publish an intent; `user` is the user of their connection.

    `trace` has the headers that name the span of the publish, where it has one.

    The broker checks `user_id`, so a strategy can be known by it. Without a `strategy_name` that user would become the
    strategy's label, so it is left out then.
    """
    headers: FieldTable = {names.CREATED_MS: created_ms, **trace}
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

    The producer's properties and headers stay, and `added` joins them, but for its None. Taken off are:

    - the broker's own headers;
    - the expiration: a dead letter or a parked order must not vanish;
    - the priority: RabbitMQ 4 obeys it in quorum queues, so on the ladder later messages would hold up the due ones;
    - `user_id`: the broker would compare it with our user. The caller keeps it as a header;
    - headers too large to travel on.
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
    """The text, cut to an AMQP short string: foreign bytes that are read leniently may have grown."""
    return text.encode()[:SHORT_STRING_BYTES_MAX].decode("utf-8", "ignore") if text is not None else None


def _is_internal(name: str) -> bool:
    return name in BROKER_HEADERS or name in names.OWN_HEADERS or name.startswith(BROKER_HEADER_PREFIXES)


def _can_travel(headers: FieldTable) -> bool:
    try:
        return values_below(headers) <= HEADER_VALUES_MAX and len(encode.field_table(headers)) <= HEADERS_BYTES_MAX
    except (ValueError, TypeError, ArithmeticError, RecursionError, struct.error):
        return False  # the value has a type that we can read but not write
