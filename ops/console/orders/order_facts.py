"""The facts that pages tell of an order: its words, whether it is an exit, whether it can be canceled."""

from signalq.consumer.ledger.queries.orders import Recorded
from signalq.consumer.orders.kept import order_fields
from signalq.consumer.orders.pending import PENDING_STATUSES, Pending
from signalq.message.field_rules import EXIT_ACTIONS
from signalq.ops.terminal.order_columns import order_text
from signalq.settings.sections import Settings


def kept_fields(one: Recorded | Pending) -> dict[str, object] | None:
    """The fields of an order under the names of its body; None where they were not kept."""
    return order_fields(one.connector, one.action, one.client_order_id, one.order_fields)


def order_words(one: Recorded | Pending) -> str:
    """An order in a few words, such as `openLong 50 %`."""
    return order_text({"action": one.action, "order": kept_fields(one)}) or one.action


def is_exit(one: Recorded | Pending, settings: Settings) -> bool:
    """Whether an order ends a position or another order: close-only lets it go."""
    connector = settings.connectors.get(one.connector)
    sell_is_exit = connector is not None and connector.spot_sell_is_exit
    return one.action in EXIT_ACTIONS or (sell_is_exit and one.action == "sell")


def is_pending(one: Recorded | Pending) -> bool:
    """Whether an order waits for its due time, and can be canceled."""
    return one.due_ms is not None and one.status in PENDING_STATUSES
