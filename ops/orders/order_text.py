"""An order in a few words, such as `openLong 50 % limit 65000`, from the fields that were kept of it."""

from collections.abc import Mapping

from signalq.ops.terminal.render import Row

_PRICES = ("limit", "profit", "loss")


def order_text(row: Row) -> str | None:
    """The words for the order of a row; the action alone where nothing of it was kept."""
    order = row.get("order")
    if not isinstance(order, Mapping):
        action = row.get("action")
        return action if isinstance(action, str) else None
    prices = [f"{name} {order[name]}" for name in _PRICES if name in order]
    return " ".join([str(order.get("action", "?")), *_size(order), *prices]) or None


def _size(order: Mapping[str, object]) -> list[str]:
    """The size that takes effect; of a `cancel` the order that it names."""
    if order.get("action") == "cancel":
        return [str(order.get("clientOrderId", "?"))]
    if "fixed" in order:
        return [str(order["fixed"])]
    return [f"{order['percent']} %"] if "percent" in order else []
