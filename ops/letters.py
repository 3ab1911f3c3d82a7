"""A dead letter: what its headers and its body say, and how it may be shown."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from ops.escaping import MASK, is_secret, text_without_tokens, without_tokens
from signalq import names
from signalq.envelope import strategy
from signalq.errors import InvalidIntent
from signalq.strict_json import parse_object, render
from signalq.times import iso_utc

# Of a body only so much is shown.
BODY_CHARACTERS_MAX = 65_536
DIGEST_BYTES = 16
# Above this it is no generation that we counted.
GENERATION_MAX = 1_000_000_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter. What a letter that is not ours does not say is None; `tag` is what it is taken away by."""

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
    body: bytes
    tag: int = 0

    @property
    def identity(self) -> bytes | int:
        """Equal for the copies that a crash leaves of one letter, and for nothing else; small, to remember many by.

        What is not ours has no copies, however alike.
        """
        if not self.is_ours:
            return self.tag
        return self._digest(self.strategy, self.intent_id, self.generation)

    @property
    def mark(self) -> bytes:
        """What this letter, and not a copy of it, is known again by on another channel."""
        return self._digest(self.strategy, self.intent_id, self.generation, self.dead_at)

    def _digest(self, *said: object) -> bytes:
        return hashlib.blake2b(repr(said).encode() + self.body, digest_size=DIGEST_BYTES).digest()

    def row(self) -> dict[str, object]:
        """The fields of a listing, in the contract's order."""
        return {
            "intent_id": self.intent_id,
            "generation": self.generation,
            "connector": self.connector,
            "strategy": self.strategy,
            "action": self.action,
            "client_order_id": self.client_order_id,
            "reason": self.reason,
            "detail": self.detail,
            "attempts": self.attempts,
            "http_status": self.http_status,
            "dead_at": self.dead_at,
        }

    def properties_shown(self) -> dict[str, object]:
        """The AMQP properties that are set, except the headers."""
        given = {
            name: getattr(self.properties, name)
            for name in ("message_id", "app_id", "content_type", "timestamp", "correlation_id", "reply_to")
        }
        return {name: _plain(value) for name, value in given.items() if value is not None}

    def headers_shown(self) -> dict[str, object]:
        """The headers, secrets masked."""
        headers = self.properties.headers or {}
        return {name: MASK if is_secret(name) else _plain(value) for name, value in headers.items()}

    def body_shown(self) -> str:
        """The body as text, tokens masked; not yet escaped."""
        try:
            text = render(without_tokens(parse_object(self.body)))
        except InvalidIntent:
            text = text_without_tokens(self.body)
        if len(text) > BODY_CHARACTERS_MAX:
            return text[:BODY_CHARACTERS_MAX] + f"… ({len(self.body):,} bytes in all)"
        return text


def read_letter(message: DeliveredMessage) -> DeadLetter:
    """What is known of a letter, whoever put it there."""
    properties = message.header.properties
    headers = properties.headers or {}

    def text(name: str) -> str | None:
        value = headers.get(name)
        return value if isinstance(value, str) else None

    def number(name: str) -> int | None:
        value = headers.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    generation = number(names.GENERATION)
    try:
        fields = parse_object(message.body)
    except InvalidIntent:
        fields = {}

    def body_text(name: str) -> str | None:
        value = fields.get(name)
        return value if isinstance(value, str) else None

    return DeadLetter(
        intent_id=text(names.INTENT_ID) or properties.message_id,
        generation=generation if generation is not None and 0 <= generation <= GENERATION_MAX else None,
        connector=text(names.CONNECTOR) or body_text("connectorName"),
        strategy=strategy(properties),
        action=body_text("action"),
        client_order_id=body_text("clientOrderId"),
        reason=text(names.REASON),
        detail=text(names.DETAIL),
        attempts=number(names.ATTEMPTS),
        http_status=number(names.HTTP_STATUS),
        dead_at=text(names.DEAD_AT),
        is_ours=names.INTENT_ID in headers and names.REASON in headers,
        properties=properties,
        body=message.body,
        tag=message.delivery_tag or 0,
    )


def _plain(value: object) -> object:
    """A header's value as JSON can hold it."""
    if isinstance(value, datetime):
        return iso_utc(value)
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, dict):
        return {str(name): MASK if is_secret(str(name)) else _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
