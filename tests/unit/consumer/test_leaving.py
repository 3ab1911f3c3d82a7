"""Leaving a lane: a consumer says that nothing in it is in doubt only where it can know that."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq.consumer.broker import session as session_module
from signalq.consumer.broker.connection import BrokerConnection
from signalq.consumer.broker.lane_consumer import Lane, LaneContext
from signalq.consumer.broker.session import ConsumeOptions, Delivery, Session, State
from signalq.consumer.consumed_lanes import ConsumedLanes
from signalq.consumer.handling import Handling
from signalq.consumer.ledger import Epoch
from signalq.consumer.orders.message import Message
from signalq.consumer.service import Service
from signalq.consumer.slots import Slot
from signalq.settings.sections import Settings
from tests.support.ledgers import MemoryLedger

PREFETCH = 7


class Channel:
    """Notes what it is asked; `answer` is what the broker does about the prefetch."""

    def __init__(self, answer: BaseException | float = 0.0) -> None:
        self.asked: list[object] = []
        self._answer = answer

    async def basic_ack(self, tag: int, *, wait: bool) -> None:
        assert not wait
        self.asked.append(tag)

    async def basic_qos(self, *, prefetch_count: int) -> None:
        assert prefetch_count == PREFETCH, "it must not change: that reorders"
        self.asked.append("qos")
        if isinstance(self._answer, BaseException):
            raise self._answer
        await asyncio.sleep(self._answer)

    async def close(self) -> None:
        self.asked.append("close")


class NotingLedger(MemoryLedger):
    """Notes who has left its lane settled, and what was asked of the channel before."""

    def __init__(self) -> None:
        super().__init__()
        self.settled: list[Epoch] = []

    async def leave_settled(self, epoch: Epoch) -> None:
        self.settled.append(epoch)


def session(channel: Channel, *tags: int) -> Session:
    """One that has got these messages."""
    made = Session(cast("Any", channel), ConsumeOptions("q", PREFETCH, 1_000), 0.0)
    made.epoch = Epoch("q", 1, None)
    for tag in tags:
        made.note_delivered(tag)
    return made


def lane(ledger: MemoryLedger, consumed: Session, *, has_order: bool = True) -> Lane:
    """A lane that consumes on this session."""
    context = LaneContext(
        connection=cast("BrokerConnection", None),
        ledger=ledger,
        on_active=lambda _epoch: None,
        on_delivery=lambda _delivery: None,
        on_lost=lambda _session: None,
        jitter=lambda: 0.0,
    )
    made = Lane(ConsumeOptions("q", PREFETCH, 1_000, has_order), context)
    made._session = consumed
    return made


async def test_acknowledgements_are_flushed_once_the_broker_has_answered_behind_them() -> None:
    channel = Channel()
    one = session(channel, 1, 2)
    one.owe(1)
    assert not await one.flush(), "its ending may be recorded, and it is not acknowledged"
    assert await one.ack(1)
    assert await one.flush()
    assert channel.asked == [1, "qos"]


@pytest.mark.parametrize("answer", [10.0, ConnectionError(), Exception()], ids=repr)
async def test_acknowledgements_are_not_flushed_where_the_broker_does_not_answer(
    answer: BaseException | float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "FLUSH_S", 0.01)
    assert not await session(Channel(answer)).flush()


async def test_acknowledgements_are_not_flushed_where_the_session_is_lost_before_or_meanwhile() -> None:
    lost = session(Channel())
    lost.lose("the link broke")
    assert not await lost.flush()
    one = session(Channel(0.01))
    flushing = asyncio.create_task(one.flush())
    await asyncio.sleep(0)
    one.lose("the link broke")
    assert not await flushing


async def test_a_message_that_could_not_be_acknowledged_any_more_stays_in_doubt() -> None:
    one = session(Channel(), 1)
    one.owe(1)
    one.lose("the link broke")
    assert not await one.ack(1)
    assert one._owed == {1}


async def test_a_lane_is_left_settled_by_its_one_consumer_and_by_none_of_several() -> None:
    for has_order in (True, False):
        ledger = NotingLedger()
        one = session(Channel())
        await lane(ledger, one, has_order=has_order).leave_settled()
        assert ledger.settled == ([one.epoch] if has_order else [])


async def test_a_lane_is_not_left_settled_while_anything_is_owed_or_before_it_is_ours() -> None:
    ledger = NotingLedger()
    owing, standing_by = session(Channel(), 1), session(Channel())
    owing.owe(1)
    standing_by.epoch = None
    for one in (owing, standing_by):
        await lane(ledger, one).leave_settled()
    assert ledger.settled == []


@pytest.mark.parametrize("is_slow", [False, True])
async def test_a_lane_that_is_handed_over_is_left_settled_before_its_channel_closes_or_not_at_all(
    is_slow: bool,
) -> None:
    ledger, channel = NotingLedger(), Channel()
    one = session(channel)

    async def finish(_session: Session) -> None:
        await asyncio.sleep(10 if is_slow else 0)

    await lane(ledger, one).hand_over(finish, 0.05)
    assert ledger.settled == ([] if is_slow else [one.epoch])
    assert one.state is State.LEFT


class ClosingLane:
    """Notes what it is told to do, in order."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        async def note() -> None:
            self.told.append(name)

        return note


@pytest.mark.parametrize("is_settled", [True, False])
async def test_a_consumer_that_was_cut_off_leaves_its_lanes_in_doubt(is_settled: bool) -> None:
    """A save may have been on its way: what it says has ended is not acknowledged, and nobody knows."""
    closing, lanes = ClosingLane(), ConsumedLanes.__new__(ConsumedLanes)
    lanes.lasting, lanes._retired = cast("Any", [closing]), []
    lanes._context = cast("Any", SimpleNamespace(connection=ClosingLane()))
    consumer = Service.__new__(Service)
    consumer._handling = consumer._publisher = cast("Any", ClosingLane())
    consumer._lanes, consumer._is_settled = lanes, is_settled
    await consumer._close()
    assert closing.told == (["leave_settled"] if is_settled else []) + ["close"]


async def test_a_message_whose_handling_failed_is_owed_for_it_is_unknown_how_far_it_came() -> None:
    handling = Handling(Settings(), cast("Any", None), cast("Any", None))
    one, slot = session(Channel(), 1), Slot()
    slot.withdraw()

    async def fails(_delivery: Delivery, _slot: Slot) -> None:
        raise KeyError

    message = Message(b"{}", Basic.Properties(), "q", redelivered=False)
    with capture_logs():
        await handling._guarded(fails, Delivery(message, 1, one), slot)
    assert not await one.flush()
    assert await one.ack(1)
    assert await one.flush()
