"""`publish_many` between two threads: no intent that was taken goes untold."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from signalq import NotAllConfirmed, OrderIntent
from signalq.publishing.results import Given
from signalq.publishing.sync_bulk import SyncManyPublisher

INTENT = OrderIntent(connector_name="main", action="openLong", percent="50")


def test_an_intent_that_was_taken_as_the_publishing_ended_is_told_as_well() -> None:
    has_ended = threading.Event()
    told: list[Any] = []

    def given() -> Iterator[Given]:
        has_ended.wait(10)
        yield INTENT, "id-1"

    async def publish_many(intents: AsyncIterator[Given]) -> int:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(intents), 0.01)
        asyncio.get_running_loop().call_soon(has_ended.set)
        raise NotAllConfirmed(0, 0, [], [])

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    many = SyncManyPublisher(given(), told.append, lambda _receipt: pytest.fail("nothing was confirmed"))
    many.begin(loop, publish_many)
    with pytest.raises(NotAllConfirmed) as refusal:
        many.serve()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert refusal.value.to_repeat == [(INTENT, "id-1")]
    assert [result.message_id for result in told] == ["id-1"]
