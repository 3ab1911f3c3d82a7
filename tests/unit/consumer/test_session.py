"""A session: what it takes in, what it knows of the backlog, how it ends, and when it only looks alive."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pamqp.commands import Basic

from signalq.amqp.inspect import QueueDepth
from signalq.amqp.port import Arrival
from signalq.consumer.broker import watchdog
from signalq.consumer.broker.connection import loop_s
from signalq.consumer.broker.session import Backlog, ConsumeOptions, Delivery, Session, State
from signalq.consumer.ledger import Epoch
from signalq.errors import BrokerUnreachable

EPOCH = Epoch("q", 1, alive_before_ms=2_000)


def session(
    *, backlog: Backlog | None = None, handed_over: list[Delivery] | None = None, has_order: bool = True
) -> Session:
    taken = [] if handed_over is None else handed_over
    one = Session(cast("Any", None), ConsumeOptions("q", 10, 1_000, has_order), loop_s(), taken.append)
    one.backlog = backlog
    return one


def message(tag: int) -> Arrival:
    return Arrival(tag, False, "", "q", Basic.Properties(), body_bytes=2, body=b"{}")


def take(one: Session, *tags: int) -> list[Delivery | None]:
    return [one.take(message(tag)) for tag in tags]


async def hand_over(one: Session) -> None:
    one.state = State.TAKING
    one.activate(EPOCH)
    await asyncio.sleep(0)


# --- its backlog -----------------------------------------------------------------------------------------------------


async def test_the_first_messages_of_a_session_are_its_backlog_and_say_since_when_it_was_unattended() -> None:
    taken = take(session(backlog=Backlog(2, 1_000)), 1, 2, 3)
    assert [one.message.unattended_since_ms for one in taken if one is not None] == [1_000, 1_000, None]


async def test_without_a_backlog_no_message_was_unattended() -> None:
    taken = take(session(), 1, 2)
    assert [one.message.unattended_since_ms for one in taken if one is not None] == [None, None]


async def test_a_backlog_is_left_until_its_last_message_is_handed_over() -> None:
    handed_over: list[Delivery] = []
    one = session(backlog=Backlog(3, None), handed_over=handed_over)
    take(one, 1, 2)
    assert one.backlog_left == 3
    await hand_over(one)
    assert (len(handed_over), one.backlog_left) == (2, 1)
    take(one, 3, 4)
    await asyncio.sleep(0)
    assert (len(handed_over), one.backlog_left) == (4, 0)


async def test_the_epoch_of_a_lane_without_consumers_says_when_it_was_found_to_be_attended_last() -> None:
    """Since the session joined, the consumer keeps the lane alive itself."""
    found, stood_by = session(backlog=Backlog(0, 1_000)), session()
    for one in (found, stood_by):
        await hand_over(one)
    assert found.epoch is not None
    assert found.epoch.alive_before_ms == 1_000
    assert stood_by.epoch == EPOCH


# --- its states ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [Session.drain, Session.leave, lambda one: one.lose("the link broke")])
async def test_a_session_that_stops_takes_nothing_in_and_hands_nothing_over(stop: Any) -> None:
    handed_over: list[Delivery] = []
    one = session(handed_over=handed_over)
    take(one, 1)
    one.state = State.TAKING
    stop(one)
    one.activate(EPOCH)
    assert take(one, 2) == [None]
    await asyncio.sleep(0)
    assert (handed_over, one.unacked) == ([], 1)


@pytest.mark.parametrize(
    ("begin", "end"), [(Session.leave, State.LEFT), (Session.drain, State.LOST), (lambda _one: None, State.LOST)]
)
async def test_a_session_ends_left_where_it_was_leaving_and_lost_otherwise(begin: Any, end: State) -> None:
    one = session()
    begin(one)
    one.lose("the link broke")
    one.lose("for another reason")
    assert (one.state, one.why_ended) == (end, "the link broke")
    one.drain()
    assert one.state is end


# --- its watchdog ----------------------------------------------------------------------------------------------------


def broker_with(depth: QueueDepth | None) -> Any:
    async def answers(_queue: str) -> QueueDepth | None:
        return depth

    return SimpleNamespace(depth=answers)


async def is_alive(one: Session, depth: QueueDepth | None) -> bool:
    one.last_delivery_s -= watchdog.SILENT_MAX_S + 1
    return await watchdog._is_alive(one, broker_with(depth))


@pytest.mark.parametrize("depth", [None, QueueDepth(ready=0, consumers=0)])
async def test_a_session_that_the_broker_does_not_know_is_dead(depth: QueueDepth | None) -> None:
    assert not await is_alive(session(), depth)


async def test_a_session_whose_broker_does_not_answer_is_dead() -> None:
    async def fails(_queue: str) -> None:
        raise BrokerUnreachable("no answer")

    connection: Any = SimpleNamespace(depth=fails)
    assert not await watchdog._is_alive(session(), connection)


async def test_a_silent_session_is_dead_where_ready_messages_can_be_for_no_other_consumer() -> None:
    waits = QueueDepth(ready=1, consumers=1)
    was_active = session()
    was_active.note_delivered(1)
    was_active._came_s.clear()
    assert not await is_alive(was_active, waits)
    assert not await is_alive(session(backlog=Backlog(0, None)), waits)
    assert not await is_alive(session(has_order=False), waits)


async def test_a_silent_session_is_alive_where_it_stands_by_holds_a_message_or_shares_its_queue() -> None:
    waits = QueueDepth(ready=1, consumers=1)
    assert await is_alive(session(), waits), "the broker counts the active consumer alone"
    holds = session(backlog=Backlog(1, None))
    holds.note_delivered(1)
    assert await is_alive(holds, waits)
    assert await is_alive(session(has_order=False), QueueDepth(ready=1, consumers=2))
    assert await is_alive(session(backlog=Backlog(0, None)), QueueDepth(ready=0, consumers=1))
