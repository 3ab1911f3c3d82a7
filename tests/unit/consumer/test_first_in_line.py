"""What a consumer says of its lanes with each sign of life: how old the first in line are, and when they are tried."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from signalq.consumer.broker.session import Delivery
from signalq.consumer.lanes.first_in_line import FirstInLine, first_in_line
from signalq.consumer.lanes.queues import ConnectorQueues, Ticket
from signalq.consumer.orders.state import IntentState
from tests.support.orders import altered, order

EVEN_MS, WALL_MS = 5_000, 1_769_860_800_000
SHARED, OWN = "signalq.orders", "signalq.orders.own"


def ticket(created_ms: int, lane: str = SHARED) -> Ticket:
    """An order that came by the queue of a lane."""
    return Ticket(altered(order(created_ms=created_ms), source_queue=lane), cast("Delivery", None))


async def joined(queues: ConnectorQueues, connector: str, *tickets: Ticket) -> list[asyncio.Task[Any]]:
    """Let them wait in a connector's queue, in this order."""
    tasks = [asyncio.create_task(queues.of(connector).join(one)) for one in tickets]
    await asyncio.sleep(0)
    return tasks


async def ended(*groups: list[asyncio.Task[Any]]) -> None:
    for task in [task for group in groups for task in group]:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_of_each_lane_the_oldest_that_is_first_in_line_counts() -> None:
    queues = ConnectorQueues()
    # Behind the first ones wait older ones: the order of the queue counts.
    groups = [
        await joined(queues, "a", ticket(1_000_000_000_300), ticket(1_000_000_000_000)),
        await joined(queues, "b", ticket(1_000_000_000_200), ticket(1_000_000_000_100)),
        await joined(queues, "own", ticket(1_000_000_000_900, OWN)),
    ]
    assert first_in_line(queues, EVEN_MS, WALL_MS) == {
        SHARED: FirstInLine(1_000_000_000_200, None),
        OWN: FirstInLine(1_000_000_000_900, None),
    }
    await ended(*groups)


async def test_the_soonest_of_those_that_wait_for_another_attempt_counts() -> None:
    queues = ConnectorQueues()
    first, second, third = ticket(1_000_000_000_000), ticket(1_000_000_000_001), ticket(1_000_000_000_002)
    groups = [await joined(queues, name, one) for name, one in zip("abc", (first, second, third), strict=True)]
    queues.of("a").back_off_until(EVEN_MS + 700)
    first.put_off_ms(IntentState("1", b"", next_attempt_ms=WALL_MS + 900, wait_ms=900), 60_000, EVEN_MS, WALL_MS)
    second.put_off_ms(IntentState("2", b"", next_attempt_ms=WALL_MS + 800, wait_ms=800), 60_000, EVEN_MS, WALL_MS)
    assert first_in_line(queues, EVEN_MS, WALL_MS)[SHARED].next_ms == WALL_MS + 800, "the first one has both waits"
    assert first_in_line(queues, EVEN_MS + 850, WALL_MS + 850)[SHARED].next_ms == WALL_MS + 900
    assert first_in_line(queues, EVEN_MS + 900, WALL_MS + 900)[SHARED].next_ms is None
    await ended(*groups)


async def test_a_connector_without_orders_says_nothing_although_its_backoff_is_remembered() -> None:
    queues = ConnectorQueues()
    queues.remember("a", 3, EVEN_MS + 1_000)
    assert first_in_line(queues, EVEN_MS, WALL_MS) == {}
