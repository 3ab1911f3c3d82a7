"""The frames of a connection: cut as they come, handed over or passed on, and joined as they leave."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError, DeliveryError, PublishError
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import FrameTypes, marshal
from pamqp.header import ContentHeader

from signalq.amqp import incoming as incoming_module
from signalq.amqp import port as port_module
from signalq.amqp import wire
from signalq.amqp.confirms import Confirms
from signalq.amqp.foreign_properties import read_properties
from signalq.amqp.incoming import Incoming
from signalq.amqp.outbox import Outbox
from signalq.amqp.port import Arrival, Port
from signalq.message.envelope import publish_properties
from tests.support.waiting import wait_until

PROPERTIES = publish_properties(message_id="id-1", strategy_name="ma-cross", created_ms=1_700_000_000_123)
PART_BYTES_MAX = 131_072 - 8


# --- written by ourselves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body_bytes", [0, 1, 300, PART_BYTES_MAX, PART_BYTES_MAX + 1, 3 * PART_BYTES_MAX])
@pytest.mark.parametrize("mandatory", [True, False])
def test_a_publish_is_written_as_pamqp_writes_it(body_bytes: int, mandatory: bool) -> None:
    body = bytes(body_bytes)
    written = wire.publish(
        3, "signalq.orders", "grüße", body, PROPERTIES, mandatory=mandatory, part_bytes_max=PART_BYTES_MAX
    )
    frames: list[Any] = [
        Basic.Publish(exchange="signalq.orders", routing_key="grüße", mandatory=mandatory),
        ContentHeader(body_size=body_bytes, properties=PROPERTIES),
        *(ContentBody(body[at : at + PART_BYTES_MAX]) for at in range(0, body_bytes, PART_BYTES_MAX)),
    ]
    assert written == ChannelFrame.marshall(3, frames).payload


@pytest.mark.parametrize("body_bytes", [0, 300_000])
def test_for_a_broker_that_bounds_no_frame_a_body_is_one(body_bytes: int) -> None:
    written = wire.publish(3, "", "q", bytes(body_bytes), PROPERTIES, mandatory=True, part_bytes_max=-8)
    assert (marshal(ContentBody(bytes(body_bytes)), 3) in written) == bool(body_bytes)


def test_an_acknowledgement_is_written_as_pamqp_writes_it() -> None:
    assert wire.ack(3, 1 << 40) == marshal(Basic.Ack(delivery_tag=1 << 40), 3)


def test_a_name_that_is_too_long_is_not_written() -> None:
    with pytest.raises(ValueError, match="256 bytes"):
        wire.publish(3, "", "x" * 256, b"", PROPERTIES, mandatory=True, part_bytes_max=PART_BYTES_MAX)


# --- coming in -------------------------------------------------------------------------------------------------------


class Transport:
    """Notes whether it is read."""

    def __init__(self) -> None:
        self.is_read = True
        self.is_aborted = False

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def abort(self) -> None:
        self.is_aborted = True


class Wire:
    """A connection's incoming side; `passed_on` is what aiormq gets."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.reader = asyncio.StreamReader()
        self.arrived: list[Arrival] = []
        self.incoming = Incoming(self.reader, cast("Any", self.transport))
        self.incoming._signed_s = float("inf")  # no signs of life, where a test asks for none
        self.port = self.incoming.ports[1] = Port(wire.BASIC.DELIVER, self.arrived.append)

    @property
    def passed_on(self) -> bytes:
        return bytes(self.reader._buffer)  # type: ignore[attr-defined]

    def feed(self, *frames: FrameTypes, channel: int = 1) -> None:
        self.incoming.feed(written(*frames, channel=channel))


def written(*frames: FrameTypes, channel: int = 1) -> bytes:
    return b"".join(marshal(frame, channel) for frame in frames)


