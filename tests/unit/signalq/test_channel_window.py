"""The window of a channel beside a broker that says what a test wants it to: numbers, returns, refusals, room."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from weakref import WeakValueDictionary

import aiormq
import pytest
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel
from pamqp.frame import unmarshal
from pamqp.header import ContentHeader

from signalq.amqp.publisher import ConfirmingChannel
from signalq.errors import BrokerUnreachable, Unconfirmed, Unroutable
from signalq.publishing import channel_window
from signalq.publishing.channel_window import ChannelWindow, WindowPublisher


class AiormqChannel:
    """What the window needs of aiormq's channel."""

    number = 3
    max_content_size = 1000

    def __init__(self) -> None:
        self.frames: Any = asyncio.Queue()
        self.write_queue: asyncio.Queue[Any] = asyncio.Queue()
        self.closing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_closed(self) -> bool:
        return self.closing.done()

    async def close(self) -> None:
        if not self.closing.done():
            self.closing.set_exception(aiormq.exceptions.ChannelClosed(None, None))


class Scene:
    """A window, the broker's side of it, and how each message ended."""

    def __init__(self) -> None:
        self.aiormq = AiormqChannel()
        self.opened = ConfirmingChannel(cast("Any", self.aiormq), WeakValueDictionary())
        self.window = ChannelWindow(self.opened)
        self.ends: dict[str, Any] = {}
        self.handed_on: list[Any] = []

    def send(self, *names: str, exchange: str = "x", message_id: str | None = None, body: bytes = b"body") -> None:
        """Send a message of each name; its id is its name unless another is given."""
        for name in names:
            properties = Basic.Properties(message_id=message_id or name)
            self.window.send(exchange, name, body, properties, lambda error, name=name: self._ended(name, error))

    def _ended(self, name: str, error: Any) -> None:
        assert name not in self.ends, "told once"
        self.ends[name] = error

    async def written(self) -> list[list[str]]:
        """The names in each write since the last look, once this turn of the loop is over."""
        await asyncio.sleep(0)
        writes = []
        while not self.aiormq.write_queue.empty():
            payload, names = self.aiormq.write_queue.get_nowait().payload, []
            while payload:
                size, channel, frame = unmarshal(payload)
                assert channel == 3
                names += [frame.routing_key] if isinstance(frame, Basic.Publish) else []
                payload = payload[size:]
            writes.append(names)
        return writes

    async def hear(self, *frames: Any) -> None:
        """Let the broker say this."""
        for frame in frames:
            await self.aiormq.frames.put((0, frame))

    async def returned(self, message_id: str) -> None:
        """Let the broker return a message, as it does before it confirms it."""
        header = ContentHeader(body_size=4, properties=Basic.Properties(message_id=message_id))
        await self.hear(Basic.Return(312, "NO_ROUTE", "x", "k"), header, ContentBody(b"body"))


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_the_messages_of_one_turn_are_written_at_once_in_order(scene: Scene) -> None:
    scene.send("a", "b", "c")
    assert await scene.written() == [["a", "b", "c"]]
    scene.send("d")
    assert await scene.written() == [["d"]]


async def test_a_long_body_is_cut_into_frames_that_the_broker_takes(scene: Scene) -> None:
    scene.send("a", body=b"x" * 2500)
    await asyncio.sleep(0)
    payload, sizes = scene.aiormq.write_queue.get_nowait().payload, []
    while payload:
        size, _, frame = unmarshal(payload)
        sizes += [len(frame.value)] if isinstance(frame, ContentBody) else []
        payload = payload[size:]
    assert sizes == [1000, 1000, 500]


async def test_a_confirm_is_for_its_number_or_for_all_up_to_it(scene: Scene) -> None:
    scene.send(*"abcdef")
    await scene.hear(Basic.Ack(3))
    assert list(scene.ends) == ["c"]
    await scene.hear(Basic.Ack(4, multiple=True))
    assert list(scene.ends) == ["c", "a", "b", "d"]
    await scene.hear(Basic.Ack(6), Basic.Ack(6), Basic.Ack(2), Basic.Ack(99), Basic.Ack(5, multiple=True))
    assert list(scene.ends) == [*"cabdfe"]
    assert set(scene.ends.values()) == {None}


async def test_a_returned_message_is_unroutable_and_the_others_are_not(scene: Scene) -> None:
    scene.send("a", "b", "c")
    await scene.returned("b")
    await scene.hear(Basic.Ack(3, multiple=True))
    assert [type(scene.ends[name]) for name in "abc"] == [type(None), Unroutable, type(None)]
    assert scene.ends["b"].message_id == "b"


async def test_a_return_is_not_forgotten_when_the_connection_breaks_before_its_confirm(scene: Scene) -> None:
    scene.send("a", "b")
    await scene.returned("b")
    scene.aiormq.closing.set_exception(aiormq.AMQPConnectionError("gone"))
    await asyncio.sleep(0)
    assert [type(scene.ends[name]) for name in "ab"] == [Unconfirmed, Unroutable]


async def test_of_one_message_id_one_is_in_flight_so_that_a_return_names_one(scene: Scene) -> None:
    scene.send("a", "b", "c", message_id="same")
    scene.send("d")
    assert await scene.written() == [["a", "d"]]
    await scene.returned("same")
    await scene.hear(Basic.Ack(1))
    assert await scene.written() == [["b"]]
    await scene.hear(Basic.Ack(3))
    assert await scene.written() == [["c"]]
    await scene.hear(Basic.Ack(4, multiple=True))
    assert [type(scene.ends[name]) for name in "abc"] == [Unroutable, type(None), type(None)]
    assert scene.ends["d"] is None
    assert not scene.window._by_id


