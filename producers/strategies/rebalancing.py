"""The rebalancer's decisions: the slot of a moment, and the orders that bring weights back to their targets.

Pure: no clock, no file, no broker. Weights are percent of the whole portfolio; what they leave of 100 is cash.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from signalq import OrderIntent

MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
HUNDREDTH = Decimal("0.01")
NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Target:
    """The target weight of an asset, and the connector that trades it."""

    connector: str
    percent: Decimal


@dataclass(frozen=True, slots=True)
class PlannedOrder:
    """An order for one asset; `percent` and `delay_s` are text, as they are kept and sent."""

    asset: str
    connector: str
    action: Literal["buy", "sell"]
    percent: str
    delay_s: str = "0"


def slot_at(now: datetime, *, every: timedelta, offset: timedelta) -> datetime:
    """The beginning of the slot that `now` lies in: whole steps of `every` from a Monday, 00:00 UTC, plus `offset`.

    UTC knows no summer time: no slot comes twice, and none is left out.
    """
    return now - (now - MONDAY - offset) % every


def plan_orders(
    weights: Mapping[str, Decimal], targets: Mapping[str, Target], *, drift_min: Decimal, settle_s: int
) -> tuple[PlannedOrder, ...]:
    """The sells at once, then the buys, `settle_s` apart, so that each finds the cash of those before it.

    An asset without a target is left alone, and so is one that is off by less than `drift_min` (> 0). The percent of a
    sell is a share of the asset's holding, that of a buy is a share of the cash at its turn: see whether your
    connectors count so. Shares are rounded down, so it never buys for more than it has.
    """
    orders: list[PlannedOrder] = []
    cash = 100 - sum(weights.values(), NOTHING)
    missing = {asset: target.percent - weights.get(asset, NOTHING) for asset, target in targets.items()}
    for asset in (asset for asset, points in missing.items() if points <= -drift_min):
        percent = _share(-missing[asset], weights[asset])
        cash += weights[asset] * percent / 100
        orders.append(PlannedOrder(asset, targets[asset].connector, "sell", str(percent)))
    delay_s = 0
    for asset in (asset for asset, points in missing.items() if points >= drift_min):
        percent = _share(missing[asset], cash)
        if percent > 0:
            delay_s += settle_s
            cash -= cash * percent / 100
            orders.append(PlannedOrder(asset, targets[asset].connector, "buy", str(percent), str(delay_s)))
    return tuple(order for order in orders if Decimal(order.percent) > 0)


def intent_of(order: PlannedOrder, *, slot: str, strategy: str, token: str | None = None) -> tuple[str, OrderIntent]:
    """An order as it is published, and its identity. The same order of the same slot has the same bytes.

    The asset is in the identity and the action is not: a slot never trades an asset twice, not even if its plan is lost
    and made again from other weights; the second order would then be dead, `invalid`.
    """
    intent = OrderIntent(
        connector_name=order.connector,
        connector_token=token,
        action=order.action,
        percent=order.percent,
        delay_seconds=Decimal(order.delay_s) or None,
        log=f"{strategy} {slot}",
    )
    return f"{strategy}/{slot}/{order.asset}", intent


def _share(part: Decimal, whole: Decimal) -> Decimal:
    """`part` in percent of `whole`, at most 100; 0 if `whole` is not above 0."""
    if whole <= 0:
        return NOTHING
    return min(100 * part / whole, Decimal(100)).quantize(HUNDREDTH, ROUND_DOWN)
