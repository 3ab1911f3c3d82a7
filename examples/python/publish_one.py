"""Publish one order, wait until RabbitMQ has it, then wait for what became of it.

    python examples/python/publish_one.py

Exits 0 where it was delivered.
"""

from __future__ import annotations

import asyncio
import os
import sys

from signalq import OrderIntent, OrderPublisher, OutcomeError, PublishError

URL = os.environ.get("SIGNALQ_BROKER__URL", "amqp://guest:guest@127.0.0.1:5672/")


async def main() -> int:
    intent = OrderIntent(connector_name="main", action="openLong", percent="12.5", connector_token="a-token")
    async with OrderPublisher(URL, strategy="example-one") as orders:
        try:
            receipt = await orders.publish(intent)
        except PublishError as error:
            # It may or may not be in the queue. To repeat it safely: publish(intent, message_id=error.message_id).
            print(f"not confirmed, repeat it as {error.message_id}: {error}", file=sys.stderr)
            return 1
        print("RabbitMQ has it:", receipt.message_id)
        try:
            outcome = await receipt.outcome(timeout_s=20)
        except OutcomeError as error:
            # The order is safe; only the news of it did not come. The sentence says how to find out.
            print(error, file=sys.stderr)
            return 1
    print("it is", outcome.status, outcome.reason or "")
    return 0 if outcome.status == "delivered" else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
