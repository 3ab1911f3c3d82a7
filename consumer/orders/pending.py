"""A delayed intent that nobody has claimed yet: a value."""

from dataclasses import dataclass

from signalq.consumer.orders.state import Status

# The first step decides over such an intent: its claim, or its cancel.
PENDING_STATUSES: tuple[Status, ...] = ("received", "scheduled")


@dataclass(frozen=True, slots=True)
class Pending:
    """A delayed intent and where it stands; times in ms since the epoch, `due_ms` None for one that was not delayed.

    `first_post_ms` is when it was first claimed, in its present generation.
    """

    number: int
    generation: int
    intent_id: str
    connector: str
    strategy: str
    action: str
    client_order_id: str | None
    due_ms: int | None
    status: str
    reason: str | None
    attempts: int
    http_status: int | None
    age_from_ms: int
    updated_ms: int
    order_fields: str | None
    first_post_ms: int | None = None
