"""signalq's producer: the SDK, one connection, confirms awaited side by side. Prints when each order was created."""

from __future__ import annotations

import asyncio
import json
import os
import time
from decimal import Decimal

from benchmarks.delays.plan import CONNECTORS, Plan
from signalq import OrderIntent, OrderPublisher


async def main() -> None:
    """Publish what the plan says; an order without a delay was created when its publish began."""
    plan = Plan.from_argument()
    created_ms = [0.0] * plan.orders
    broker_url, prefix = os.environ["SIGNALQ_BROKER__URL"], os.environ["SIGNALQ_BROKER__PREFIX"]
    async with OrderPublisher(broker_url, prefix=prefix, strategy="benchmark") as publisher:

        async def one(number: int, delay_ms: int) -> None:
            began_ms = time.time() * 1000
            receipt = await publisher.publish(intent(plan, number, delay_ms))
            created_ms[number] = receipt.created_ms if delay_ms else began_ms

        began_s = time.monotonic()
        async with asyncio.TaskGroup() as all_:
            for number, delay_ms in enumerate(plan.delays_ms()):
                await asyncio.sleep(plan.wait_s(number, began_s))
                all_.create_task(one(number, delay_ms))
    print(json.dumps(created_ms))


def intent(plan: Plan, number: int, delay_ms: int) -> OrderIntent:
    """An order for one of the connectors."""
    return OrderIntent(
        connector_name=f"connector-{number % CONNECTORS}",
        connector_token="0-pretended-0",  # noqa: S106 - not a secret
        action="openLong",
        percent="50",
        log=plan.log(number),
        delay_seconds=Decimal(delay_ms) / 1000 if delay_ms else None,
    )


if __name__ == "__main__":
    asyncio.run(main())
