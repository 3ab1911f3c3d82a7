"""Marks: headers that we write on an order's message when we pass it on, to know it by when it comes back. Pure."""

from typing import Any

from signalq import names
from signalq.consumer.orders.order import Order


def marks_of(order: Order) -> dict[str, Any]:
    """The headers that tell us, when the intent comes back, where to look."""
    marks: dict[str, Any] = {
        names.INTENT_ID: order.intent_id,
        names.ORIGIN_USER: order.identity.origin_user,
        # Where the user alone named it, the name would be lost: we publish as another user.
        names.STRATEGY: order.strategy if order.strategy != "-" else None,
        names.PARK_RANK: order.route.park_rank or None,
        names.HOPS: order.route.forwards or None,
    }
    # A `timestamp` in whole seconds counts from its end, or from now if that is to come: later, "now" is another.
    if order.timing.creation.pinned or order.timing.creation.source == "timestamp":
        marks[names.CREATED_MS] = order.timing.creation.delay_ms
    return marks