def delivery(tag: int, body: bytes = b"{}", **properties: Any) -> tuple[FrameTypes, ...]:
    return (
        Basic.Deliver("consumer", tag, exchange="signalq.orders", routing_key="main"),
        ContentHeader(body_size=len(body), properties=Basic.Properties(**properties)),
        *([ContentBody(body)] if body else []),
    )


async def test_a_message_is_handed_over_and_all_other_frames_go_on_in_their_order() -> None:
    others = [marshal(frame, 1) for frame in (Basic.QosOk(), Basic.ConsumeOk("consumer"))]
    of_another_channel = written(*delivery(1), channel=2)
    one = Wire()
    one.incoming.feed(others[0] + written(*delivery(1, message_id="a")) + others[1] + of_another_channel)
    assert one.passed_on == b"".join(others) + of_another_channel
    (message,) = one.arrived
    assert (message.tag, message.exchange, message.routing_key) == (1, "signalq.orders", "main")
    assert (message.body, message.body_bytes, message.properties.message_id) == (b"{}", 2, "a")


@pytest.mark.parametrize("bytes_at_a_time", [1, 2, 7, 100])
async def test_frames_may_come_in_any_pieces(bytes_at_a_time: int) -> None:
    one = Wire()
    other = marshal(Basic.QosOk(), 1)
    stream = written(*delivery(1)) + other + written(*delivery(2, b"")) + other
    for at in range(0, len(stream), bytes_at_a_time):
        one.incoming.feed(stream[at : at + bytes_at_a_time])
    assert [(message.tag, message.body) for message in one.arrived] == [(1, b"{}"), (2, b"")]
    assert one.passed_on == other * 2


async def test_a_step_hands_over_so_many_frames_and_the_socket_waits_for_the_next_one() -> None:
    one = Wire()
    count = incoming_module.STEP_FRAMES_MAX
    one.feed(*(frame for tag in range(count) for frame in delivery(tag)))
    assert len(one.arrived) == count // 3
    assert not one.transport.is_read
    one.feed(*delivery(count))  # what the socket still had
    assert len(one.arrived) == count // 3
    await wait_until(lambda: len(one.arrived) == count + 1)
    assert [message.tag for message in one.arrived] == list(range(count + 1))
    assert one.transport.is_read


async def test_a_step_reads_one_large_table_of_headers() -> None:
    one = Wire()
    headers: Any = {"x": "y" * incoming_module.STEP_PROPERTIES_BYTES_MAX}
    one.feed(*delivery(1, headers=headers), *delivery(2, headers=headers))
    assert len(one.arrived) == 0
    await wait_until(lambda: len(one.arrived) == 2)


async def test_where_there_is_no_room_nothing_is_read_until_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Wire()
    has_room = False
    read: list[bytes] = []

    def read_and_note(data: bytes) -> Basic.Properties:
        read.append(data)
        return read_properties(data)

    monkeypatch.setattr(one.port, "has_room", lambda *_message: has_room)
    monkeypatch.setattr(port_module, "read_properties", read_and_note)
    one.feed(*delivery(1), *delivery(2))
    for _ in range(3):
        one.incoming.go_on()
        await asyncio.sleep(0)
    assert one.arrived == []
    assert len(read) == 1
    assert not one.transport.is_read
    has_room = True
    one.incoming.go_on()
    await wait_until(lambda: len(one.arrived) == 2)
    assert one.transport.is_read


async def test_behind_its_channels_close_a_port_gets_nothing() -> None:
    """The number may belong to another channel by then, of which the port knows nothing."""
    one = Wire()
    one.feed(spec.Channel.CloseOk(), *delivery(1))
    assert one.arrived == []
    assert one.passed_on == written(spec.Channel.CloseOk(), *delivery(1))


