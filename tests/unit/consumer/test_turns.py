"""One turn per connector, first come, first served; what a turn remembers, and for how many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import cast

import pytest
from pamqp.commands import Basic

from signalq.consumer.broker.session import Delivery, Session
from signalq.consumer.lanes.queues import ConnectorQueue, ConnectorQueues, Ticket
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.state import IntentState
from tests.support.orders import body, order


async def test_the_first_call_has_the_first_turn() -> None:
    queues, order = ConnectorQueues(), list[int]()

    async def take(number: int) -> None:
        async with turn_in(queues, "main"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(take(number) for number in range(20)))
    assert order == [number for number in range(20) for _ in range(2)], "one at a time, in order"


async def test_connectors_do_not_wait_for_each_other() -> None:
    queues = ConnectorQueues()
    async with turn_in(queues, "slow"), asyncio.timeout(30), turn_in(queues, "quick"):
        pass


async def test_one_that_gives_up_waiting_lets_the_next_one_through_in_order() -> None:
    queues, order = ConnectorQueues(), list[int]()

    async def take(number: int) -> None:
        async with turn_in(queues, "main"):
            order.append(number)

    async with turn_in(queues, "main"):
        waiting = [asyncio.create_task(take(number)) for number in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
        await asyncio.wait([waiting[0], waiting[2]])
    await asyncio.gather(waiting[1], waiting[3])
    assert order == [1, 3]


async def test_the_backoff_outlives_the_intent() -> None:
    queues = ConnectorQueues()
    async with turn_in(queues, "main") as queue:
        queue.failures += 1
        queue.back_off_until(5_000)
    async with turn_in(queues, "main") as again:
        assert (again.failures, again.backoff_until_ms) == (1, 5_000)
    async with turn_in(queues, "other") as other:
        assert (other.failures, other.backoff_until_ms) == (0, 0)


def test_a_lane_is_closed_until_the_latest_of_what_was_asked_and_open_after_a_success() -> None:
    queue = ConnectorQueue()
    queue.back_off_until(5_000)
    queue.back_off_until(3_000)
    assert queue.backoff_until_ms == 5_000
    queue.failures = 3
    queue.succeeded()
    assert (queue.failures, queue.backoff_until_ms) == (0, 0)


async def test_a_turn_is_remembered_only_while_it_is_used_or_closed() -> None:
    queues = ConnectorQueues()
    async with turn_in(queues, "main") as first:
        pass
    async with turn_in(queues, "main") as second:
        assert second is not first
        second.failures = 1
    async with turn_in(queues, "main") as third:
        assert third is second
        third.succeeded()
    async with turn_in(queues, "main") as fourth:
        assert fourth is not third


async def test_at_most_so_many_closed_lanes_are_remembered_and_none_that_is_in_use_is_forgotten() -> None:
    queues = ConnectorQueues(remembered_max=10)
    async with turn_in(queues, "in use") as kept:
        kept.failures = 1
        for number in range(1_000):
            async with turn_in(queues, f"down-{number}") as queue:
                queue.failures = 1
        assert len(queues._queues) <= 10
        assert queues._queues["in use"] is kept


async def test_an_error_inside_a_turn_ends_it() -> None:
    queues = ConnectorQueues()
    with pytest.raises(RuntimeError):
        async with turn_in(queues, "main"):
            raise RuntimeError
    async with asyncio.timeout(30), turn_in(queues, "main"):
        pass


# --- tickets ---------------------------------------------------------------------------------------------------------


def ticket(message_id: str | None = None, **fields: str) -> Ticket:
    content = body(**fields)
    return Ticket(order(content, message_id=message_id), delivery(content))


def delivery(content: bytes) -> Delivery:
    message = Message(content, Basic.Properties(), "main", redelivered=False)
    return Delivery(message, 1, cast("Session", None))


@asynccontextmanager
async def turn_in(
    queues: ConnectorQueues, whose: str, one: Ticket | None = None, *, places: int = 1
) -> AsyncIterator[ConnectorQueue]:
    """The turn of one message, to the end of the block."""
    one, queue = one or ticket(), queues.of(whose, places=places)
    try:
        await queue.join(one)
        yield queue
    finally:
        queues.leave(whose, one)


async def test_later_orders_are_behind_in_the_order_of_arrival_until_they_leave() -> None:
    queues, tickets = ConnectorQueues(), [ticket(f"{number}") for number in range(3)]

    async def take(one: Ticket) -> None:
        async with turn_in(queues, "main", one):
            pass

    async with turn_in(queues, "main", tickets[0]) as queue:
        waiting = [asyncio.create_task(take(one)) for one in tickets[1:]]
        await asyncio.sleep(0)
        assert queue.behind(tickets[0]) == tickets[1:]
        assert queue.behind(tickets[1]) == tickets[2:]
        assert queue.behind(tickets[2]) == []
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        assert queue.behind(tickets[0]) == tickets[2:], "one that has left ends nobody's waiting"
    await waiting[1]
    assert queue.is_idle


async def test_an_exit_that_joins_wakes_an_order_that_sleeps_with_the_turn_and_an_open_does_not() -> None:
    queues, sleeper = ConnectorQueues(), ticket("a")

    async def take(one: Ticket) -> None:
        async with turn_in(queues, "main", one):
            pass

    async with turn_in(queues, "main", sleeper), asyncio.timeout(30), asyncio.TaskGroup() as group:
        sleeping = group.create_task(sleeper.sleep(asyncio.Event().wait()))
        behind = [group.create_task(take(ticket("b")))]
        await asyncio.sleep(0)
        assert not sleeper.is_woken
        behind.append(group.create_task(take(ticket("c", action="cancelAll"))))
        await sleeping
        for one in behind:
            one.cancel()


async def test_a_sleep_ends_by_itself_and_one_that_is_given_up_leaves_nothing_behind() -> None:
    one = ticket()
    async with asyncio.timeout(30):
        await one.sleep(asyncio.sleep(0))
    giving_up = asyncio.create_task(one.sleep(asyncio.Event().wait()))
    await asyncio.sleep(0)
    giving_up.cancel()
    await asyncio.wait([giving_up])
    assert giving_up.cancelled()


async def test_an_order_that_was_woken_since_it_asked_the_rules_does_not_sleep() -> None:
    one = ticket()
    one.wake()
    async with asyncio.timeout(30):
        await one.sleep(asyncio.Event().wait())


async def test_a_later_order_with_the_identity_of_an_earlier_one_is_not_looked_at_from_ahead() -> None:
    queue, tickets = ConnectorQueue(places=4), [ticket("head"), ticket("id"), ticket("id"), ticket("other")]
    for one in tickets:
        await queue.join(one)
    assert queue.behind(tickets[0]) == [tickets[1], tickets[3]]
    assert queue.behind(tickets[1]) == [tickets[3]]


async def test_a_turn_of_several_places_is_held_by_so_many_at_once() -> None:
    queues, inside, most = ConnectorQueues(), 0, 0

    async def take() -> None:
        nonlocal inside, most
        async with turn_in(queues, "many", places=3):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(take() for _ in range(20)))
    assert most == 3


def test_posts_that_failed_side_by_side_count_as_one_failure() -> None:
    queue = ConnectorQueue(8)
    assert [queue.failed(0) for _ in range(8)] == [1] * 8
    assert queue.failed(1) == 2
    queue.succeeded()
    assert queue.failed(2) == 1, "it began before the success, and ends behind it"


# --- time ------------------------------------------------------------------------------------------------------------


def exit_ticket(came_ms: int) -> Ticket:
    content = body(action="cancelAll")
    return Ticket(order(content, received_ms=1_000_000), delivery(content), came_ms)


@pytest.mark.parametrize("wall_ms", [1_005_000, 4_605_000, -2_595_000], ids=["as it goes", "set forth", "set back"])
def test_for_an_order_that_waits_time_goes_on_evenly_and_an_open_is_never_younger_than_by_the_wall(
    wall_ms: int,
) -> None:
    assert exit_ticket(50_000).now_ms(55_000, wall_ms) == 1_005_000
    content = body()
    an_open = Ticket(order(content, received_ms=1_000_000), delivery(content), 50_000)
    assert an_open.now_ms(55_000, wall_ms) == max(1_005_000, wall_ms)


def test_the_ledgers_moment_of_the_next_attempt_is_read_once_and_waited_for_evenly() -> None:
    one = exit_ticket(0)
    put_off = IntentState("id", b"", version=3, next_attempt_ms=1_004_000, wait_ms=4_000)
    assert one.put_off_ms(put_off, 300_000, 50_000, 1_001_000) == 3_000
    assert one.put_off_ms(put_off, 300_000, 51_000, -2_598_000) == 2_000, "the clock was set back meanwhile"
    assert one.put_off_ms(put_off, 300_000, 53_000, -2_596_000) == 0
    next_one = replace(put_off, version=5)
    assert one.put_off_ms(next_one, 300_000, 53_000, -2_596_000) == 4_000, "no longer than was asked for"
    of_an_earlier_version = replace(put_off, version=7, wait_ms=None)
    assert one.put_off_ms(of_an_earlier_version, 300_000, 53_000, -2_596_000) == 300_000


async def test_a_lane_that_is_taken_over_backs_off_as_it_did_for_its_consumer_before() -> None:
    queues = ConnectorQueues()
    queues.remember("main", 3, 5_000)
    queues.remember("many", 1, 2_000, places=2)
    async with turn_in(queues, "main") as queue:
        assert (queue.failures, queue.backoff_until_ms) == (3, 5_000)
        assert queue.failed(3) == 4
    async with asyncio.timeout(30), turn_in(queues, "many", places=2), turn_in(queues, "many", places=2):
        pass
