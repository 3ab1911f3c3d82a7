"""A dead letter as the ledger keeps it: by the consumer that buries it, or by a command that reads it."""

import hashlib
import re
from dataclasses import dataclass

from signalq.consumer.orders.decisions import DeadLetter
from signalq.consumer.orders.kept import kept_fields
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order, Unreadable
from signalq.consumer.orders.state import IntentState

MARK_BYTES = 16
# A moment, or a number that stands by itself (not that of UTF-8): letters of one cause differ in these. An HTTP status
# is kept.
_DIFFERS = re.compile(
    r"(?P<kept>\bHTTP \d{3}\b)"
    r"|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d)?"
    r"|(?<![\w.])(?<![^\W\d_]-)\d+(?:[.,]\d+)*(?:e[+-]?\d+)?(?!\w)"
)
LEFT_OUT = "…"


@dataclass(frozen=True, slots=True)
class LetterRecord:
    """The fields of a letter, of which a foreign one may lack most; no known secret is in them.

    `mark` is that of `mark_of`, `order_fields` are those of `kept_fields`. `dead_ms` is the time that the letter says.
    """

    mark: bytes
    strategy: str
    intent_id: str | None
    generation: int | None
    connector: str | None
    action: str | None
    client_order_id: str | None
    reason: str | None
    detail: str | None
    attempts: int | None
    http_status: int | None
    dead_ms: int | None
    body_bytes: int
    order_fields: str | None

    @property
    def cause(self) -> str | None:
        """The cause of its detail."""
        return cause_of(self.detail)


def cause_of(detail: str | None) -> str | None:
    """The cause that a detail tells of: the detail without what differs from letter to letter."""
    return detail and _DIFFERS.sub(lambda found: found["kept"] or LEFT_OUT, detail)


def mark_of(strategy: str, intent_id: str | None, generation: int | None, body: bytes) -> bytes:
    """A digest, equal only for the copies that a crash leaves of one letter; `body` is what the letter has of it."""
    said = repr((strategy, intent_id, generation)).encode()
    return hashlib.blake2b(said + body, digest_size=MARK_BYTES).digest()


def record_of(
    order: Order | Unreadable, letter: DeadLetter, state: IntentState | None, message: Message, dead_ms: int
) -> LetterRecord:
    """The record of the letter in which an order, or what could not be read, is buried; `state` is the order's."""
    generation = state.generation if state is not None else 1
    action, client_order_id, order_fields = known_fields(order)
    return LetterRecord(
        mark_of(order.strategy, order.intent_id, generation, message.body),
        order.strategy,
        order.intent_id,
        generation,
        order.connector,
        action=action,
        client_order_id=client_order_id,
        reason=letter.reason,
        detail=letter.detail,
        attempts=state.attempts if state is not None else 0,
        http_status=state.http_status if state is not None else None,
        dead_ms=dead_ms,
        body_bytes=message.body_bytes,
        order_fields=order_fields,
    )


def known_fields(order: Order | Unreadable) -> tuple[str | None, str | None, str | None]:
    """The action, the client's id, and the kept fields: the latter only of what is an order."""
    if isinstance(order, Order):
        return order.intent.action, order.intent.client_order_id, kept_fields(order)
    return order.action, order.client_order_id, None