async def test_bytes_that_are_no_frame_go_on_with_all_behind_them() -> None:
    one = Wire()
    for piece in (b"HTTP", b"/1.1 400", written(*delivery(1))):
        one.incoming.feed(piece)
    assert one.passed_on == b"HTTP/1.1 400" + written(*delivery(1))
    assert not one.transport.is_aborted
    ends_otherwise = Wire()
    garbled = written(*delivery(1))[:-1] + b"\0"
    ends_otherwise.incoming.feed(garbled)
    assert ends_otherwise.passed_on == garbled[-len(marshal(ContentBody(b"{}"), 1)) :]
    assert ends_otherwise.arrived == []


async def test_a_message_that_can_not_be_handed_over_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Wire()

    def fails(arrival: Arrival) -> None:
        one.arrived.append(arrival)
        if arrival.tag == 2:
            raise KeyError("x")

    monkeypatch.setattr(one.port, "on_arrival", fails)
    one.feed(*delivery(1), *delivery(2), *delivery(3))
    one.feed(*delivery(4))
    one.incoming.go_on()
    await asyncio.sleep(0)
    assert [message.tag for message in one.arrived] == [1, 2], "none is handed over twice, and none out of order"
    assert one.transport.is_aborted
    with pytest.raises(Exception, match="KeyError"):
        await one.reader.read(1)


async def test_a_connection_that_is_busy_gives_signs_of_life() -> None:
    one = Wire()
    one.incoming._signed_s = float("-inf")
    for tag in (1, 2, 3):
        one.feed(*delivery(tag))
    assert one.passed_on == wire.HEARTBEAT_FRAME
    one.incoming._signed_s -= incoming_module.SIGN_OF_LIFE_S
    one.feed(*delivery(4))
    assert one.passed_on == wire.HEARTBEAT_FRAME * 2


# --- leaving ---------------------------------------------------------------------------------------------------------


