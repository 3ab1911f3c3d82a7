"""The end of the consumer: every task it owns ends, also one to which its cancellation is lost."""

from __future__ import annotations

import asyncio

from signalq.consumer.service import _ended


async def test_a_task_that_has_lost_its_cancellation_is_canceled_again() -> None:
    lost = 0

    async def loses_the_first() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    task = asyncio.create_task(loses_the_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await _ended([task])
    assert task.cancelled()
    assert lost == 2
