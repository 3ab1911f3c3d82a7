"""The peer with a framework: FastStream, a pydantic model for the body, and aiohttp. It has no order, no retry, no
memory; what it adds to the naive one is that a body is read and checked.
"""

from __future__ import annotations

import asyncio
import os

import aiohttp
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from pydantic import BaseModel

PREFETCH = 100


class Order(BaseModel):
    """The fields of an order, as far as the benchmark has them."""

    connectorName: str  # noqa: N815 - the names of the body
    connectorToken: str  # noqa: N815
    action: str
    percent: str
    log: str


async def main() -> None:
    """Consume, check, POST."""
    broker = RabbitBroker(os.environ["BENCH_BROKER"], default_channel=Channel(prefetch_count=PREFETCH))
    url = os.environ["BENCH_WEBHOOK"]
    async with aiohttp.ClientSession() as session:

        @broker.subscriber(RabbitQueue(os.environ["BENCH_QUEUE"], declare=False))
        async def handle(order: Order) -> None:
            headers = {"Content-Type": "application/json"}
            async with session.post(url, data=order.model_dump_json(), headers=headers) as answer:
                await answer.text()

        await broker.start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
