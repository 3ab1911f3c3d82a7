"""signalq's half of the phase `sdk`: the SDK's `publish`."""

from __future__ import annotations

import asyncio
import os

from benchmarks.publishing.own import measured, told_load
from signalq import OrderPublisher


async def main() -> None:
    """Publish the load of the command line."""
    broker_url, prefix = os.environ["SIGNALQ_BROKER__URL"], os.environ["SIGNALQ_BROKER__PREFIX"]
    intents = list(told_load().intents())
    async with OrderPublisher(broker_url, prefix=prefix, strategy="benchmark", outcomes=False) as publisher:
        await measured(publisher.publish, intents)


if __name__ == "__main__":
    asyncio.run(main())