class Written(asyncio.WriteTransport):
    """Notes what is written, each write by itself."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.has_ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.has_ended


def outbox(transport: asyncio.WriteTransport | None = None) -> Outbox:
    """With channel 1 open."""
    made = Outbox.amend(asyncio.Queue(10), transport or Written())
    made.put_nowait(ChannelFrame.marshall(1, [spec.Channel.Open()]))
    made.get_nowait()
    return made


def queued(payload: bytes) -> ChannelFrame:
    return ChannelFrame(marshal(ContentBody(payload), 1), should_close=False)


async def test_the_frames_of_orders_that_a_step_brings_leave_in_one_write_behind_it() -> None:
    written = Written()
    box = outbox(written)
    for _ in range(2):
        for tag in range(100):
            box.send(1, wire.ack(1, tag))
        assert not written.writes
        await asyncio.sleep(0)
        assert written.writes == [b"".join(wire.ack(1, tag) for tag in range(100))]
        written.writes.clear()


async def test_all_frames_leave_in_the_order_in_which_they_came_also_aiormqs_own() -> None:
    written = Written()
    box = outbox(written)

    async def aiormqs_writer() -> None:
        while True:
            written.write((await box.get()).payload)

    writing = asyncio.create_task(aiormqs_writer())
    await asyncio.sleep(0)
    for tag in range(3):
        box.send(1, wire.ack(1, tag))
        await box.put(queued(b"%d" % tag))
    box.send(1, wire.ack(1, 3))
    for _ in range(5):
        await asyncio.sleep(0)
    writing.cancel()
    ours, aiormqs = [wire.ack(1, tag) for tag in range(4)], [queued(b"%d" % tag).payload for tag in range(3)]
    pairs = [frame for pair in zip(ours, aiormqs, strict=False) for frame in pair]
    assert b"".join(written.writes) == b"".join([*pairs, ours[3]])


async def test_nothing_is_written_once_the_connection_has_ended() -> None:
    written = Written()
    box = outbox(written)
    box.send(1, wire.ack(1, 1))
    written.has_ended = True
    await asyncio.sleep(0)
    assert written.writes == []


async def test_the_queue_has_room_for_every_frame_of_aiormqs_own() -> None:
    box = outbox()
    for number in range(100):
        await box.put(queued(b"%d" % number))
    assert box.qsize() == 100


@pytest.mark.parametrize("close", [spec.Channel.Close(reply_code=0, class_id=0, method_id=0), spec.Channel.CloseOk()])
async def test_behind_its_channels_close_nothing_is_written(close: Any) -> None:
    """RabbitMQ would end the connection, and all its channels."""
    box = outbox()
    box.send(1, wire.ack(1, 1))
    await box.put(ChannelFrame.marshall(1, [close]))
    with pytest.raises(ChannelInvalidStateError):
        box.send(1, wire.ack(1, 2))
    await box.put(ChannelFrame.marshall(1, [spec.Channel.Open()]))
    box.send(1, wire.ack(1, 1))


# --- confirms --------------------------------------------------------------------------------------------------------


class Confirming:
    """The messages of one channel; `sent` has those that were written."""

    def __init__(self, **bounds: int) -> None:
        self.sent: list[bytes] = []
        self.confirms = Confirms(self.sent.append, **bounds)

    def hear(self, *frames: FrameTypes) -> None:
        for frame in frames:
            kind, _, _ = wire.FRAME_HEAD.unpack_from(written := marshal(frame, 1))
            self.confirms.take(kind, written[wire.FRAME_HEAD.size : -1])

    def publish(self, *messages: bytes) -> list[asyncio.Future[None]]:
        return [self.confirms.publish(message) for message in messages]


def names(futures: list[asyncio.Future[None]]) -> list[str]:
    """What became of each message."""
    return [
        "waits" if not one.done() else type(error).__name__ if (error := one.exception()) is not None else "confirmed"
        for one in futures
    ]


async def test_a_message_is_confirmed_by_its_number_or_with_all_up_to_it() -> None:
    one = Confirming()
    messages = one.publish(*[b"x"] * 6)
    one.hear(Basic.Ack(5))
    assert names(messages) == ["waits"] * 4 + ["confirmed", "waits"]
    one.hear(Basic.Ack(2, multiple=True))
    assert names(messages) == ["confirmed"] * 2 + ["waits"] * 2 + ["confirmed", "waits"]
    one.hear(Basic.Ack(5), Basic.Nack(4), Basic.Ack(6, multiple=True))
    assert names(messages) == ["confirmed"] * 3 + ["DeliveryError"] + ["confirmed"] * 2
    assert isinstance(messages[3].exception(), DeliveryError)


async def test_all_up_to_a_number_may_be_refused() -> None:
    one = Confirming()
    messages = one.publish(*[b"x"] * 3)
    one.hear(Basic.Nack(2, multiple=True))
    assert names(messages) == ["DeliveryError"] * 2 + ["waits"]


async def test_a_message_that_is_returned_is_known_by_its_address_and_its_confirm_changes_nothing() -> None:
    one = Confirming()
    addresses = [("a", "", "q"), ("b", "", "q"), ("b", "", "q"), ("b", "x", "q")]
    messages = [one.confirms.publish(b"x", address) for address in addresses]
    returned: list[FrameTypes] = [
        Basic.Return(312, "NO_ROUTE", exchange="", routing_key="q"),
        ContentHeader(body_size=3, properties=Basic.Properties(message_id="b")),
        ContentBody(b"abc"),
    ]
    one.hear(*returned, Basic.Ack(2))
    assert names(messages) == ["waits", "PublishError", "waits", "waits"]
    one.hear(*returned, Basic.Ack(4, multiple=True))
    assert names(messages) == ["confirmed", "PublishError", "PublishError", "confirmed"]
    assert isinstance(messages[1].exception(), PublishError)


async def test_of_one_address_one_message_is_on_its_way_and_holds_up_no_other() -> None:
    one = Confirming()
    same = ("a", "", "q")
    first, second, third = (one.confirms.publish(body, same) for body in (b"1", b"2", b"3"))
    (other,) = one.publish(b"other")
    assert one.sent == [b"1", b"other"]
    second.cancel()
    one.hear(Basic.Ack(2))
    assert names([first, third, other]) == ["waits", "waits", "confirmed"]
    assert one.sent == [b"1", b"other"]
    one.hear(Basic.Nack(1))
    assert one.sent == [b"1", b"other", b"3"]
    one.hear(Basic.Ack(3))
    assert names([first, third]) == ["DeliveryError", "confirmed"]
    assert not one.confirms._by_address


async def test_a_message_that_waits_for_another_of_its_address_fails_with_the_channel() -> None:
    one = Confirming()
    same = [one.confirms.publish(b"x", ("a", "", "q")) for _ in range(2)]
    closing: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    closing.set_exception(KeyError("the reason"))
    one.confirms.end(closing)
    assert names(same) == ["KeyError"] * 2
    assert not one.confirms._by_address


async def test_a_return_is_for_the_first_of_two_even_if_nobody_waits_for_that_one_any_more() -> None:
    one = Confirming()
    first, second = (one.confirms.publish(b"x", ("a", "", "q")) for _ in range(2))
    first.cancel()
    one.hear(Basic.Return(312, "", "", "q"), ContentHeader(properties=Basic.Properties(message_id="a")), Basic.Ack(1))
    assert names([second]) == ["waits"]


async def test_so_many_messages_are_on_their_way_and_the_others_follow_in_order() -> None:
    one = Confirming(unconfirmed_max=2)
    messages = one.publish(b"a", b"b", b"c", b"d", b"e")
    assert one.sent == [b"a", b"b"]
    messages[2].cancel()
    one.hear(Basic.Ack(1))
    assert one.sent == [b"a", b"b", b"d"]
    one.hear(Basic.Ack(3, multiple=True))
    assert one.sent == [b"a", b"b", b"d", b"e"]
    one.hear(Basic.Ack(4))
    assert not any(message.cancelled() for message in (messages[0], messages[1], messages[3], messages[4]))
    assert all(message.done() for message in messages)


async def test_so_many_bytes_are_on_their_way_and_a_larger_message_goes_alone() -> None:
    one = Confirming(unconfirmed_bytes_max=10)
    one.publish(b"x" * 6, b"y" * 4, b"z" * 11, b"w")
    assert len(one.sent) == 2
    one.hear(Basic.Ack(1))
    assert len(one.sent) == 2
    one.hear(Basic.Ack(2))
    assert one.sent[2:] == [b"z" * 11]
    one.hear(Basic.Ack(3))
    assert len(one.sent) == 4


async def test_a_message_whose_publisher_was_canceled_keeps_its_number() -> None:
    one = Confirming()
    first, second = one.publish(b"a", b"b")
    first.cancel()
    one.hear(Basic.Ack(1))
    assert not second.done()
    one.hear(Basic.Ack(2))
    assert names([second]) == ["confirmed"]


async def test_when_the_channel_closes_every_message_fails_by_its_reason_and_so_do_later_ones() -> None:
    one = Confirming(unconfirmed_max=1)
    messages = one.publish(b"sent", b"waiting")
    closing: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    closing.set_exception(KeyError("the reason"))
    one.confirms.end(closing)
    messages += one.publish(b"late")
    assert names(messages) == ["KeyError"] * 3
    assert one.sent == [b"sent"]


async def test_a_message_that_can_not_be_written_takes_no_number() -> None:
    one = Confirming()
    is_closing = True

    def send(_frames: bytes) -> None:
        if is_closing:
            raise ChannelInvalidStateError

    one.confirms._send = send
    (refused,) = one.publish(b"x")
    assert names([refused]) == ["ChannelInvalidStateError"]
    is_closing = False
    (sent,) = one.publish(b"x")
    one.hear(Basic.Ack(1))
    assert names([sent]) == ["confirmed"]
