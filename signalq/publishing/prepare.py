"""Prepare an intent for publishing: checked as the consumer will check it, with its identity and its creation time."""

from dataclasses import dataclass

from pamqp.commands import Basic

from signalq.errors import InvalidIntent, Problem
from signalq.message.envelope import publish_properties
from signalq.message.identity import SHORT_STRING_BYTES_MAX, new_message_id
from signalq.message.intent import OrderIntent
from signalq.message.strict_json import check_size, parse_object
from signalq.publishing.outcomes import ExpectedOutcomes
from signalq.publishing.results import Receipt


@dataclass(frozen=True, slots=True)
class PreparedIntent:
    """An intent as a message; its publisher returns `receipt` once the broker has confirmed it."""

    receipt: Receipt
    routing_key: str
    body: bytes
    properties: Basic.Properties

    def withdraw(self) -> None:
        """Expect no outcome of it: it was not confirmed."""
        if self.receipt.expected is not None:
            self.receipt.expected.forget()


def prepare(
    intent: OrderIntent,
    *,
    strategy: str | None,
    message_id: str | None,
    now_ms: int,
    user: str | None = None,
    outcomes: ExpectedOutcomes | None = None,
) -> PreparedIntent:
    """Check an intent as the consumer will, give it an identity, and expect its outcome. Raises InvalidIntent.

    It may carry extra fields that it was made to let through; only the consumer knows whether its connector does.
    """
    if not isinstance(intent, OrderIntent):
        raise InvalidIntent(
            [Problem(None, f"is no OrderIntent, but of type {type(intent).__name__}: make one of its fields")]
        )
    intent = intent.checked()
    body = intent.to_message()
    if intent.has_extra_fields:
        parse_object(body)
    else:
        check_size(len(body))
    identity = message_id if message_id is not None else new_message_id()
    for name, text in (("message_id", identity), ("strategy", strategy)):
        if text is not None and not _fits_short_string(text):
            raise InvalidIntent([Problem(name, f"must have 1 to {SHORT_STRING_BYTES_MAX} bytes of UTF-8")])
    properties = publish_properties(message_id=identity, strategy_name=strategy, created_ms=now_ms, user=user)
    expected = outcomes.expect(identity, body) if outcomes is not None else None
    return PreparedIntent(Receipt(identity, now_ms, expected), intent.connector_name, body, properties)


def _fits_short_string(text: object) -> bool:
    try:
        return isinstance(text, str) and 1 <= len(text.encode()) <= SHORT_STRING_BYTES_MAX
    except UnicodeEncodeError:
        return False
