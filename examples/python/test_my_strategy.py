"""Test a strategy without a broker: InMemoryOrderPublisher makes the same checks and raises the same errors.

pytest examples/python/test_my_strategy.py
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from signalq import OrderIntent, Receipt, Unconfirmed
from signalq.testing import InMemoryOrderPublisher


class Orders(Protocol):
    """What the strategy needs of a publisher: OrderPublisher and its twin both have it."""

    async def publish(self, intent: OrderIntent, *, message_id: str | None = None) -> Receipt: ...


async def close_on_loss(orders: Orders, *, entry: float, price: float, day: str) -> str | None:
    """The strategy: 5 % below the entry, close everything, once a day. Returns what became of the order."""
    if price > entry * 0.95:
        return None
    intent = OrderIntent(connector_name="main", action="closeLong", percent="100")
    message_id = f"stop-{day}"
    try:
        receipt = await orders.publish(intent, message_id=message_id)
    except Unconfirmed as error:
        # Once more under the same identity: it is ordered once, wherever the first one is.
        receipt = await orders.publish(intent, message_id=error.message_id)
    return (await receipt.outcome(timeout_s=10)).status


def test_it_closes_everything_when_the_price_has_fallen() -> None:
    async def scene() -> None:
        async with InMemoryOrderPublisher(strategy="stop") as orders:
            orders.settle_all("delivered")
            assert await close_on_loss(orders, entry=100, price=94, day="2026-01-31") == "delivered"
            (sent,) = orders.published
            assert (sent.intent.action, sent.intent.percent, sent.message_id) == ("closeLong", "100", "stop-2026-01-31")

    asyncio.run(scene())


def test_it_does_nothing_while_the_price_holds() -> None:
    async def scene() -> None:
        async with InMemoryOrderPublisher() as orders:
            assert await close_on_loss(orders, entry=100, price=96, day="2026-01-31") is None
            assert orders.published == []

    asyncio.run(scene())


def test_it_repeats_an_unconfirmed_order_under_the_same_identity() -> None:
    async def scene() -> None:
        async with InMemoryOrderPublisher() as orders:
            orders.settle_all("dead", reason="rejected")
            orders.fail_next(Unconfirmed)
            assert await close_on_loss(orders, entry=100, price=90, day="2026-01-31") == "dead"
            assert [sent.message_id for sent in orders.published] == ["stop-2026-01-31"]

    asyncio.run(scene())
