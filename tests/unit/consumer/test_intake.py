"""Taking messages in: in order, a few at a time, and no more bytes than there is room for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader

from signalq.amqp.port import Arrival, Taken
from signalq.amqp.wire import FRAME_HEAD
from signalq.consumer.broker.intake import (
    STEP_BYTES_MAX,
    STEP_MESSAGES_MAX,
    WHOLE_BODY_BYTES_MAX,
    Deliveries,
    Intake,
    Room,
)
from signalq.message.strict_json import BODY_BYTES_MAX


@dataclass(frozen=True)
class Given:
    """A delivery."""

    tag: int
    body_bytes: int
    header_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        return self.body_bytes + self.header_bytes


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- handing over ----------------------------------------------------------------------------------------------------


def intake(bytes_max: int = 1_000_000) -> tuple[Intake[Given], list[int]]:
    gone: list[int] = []
    return Intake(lambda given: gone.append(given.tag), bytes_max), gone


async def test_nothing_is_handed_over_before_the_lane_is_ours_and_then_in_order() -> None:
    taken, gone = intake()
    for tag in range(5):
        taken.take(Given(tag, 300))
    await steps(5)
    assert gone == []
    taken.begin()
    await steps(2)
    assert gone == list(range(5))


async def test_a_step_of_the_loop_hands_over_a_few_messages() -> None:
    taken, gone = intake()
    taken.begin()
    for tag in range(50):
        taken.take(Given(tag, 300))
    most = 0
    while len(gone) < 50:
        before = len(gone)
        await steps(1)
        most = max(most, len(gone) - before)
    assert (gone, most) == (list(range(50)), STEP_MESSAGES_MAX)


async def test_a_step_of_the_loop_hands_over_one_large_message() -> None:
    taken, gone = intake()
    taken.begin()
    for tag in range(5):
        taken.take(Given(tag, STEP_BYTES_MAX + 1))
    for number in range(5):
        await steps(1)
        assert len(gone) <= number + 1
    await steps(2)
    assert gone == list(range(5))


async def test_a_message_without_room_waits_until_an_earlier_one_is_settled() -> None:
    taken, gone = intake(bytes_max=1000)
    taken.begin()
    for tag in range(4):
        taken.take(Given(tag, 500))
    await steps(5)
    assert gone == [0, 1]
    taken.settled(1)
    await steps(5)
    assert gone == [0, 1, 2]
    taken.settled(99)  # never handed over
    await steps(5)
    assert gone == [0, 1, 2]
    taken.settled(0)
    await steps(5)
    assert gone == [0, 1, 2, 3]


async def test_a_message_that_is_larger_than_the_room_gets_it_alone() -> None:
    taken, gone = intake(bytes_max=1000)
    taken.begin()
    for tag, size in ((0, 10), (1, 5000), (2, 10)):
        taken.take(Given(tag, size))
    await steps(5)
    assert gone == [0]
    taken.settled(0)
    await steps(5)
    assert gone == [0, 1]
    taken.settled(1)
    await steps(5)
    assert gone == [0, 1, 2]


async def test_headers_take_room_as_bodies_do_and_make_no_order_a_bulky_one() -> None:
    taken, gone = intake(bytes_max=1000)
    taken.begin()
    for tag in range(3):
        taken.take(Given(tag, 100, header_bytes=BODY_BYTES_MAX))
    await steps(5)
    assert gone == [0]


async def test_a_message_that_is_no_order_goes_ahead_of_waiting_ones() -> None:
    taken, gone = intake(bytes_max=1000)
    taken.begin()
    for tag, size in ((0, 900), (1, 900), (2, BODY_BYTES_MAX + 1), (3, BODY_BYTES_MAX + 1)):
        taken.take(Given(tag, size))
    await steps(5)
    assert sorted(gone) == [0, 2, 3]


async def test_after_the_session_nothing_is_handed_over() -> None:
    taken, gone = intake(bytes_max=1000)
    taken.begin()
    taken.take(Given(0, 900))
    taken.close()
    taken.take(Given(1, 10))
    taken.settled(0)
    await steps(5)
    assert gone == []


# --- room ------------------------------------------------------------------------------------------------------------


def room_of_any(bytes_max: int = 1000) -> tuple[Room, list[bool]]:
    """Room in which all bodies count and may have to wait, and the calls that say that there may be some."""
    room, calls = Room(bytes_max, lambda _bytes: True), list[bool]()
    room.on_room = lambda: calls.append(True)
    room.begin()
    return room, calls


def test_a_reader_waits_for_room_and_goes_on_when_there_is_some() -> None:
    room, calls = room_of_any()
    assert room.take(1, 600)
    assert room.is_crowded
    assert not room.take(2, 600)
    room.give(99)
    assert not calls
    room.give(1)
    assert calls
    assert room.take(2, 600)


@pytest.mark.parametrize("ends", [Room.close, lambda room: room.give(1)])
def test_a_reader_never_waits_in_vain(ends: Any) -> None:
    room, calls = room_of_any()
    assert room.take(1, 5000)  # more than all of it, when it is empty
    assert not room.take(2, 1)
    ends(room)
    assert calls
    assert room.take(2, 1)


def test_orders_take_no_room_of_a_lane_for_they_may_wait_long() -> None:
    room = Room(1000)
    room.begin()
    assert all(room.take(tag, BODY_BYTES_MAX) for tag in range(100))
    assert not room.is_crowded


def test_before_the_lane_is_ours_no_reader_waits_for_messages_that_can_not_leave_yet() -> None:
    room = Room(1000, lambda _bytes: True)
    assert all(room.take(tag, 1000) for tag in range(100))


def arriving(room: Room, *frames: FrameTypes) -> tuple[list[Arrival], list[Taken]]:
    """The messages that these frames bring, and what became of each frame."""
    arrived: list[Arrival] = []
    port = Deliveries(room, arrived.append)
    taken = []
    for frame in frames:
        kind, _, _ = FRAME_HEAD.unpack_from(written := marshal(frame, 1))
        taken.append(port.take(kind, written[FRAME_HEAD.size : -1]))
    return arrived, taken


def test_headers_take_room_as_bodies_do() -> None:
    room, _ = room_of_any()
    header = ContentHeader(body_size=0, properties=Basic.Properties(headers={"a": [{"b": "x" * 400}]}))
    arrived, _ = arriving(room, Basic.Deliver("tag", 1, routing_key="q"), header)
    assert len(arrived) == 1
    assert room.is_crowded


def test_a_message_without_room_is_not_read_and_nothing_behind_it_is() -> None:
    room, _ = room_of_any()
    room.take(1, 900)
    _, taken = arriving(room, Basic.Deliver("tag", 2, routing_key="q"), ContentHeader(body_size=900))
    assert taken == [Taken.HERE, Taken.NOT_YET]


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (0, 0),
        (300, 300),
        (WHOLE_BODY_BYTES_MAX, WHOLE_BODY_BYTES_MAX),
        (WHOLE_BODY_BYTES_MAX + 1, BODY_BYTES_MAX),
        (5 * WHOLE_BODY_BYTES_MAX, BODY_BYTES_MAX),
    ],
)
@pytest.mark.parametrize("frame_bytes", [1000, 131_064])
def test_the_beginning_of_a_long_body_is_kept(size: int, kept: int, frame_bytes: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    parts = [ContentBody(body[at : at + frame_bytes]) for at in range(0, size, frame_bytes)]
    arrived, taken = arriving(
        Room(1_000_000),
        Basic.Deliver("tag", 1, routing_key="q", redelivered=True),
        ContentHeader(body_size=size),
        *parts,
    )
    assert set(taken) == {Taken.HERE}
    (message,) = arrived
    assert message.body == body[:kept]
    assert (message.tag, message.redelivered, message.body_bytes) == (1, True, size)
