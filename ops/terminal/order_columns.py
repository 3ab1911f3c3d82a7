"""The columns of orders in a table, in any listing; an order in a few words, such as `openLong 50 % limit 65000`."""

from collections.abc import Mapping
from dataclasses import replace

from signalq.ops.terminal.moments import ago, time_or_day
from signalq.ops.terminal.plain import Row
from signalq.ops.terminal.render import Column

_PRICES = ("limit", "profit", "loss")


def order_text(row: Row) -> str | None:
    """The words for the order of a row; the action alone where nothing of it was kept."""
    order = row.get("order")
    if not isinstance(order, Mapping):
        action = row.get("action")
        return action if isinstance(action, str) else None
    prices = [f"{name} {_said(order[name])}" for name in _PRICES if name in order]
    return " ".join([_said(order.get("action", "?")), *_size(order), *prices])


def _size(order: Mapping[str, object]) -> list[str]:
    """The size that takes effect; of a `cancel` the order that it names."""
    if order.get("action") == "cancel":
        return [_said(order.get("clientOrderId", "?"))]
    if "fixed" in order:
        return [_said(order["fixed"])]
    return [f"{_said(order['percent'])} %"] if "percent" in order else []


def _said(value: object) -> str:
    """A value in words; the null of an invalid intent as its producer wrote it."""
    return "null" if value is None else str(value)


STATUS_STYLES = {"delivered": "green", "dead": "red", "canceled": "yellow", "retrying": "yellow", "sending": "cyan"}

INTENT = Column("intent_id", "INTENT", style="dim", least=8, ample=12, is_id=True, is_name=True)
GENERATION = Column("generation", "GEN", right=True, rank=8)
REASON = Column("reason", "REASON", style="red")
CONNECTOR = Column("connector", "CONNECTOR", style="bold", least=10, ample=16, is_name=True)
STRATEGY = Column("strategy", "STRATEGY", least=8, rank=3, is_name=True)
ORDER = Column("order", "ORDER", value=order_text, least=22, ample=30)
CLIENT_ORDER = Column("client_order_id", "CLIENT ID", least=9, rank=6)
TRIES = Column("attempts", "TRIES", right=True, rank=4)
HTTP = Column("http_status", "HTTP", right=True, rank=2)

ORDER_COLUMNS = [
    Column("created_at", "CREATED AT", style="dim", short=time_or_day),
    INTENT,
    GENERATION,
    Column("status", "STATUS", style=lambda value: STATUS_STYLES.get(str(value), ""), details="reason"),
    replace(REASON, rank=1),
    CONNECTOR,
    STRATEGY,
    ORDER,
    CLIENT_ORDER,
    TRIES,
    HTTP,
    Column("due_at", "DUE AT", short=ago, rank=5),
    Column("updated_at", "UPDATED AT", short=ago, rank=7),
]
