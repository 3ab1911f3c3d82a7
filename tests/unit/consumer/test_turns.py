"""One turn per connector, first come, first served; what a turn remembers, and for how many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest
from pamqp.commands import Basic

from signalq.consumer.lanes.queues import ConnectorQueue, ConnectorQueues, Ticket
from signalq.consumer.ledger import LedgerEntry
from signalq.consumer.orders.order import Message
from signalq.consumer.orders.state import IntentState
from tests.support.orders import body, order


async def test_the_first_call_has_the_first_turn() -> None:
    queues, order = ConnectorQueues(), list[int]()

    async def take(number: int) -> None:
        async with queues.take("main"):
            order.append(number)
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(take(number) for number in range(20)))
    assert order == [number for number in range(20) for _ in range(2)], "one at a time, in order"


async def test_connectors_do_not_wait_for_each_other() -> None:
    queues = ConnectorQueues()
    async with queues.take("slow"), asyncio.timeout(30), queues.take("quick"):
        pass


async def test_one_that_gives_up_waiting_lets_the_next_one_through_in_order() -> None:
    queues, order = ConnectorQueues(), list[int]()

    async def take(number: int) -> None:
        async with queues.take("main"):
            order.append(number)

    async with queues.take("main"):
        waiting = [asyncio.create_task(take(number)) for number in range(4)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[2].cancel()
        await asyncio.wait([waiting[0], waiting[2]])
    await asyncio.gather(waiting[1], waiting[3])
    assert order == [1, 3]


async def test_the_backoff_outlives_the_intent() -> None:
    queues = ConnectorQueues()
    async with queues.take("main") as queue:
        queue.failures += 1
        queue.back_off_until(5_000)
    async with queues.take("main") as again:
        assert (again.failures, again.backoff_until_ms) == (1, 5_000)
    async with queues.take("other") as other:
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
    async with queues.take("main") as first:
        pass
    async with queues.take("main") as second:
        assert second is not first
        second.failures = 1
    async with queues.take("main") as third:
        assert third is second
        third.succeeded()
    async with queues.take("main") as fourth:
        assert fourth is not third


async def test_at_most_so_many_closed_lanes_are_remembered_and_none_that_is_in_use_is_forgotten() -> None:
    queues = ConnectorQueues(remembered_max=10)
    async with queues.take("in use") as kept:
        kept.failures = 1
        for number in range(1_000):
            async with queues.take(f"down-{number}") as queue:
                queue.failures = 1
        assert len(queues._queues) <= 10
        assert queues._queues["in use"] is kept


async def test_an_error_inside_a_turn_ends_it() -> None:
    queues = ConnectorQueues()
    with pytest.raises(RuntimeError):
        async with queues.take("main"):
            raise RuntimeError
    async with asyncio.timeout(30), queues.take("main"):
        pass


# --- tickets ---------------------------------------------------------------------------------------------------------


def ticket(message_id: str | None = None) -> Ticket:
    content = body()
    return Ticket(
        order(content, message_id=message_id), Message(content, Basic.Properties(), "main", redelivered=False)
    )


def known(of: Ticket) -> LedgerEntry:
    return LedgerEntry(of.order, IntentState(of.order.intent_id, of.order.digest))


@asynccontextmanager
async def side_by_side(count: int) -> AsyncIterator[tuple[ConnectorQueue, list[Ticket]]]:
    """A queue in which several have the turn, as in a lane without order, and their tickets."""
    queue, tickets = ConnectorQueue(), [ticket() for _ in range(count)]
    for number, one in enumerate(tickets):
        one.number = number
        queue.join(one)
    yield queue, tickets


async def test_tickets_are_in_the_order_of_arrival_while_one_has_the_turn_and_others_wait() -> None:
    queues, tickets = ConnectorQueues(), [ticket() for _ in range(3)]

    async def take(one: Ticket) -> None:
        async with queues.take("main", one):
            pass

    async with queues.take("main", tickets[0]) as queue:
        waiting = [asyncio.create_task(take(one)) for one in tickets[1:]]
        await asyncio.sleep(0)
        assert queue.ahead_of(tickets[2]) == tickets[:2]
        queue.looked_ahead(tickets[2], known(tickets[2]))
        queue.looked_ahead(tickets[1], known(tickets[1]))
        assert queue.exits_behind(tickets[0]) == tickets[1:], "in the order of arrival, not of the looks ahead"
        assert queue.exits_behind(tickets[1]) == tickets[2:]
        assert queue.exits_behind(tickets[2]) == []
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        assert queue.exits_behind(tickets[0]) == tickets[2:], "one that has left ends nobody's waiting"
    await waiting[1]
    assert queue.is_empty


async def test_an_exit_that_was_looked_up_ahead_wakes_the_sleepers_ahead_of_it_and_none_behind() -> None:
    async with side_by_side(4) as (queue, tickets), asyncio.timeout(30), asyncio.TaskGroup() as group:
        sleeping = {one: group.create_task(one.sleep(asyncio.Event().wait())) for one in (*tickets[:2], tickets[3])}
        await asyncio.sleep(0)
        queue.looked_ahead(tickets[2], known(tickets[2]))
        await asyncio.wait([sleeping[tickets[0]], sleeping[tickets[1]]])
        assert not sleeping[tickets[3]].done()
        tickets[3].wake()


async def test_a_sleep_ends_by_itself_and_one_that_is_given_up_leaves_nothing_behind() -> None:
    one = ticket()
    async with asyncio.timeout(30):
        await one.sleep(asyncio.sleep(0))
    one.wake()  # nobody sleeps
    giving_up = asyncio.create_task(one.sleep(asyncio.Event().wait()))
    await asyncio.sleep(0)
    giving_up.cancel()
    await asyncio.wait([giving_up])
    assert giving_up.cancelled()


async def test_two_messages_with_one_identity_are_known_as_such() -> None:
    async with AsyncExitStack() as stack:
        queue = await stack.enter_async_context(ConnectorQueues().take("main", ticket("id")))
        assert queue.has(ticket("id").identity)
        assert not queue.has(ticket("other").identity)


async def test_a_turn_of_several_places_is_held_by_so_many_at_once() -> None:
    queues, inside, most = ConnectorQueues(), 0, 0

    async def take() -> None:
        nonlocal inside, most
        async with queues.take("many", places=3):
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
    message = Message(content, Basic.Properties(), "main", redelivered=False)
    return Ticket(order(content, received_ms=1_000_000), message, came_ms)


@pytest.mark.parametrize("wall_ms", [1_005_000, 4_605_000, -2_595_000], ids=["as it goes", "set forth", "set back"])
def test_for_an_order_that_waits_time_goes_on_evenly_and_an_open_is_never_younger_than_by_the_wall(
    wall_ms: int,
) -> None:
    assert exit_ticket(50_000).now_ms(55_000, wall_ms) == 1_005_000
    content = body()
    message = Message(content, Basic.Properties(), "main", redelivered=False)
    an_open = Ticket(order(content, received_ms=1_000_000), message, 50_000)
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
    async with queues.take("main") as queue:
        assert (queue.failures, queue.backoff_until_ms) == (3, 5_000)
        assert queue.failed(3) == 4
    async with asyncio.timeout(30), queues.take("many", places=2), queues.take("many", places=2):
        pass
