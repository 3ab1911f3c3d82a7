"""Publish many orders in their order, with progress, each under an identity of your own.

    python examples/python/publish_many.py

Whatever stops it, run it again: the identities are the same, so what has arrived is dropped as a duplicate.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator

from signalq import NotAllConfirmed, OrderIntent, OrderPublisher, PublishResult

URL = os.environ.get("SIGNALQ_BROKER__URL", "amqp://guest:guest@127.0.0.1:5672/")
BATCH = "rebalance-2026-01-31"
COUNT = 50


async def orders_of_today() -> AsyncIterator[tuple[OrderIntent, str]]:
    """Made one by one, as from a database: it is never read far ahead."""
    for number in range(COUNT):
        intent = OrderIntent(
            connector_name="main", action="buy", fixed=f"0.{number + 1:02}", connector_token="a-token", log=BATCH
        )
        yield intent, f"{BATCH}-{number}"


def show(result: PublishResult) -> None:
    """Called once for each, in their order."""
    if result.error is not None:
        print(f"{result.message_id}: {result.error}", file=sys.stderr)
    elif result.number % 10 == 0:
        print(f"{result.number} of {COUNT}")


async def main() -> int:
    async with OrderPublisher(URL, strategy="example-many", outcomes=False) as orders:
        try:
            count = await orders.publish_many(orders_of_today(), on_result=show)
        except NotAllConfirmed as error:
            # Nothing is in doubt: error.invalid never left, error.unconfirmed are to be repeated with their ids.
            print(error, file=sys.stderr)
            return 1
    print("RabbitMQ has all", count)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
