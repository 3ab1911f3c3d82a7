"""Orders that are parked: how many are on the delay ladder, and when all of them are."""

from __future__ import annotations

import asyncio

from aio_pika.abc import AbstractConnection

from signalq.amqp.inspect import queue_depth
from signalq.names import LADDER_LEVELS, Names


async def parked(connection: AbstractConnection, names: Names, orders: int, timeout_s: float) -> None:
    """Wait until so many are on the ladder. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while await on_the_ladder(connection, names) < orders:  # noqa: ASYNC110 - only asking the broker tells
            await asyncio.sleep(0.1)


async def on_the_ladder(connection: AbstractConnection, names: Names) -> int:
    """How many are parked."""
    depths = [await queue_depth(connection, names.delay(level)) for level in range(LADDER_LEVELS)]
    return sum(depth.ready for depth in depths if depth is not None)
