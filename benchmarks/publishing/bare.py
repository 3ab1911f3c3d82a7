"""The peers' publisher: aiormq's confirmed publish to a durable queue, and nothing around it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiormq
from aiormq.abc import Basic

from benchmarks.publishing.own import measured, told_load

PROPERTIES = Basic.Properties(content_type="application/json", delivery_mode=2)


@asynccontextmanager
async def publishing() -> AsyncIterator[Callable[[bytes], Awaitable[object]]]:
    """The function that publishes a body, for the queue BENCH_QUEUE, and returns once the broker has it."""
    async with await aiormq.connect(os.environ["BENCH_BROKER"]) as connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = os.environ["BENCH_QUEUE"]

        async def publish(body: bytes) -> object:
            return await channel.basic_publish(body, routing_key=queue, properties=PROPERTIES, mandatory=True)

        yield publish


async def main() -> None:
    """Publish the load of the command line."""
    load = told_load()
    bodies = [json.dumps(load.fields(number)).encode() for number in range(load.orders)]
    async with publishing() as publish:
        await measured(publish, bodies)


if __name__ == "__main__":
    asyncio.run(main())
