"""The SDK without asyncio: one order and its outcome, then some more, from plain code or from a thread.

python examples/python/publish_sync.py
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from signalq import OrderIntent, SyncOrderPublisher, SyncPublishResult

URL = os.environ.get("SIGNALQ_BROKER__URL", "amqp://guest:guest@127.0.0.1:5672/")


def ladder() -> Iterator[OrderIntent]:
    """Three limit orders, each a little lower."""
    for limit in ("99.5", "99.0", "98.5"):
        yield OrderIntent(connector_name="main", action="buy", fixed="1", limit=limit, connector_token="a-token")


def show(result: SyncPublishResult) -> None:
    print(result.number, "confirmed" if result.receipt else result.error)


def main() -> int:
    with SyncOrderPublisher(URL, strategy="example-sync") as orders:
        receipt = orders.publish(OrderIntent(connector_name="main", action="sell", percent="100", connector_token="t"))
        print("it is", receipt.outcome(timeout_s=20).status)
        print(orders.publish_many(ladder(), on_result=show), "more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
