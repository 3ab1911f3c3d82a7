"""The naive peer: the consumer that most teams write first, after aio-pika's and aiohttp's own examples.

It promises nothing: no validation, no order, no retry, no dead letters, no memory. What it costs is what signalq's
promises are compared with.
"""

from __future__ import annotations

import asyncio
import os

import aio_pika
import aiohttp
from aio_pika.abc import AbstractIncomingMessage

PREFETCH = 100


async def main() -> None:
    """Consume BENCH_QUEUE, POST each body to BENCH_WEBHOOK, acknowledge."""
    connection = await aio_pika.connect_robust(os.environ["BENCH_BROKER"])
    channel = await connection.channel()
    await channel.set_qos(prefetch_count=PREFETCH)
    queue = await channel.get_queue(os.environ["BENCH_QUEUE"])
    async with aiohttp.ClientSession() as session:

        async def handle(message: AbstractIncomingMessage) -> None:
            async with message.process():
                headers = {"Content-Type": "application/json"}
                url = os.environ["BENCH_WEBHOOK"]
                async with session.post(url, data=message.body, headers=headers) as answer:
                    await answer.text()

        await queue.consume(handle)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