async def test_a_refusal_spends_the_channel_which_closes_once_all_on_it_have_ended(scene: Scene) -> None:
    scene.send("a", "b", "c")
    await scene.hear(Basic.Nack(2))
    assert isinstance(scene.ends["b"], Unconfirmed)
    assert "refused" in str(scene.ends["b"])
    assert not scene.opened.is_good
    scene.send("late")
    await asyncio.sleep(0)
    assert isinstance(scene.ends["late"], Unconfirmed)
    assert await scene.written() == [["a", "b", "c"]]
    assert not scene.aiormq.is_closed
    await scene.hear(Basic.Ack(3, multiple=True))
    assert (scene.ends["a"], scene.ends["c"]) == (None, None)
    await asyncio.wait_for(asyncio.wait([scene.aiormq.closing]), 5)


async def test_the_broker_closing_the_channel_stops_what_is_not_written_and_ends_all(scene: Scene) -> None:
    scene.send("a")
    await scene.written()
    scene.send("b")
    scene.send("c", exchange="none")
    await scene.hear(Channel.Close(404, "NOT_FOUND - no exchange 'none' in vhost '/'", 60, 40))
    assert await scene.written() == []
    assert isinstance(scene.aiormq.frames.get_nowait()[1], Channel.Close), "aiormq answers it"
    assert scene.ends == {}
    cause = aiormq.exceptions.ChannelNotFoundEntity("NOT_FOUND - no exchange 'none' in vhost '/'")
    scene.aiormq.closing.set_exception(cause)
    await asyncio.sleep(0)
    assert {name: type(end) for name, end in scene.ends.items()} == {
        "a": Unconfirmed,
        "b": Unconfirmed,
        "c": Unroutable,
    }
    assert scene.ends["a"].__cause__ is cause


async def test_above_its_bytes_it_has_no_room_until_enough_are_confirmed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_window, "BYTES_MAX", 1000)
    scene.send("a", body=b"x" * 500)
    assert scene.window.room.is_set()
    scene.send("b", body=b"x" * 500)
    assert not scene.window.room.is_set()
    await scene.hear(Basic.Ack(1))
    assert scene.window.room.is_set()


async def test_a_publish_waits_for_room_and_a_closed_channel_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_window, "BYTES_MAX", 100)
    first, second = Scene(), Scene()
    opened = [first.opened, second.opened]
    publisher = WindowPublisher("amqp://nobody/", name="test")

    async def channel() -> ConfirmingChannel:
        return next(one for one in opened if one.is_good)

    monkeypatch.setattr(publisher, "channel", channel)
    with_windows = [asyncio.create_task(publisher.window()) for _ in range(2)]
    window = (await asyncio.gather(*with_windows))[0]
    window.send("x", "k", b"x" * 200, Basic.Properties(message_id="a"), lambda _error: None)
    waiting = asyncio.create_task(publisher.window())
    await asyncio.sleep(0)
    assert not waiting.done()
    first.aiormq.closing.set_exception(aiormq.AMQPConnectionError("gone"))
    assert (await asyncio.wait_for(waiting, 5)).opened is second.opened


async def test_a_caller_that_has_given_up_is_not_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher = WindowPublisher("amqp://nobody/", name="test")

    async def window() -> ChannelWindow:
        return scene.window

    monkeypatch.setattr(publisher, "window", window)
    publishing = asyncio.create_task(publisher.publish("x", "k", b"b", Basic.Properties(message_id="a")))
    assert await scene.written() == []  # it begins in this turn
    assert await scene.written() == [["k"]]
    publishing.cancel()
    await asyncio.wait([publishing])
    assert publishing.cancelled()
    await scene.hear(Basic.Ack(1))
    assert not scene.window._by_id, "but its message keeps its number and its place until then"


async def test_a_closed_or_forked_publisher_says_so_though_another_call_waits_for_its_turn() -> None:
    publisher = WindowPublisher("amqp://nobody/", name="test")
    await publisher._in_order.acquire()
    await publisher.close()
    with pytest.raises(BrokerUnreachable, match="closed"):
        await publisher.window()


async def test_a_call_does_not_overtake_one_that_waits_for_room(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_window, "BYTES_MAX", 200)
    publisher = WindowPublisher("amqp://nobody/", name="test")

    async def channel() -> ConfirmingChannel:
        return scene.opened

    monkeypatch.setattr(publisher, "channel", channel)
    publisher._window = scene.window

    def publish(name: str) -> asyncio.Task[None]:
        return asyncio.create_task(publisher.publish("x", name, b"x" * 150, Basic.Properties(message_id=name)))

    publishing = [publish("a"), publish("b"), publish("c")]
    assert await scene.written() == []  # they begin in this turn
    assert await scene.written() == [["a"]]
    await scene.hear(Basic.Ack(1))
    publishing.append(publish("d"))
    written: list[str] = []
    for number in range(2, 5):
        while len(written) < number - 1:
            written += [name for names in await scene.written() for name in names]
        await scene.hear(Basic.Ack(number))
    await asyncio.wait_for(asyncio.gather(*publishing), 5)
    assert written == ["b", "c", "d"]
