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
from signalq.publishing.spans import NO_SPAN, PublishSpans, Span


@dataclass(frozen=True, slots=True)
class PreparedIntent:
    """An intent as a message; its publisher returns `receipt` once the broker has confirmed it.

    Its span ends with `confirmed` or `withdraw`.
    """

    receipt: Receipt
    routing_key: str
    body: bytes
    properties: Basic.Properties
    span: Span = NO_SPAN

    def confirmed(self) -> None:
        """Note that the broker has it."""
        self.span.end()

    def withdraw(self, error: BaseException | None) -> None:
        """Expect no outcome of it: it was not confirmed, for this reason."""
        self.span.end(error)
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
    spans: PublishSpans | None = None,
) -> PreparedIntent:
    """Check an intent as the consumer will, give it an identity, begin its span, and expect its outcome.

    Raises InvalidIntent, before any of that.

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
    expected = outcomes.expect(identity, body) if outcomes is not None else None
    token = intent.connector_token
    span = spans.begin(intent.connector_name, identity, token) if spans is not None else NO_SPAN
    properties = publish_properties(
        message_id=identity, strategy_name=strategy, created_ms=now_ms, user=user, trace=span.headers
    )
    return PreparedIntent(Receipt(identity, now_ms, expected), intent.connector_name, body, properties, span)


def _fits_short_string(text: object) -> bool:
    try:
        return isinstance(text, str) and 1 <= len(text.encode()) <= SHORT_STRING_BYTES_MAX
    except UnicodeEncodeError:
        return False
