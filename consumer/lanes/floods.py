"""Messages that are no orders: a flood of them leaves the loop, the disk and the broker to the orders."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signalq.consumer.broker.session import Delivery

# Of each queue so many are refused at a time, and so many bytes of them in a second.
AT_ONCE = 4
BYTES_PER_S = 8 * 1_048_576
REST_S_MIN = 0.002


class Floods:
    """The places of what is refused, by the queue that it came by."""

    def __init__(self) -> None:
        self._places: dict[str, asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self, delivery: Delivery) -> AsyncIterator[None]:
        """A place to refuse the message in; it is kept for as long as its bytes take at BYTES_PER_S."""
        async with self._places.setdefault(delivery.message.queue, asyncio.Semaphore(AT_ONCE)):
            yield
            rest_s = delivery.held_bytes * AT_ONCE / BYTES_PER_S
            if rest_s >= REST_S_MIN:
                await asyncio.sleep(rest_s)
