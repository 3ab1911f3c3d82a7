"""The demo's three strategies: momentum, a rebalancer, and a desk that speaks plain AMQP."""

import asyncio
import time

from signalq import OrderIntent, OrderPublisher, Receipt
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.message.envelope import publish_properties
from signalq.message.identity import new_message_id
from signalq.names import Names

DELAY_S = 3.0
REFUSED_CONNECTOR = "closed-account"
DEMO_TOKEN = "demo-token"  # noqa: S105 - the sandbox takes any


async def publish_orders(broker_url: str) -> int:
    """Publish seven intents by three strategies at the same time; returns when the delayed one is due (ms)."""
    _, _, delayed = await asyncio.gather(_momentum(broker_url), _desk(broker_url), _rebalancer(broker_url))
    return delayed.created_ms + round(DELAY_S * 1000)


async def _momentum(broker_url: str) -> None:
    async with OrderPublisher(broker_url, strategy="momentum") as orders:
        for action, percent in (("openLong", "50"), ("openLong", "25"), ("closeLong", "100")):
            await orders.publish(_intent("futures-main", action, percent=percent))


async def _rebalancer(broker_url: str) -> Receipt:
    async with OrderPublisher(broker_url, strategy="rebalancer") as orders:
        await orders.publish(_intent("spot-main", "sell", percent="10"))
        later = _intent("spot-main", "buy", percent="10", delay_seconds=DELAY_S)
        delayed = await orders.publish(later)
        await orders.publish(_intent(REFUSED_CONNECTOR, "buy", fixed="0.5"))
        return delayed


async def _desk(broker_url: str) -> None:
    """Publish a misspelt order. The SDK would not let it out, so it goes as any AMQP client would send it."""
    publisher = ConfirmedPublisher(broker_url, name="signalq demo desk")
    body = b'{"connectorName":"spot-main","connectorToken":"demo-token","action":"by","percent":"500"}'
    properties = publish_properties(
        message_id=new_message_id(), strategy_name="desk", created_ms=time.time_ns() // 1_000_000
    )
    await publisher.publish(Names().orders, "spot-main", body, properties)
    await publisher.close()


def _intent(connector: str, action: str, **fields: object) -> OrderIntent:
    return OrderIntent.model_validate(
        {"connector_name": connector, "connector_token": DEMO_TOKEN, "action": action, **fields}
    )
