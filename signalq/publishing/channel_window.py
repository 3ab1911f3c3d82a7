"""The messages in flight on one channel: written once a turn of the event loop, confirmed by their numbers."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import takewhile
from typing import Any, cast

import aiormq
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from signalq.amqp.connection import HEARTBEAT_S, close_in_time
from signalq.amqp.publisher import ConfirmedPublisher, ConfirmingChannel, _refusal
from signalq.errors import BrokerUnreachable, PublishError, Unconfirmed, Unroutable

BYTES_MAX = 4_194_304
"""Sent on one channel and not yet confirmed; above it, the next message waits. A broker in need confirms nothing."""

Ended = Callable[[PublishError | None], None]
"""Is told how a message ended: confirmed (None), Unroutable or Unconfirmed. It must not raise."""


class WindowPublisher(ConfirmedPublisher):
    """A ConfirmedPublisher whose messages pass aiormq by: each channel has a window of those that are in flight."""

    def __init__(self, url: str, *, name: str, heartbeat_s: int = HEARTBEAT_S) -> None:
        super().__init__(url, name=name, heartbeat_s=heartbeat_s)
        self._window: ChannelWindow | None = None
        self._in_order = asyncio.Lock()

    async def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: Basic.Properties, *, mandatory: bool = True
    ) -> None:
        """Do as ConfirmedPublisher does."""
        window = await self.window()
        ended: asyncio.Future[PublishError | None] = asyncio.get_running_loop().create_future()
        window.send(exchange, routing_key, body, properties, partial(_resolve, ended), mandatory=mandatory)
        if (error := await ended) is not None:
            raise error

    async def window(self) -> ChannelWindow:
        """The window of the open channel, opened now if there is none, once it has room. Raises BrokerUnreachable.

        Of several callers, none comes before one that waits.
        """
        if self.why_closed is not None:  # before the lock: one that a parent holds at a fork is never given back here
            raise BrokerUnreachable(self.why_closed)
        async with self._in_order:
            while True:
                opened = await self.channel()
                if self._window is None or self._window.opened is not opened:
                    self._window = ChannelWindow(opened)
                if self._window.room.is_set():
                    return self._window
                await self._window.room.wait()


def _resolve(ended: asyncio.Future[PublishError | None], error: PublishError | None) -> None:
    if not ended.done():  # its caller may have given it up
        ended.set_result(error)


@dataclass(slots=True, eq=False)
class _Sent:
    """A message from when it is sent until it has ended; `frames` is the message as it is written."""

    exchange: str
    routing_key: str
    message_id: str | None
    frames: bytes
    ended: Ended
    is_returned: bool = False

    def end(self, error: PublishError | None) -> None:
        """Tell how it ended: that it was returned, where it was, or else `error`."""
        if self.is_returned:
            error = Unroutable(f"no queue takes messages for {self.exchange or self.routing_key}", self.message_id)
        self.ended(error)

    def refused(self) -> Unconfirmed:
        """The error of a message that the broker has refused by a nack."""
        return Unconfirmed(f"RabbitMQ refused the message for {self.exchange or self.routing_key}", self.message_id)

    def broke(self, cause: BaseException | None) -> PublishError:
        """The error of a message whose channel has ended, by `cause`."""
        error: PublishError = Unconfirmed("the connection broke before RabbitMQ confirmed the message", self.message_id)
        if isinstance(cause, (aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ChannelAccessRefused)):
            error = _refusal(cause, self.exchange, self.message_id)
        error.__cause__ = cause
        return error


class ChannelWindow:
    """The messages in flight on one confirming channel, which nothing else publishes on.

    All that is sent in one turn of the event loop is written at once, in the order of the calls. RabbitMQ confirms by
    number: one, or all up to one. It returns a message that no queue takes before it confirms it, and names it by its
    message_id alone: so of one message_id one is in flight at a time, and the others wait behind it.

    `room` is set as long as less than BYTES_MAX is in flight. Once the channel of `opened` is not good any more (see
    ConfirmingChannel), nothing is sent on it; what is in flight ends.
    """

    def __init__(self, opened: ConfirmingChannel) -> None:
        self.opened = opened
        self.room = asyncio.Event()
        self.room.set()
        self._loop = asyncio.get_running_loop()
        self._unwritten: list[bytes] = []
        self._last_number = 0
        self._in_flight: OrderedDict[int, _Sent] = OrderedDict()
        self._by_id: dict[str | None, deque[_Sent]] = {}
        self._bytes = 0
        self._goodbye: asyncio.Task[None] | None = None
        # Past aiormq's own publish, and past its queue of the channel's frames.
        self._channel = cast("aiormq.Channel", opened.channel)
        self._pass_on = self._channel.frames.put
        cast("Any", self._channel.frames).put = self._received
        self._channel.closing.add_done_callback(self._closed)

    def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: Basic.Properties,
        ended: Ended,
        *,
        mandatory: bool = True,
    ) -> None:
        """Send a message; `ended` is told later, once, how it ended."""
        content = self._content(body, properties)
        frames = _method(self._channel.number, exchange, routing_key, mandatory=mandatory) + content
        sent = _Sent(exchange, routing_key, properties.message_id, frames, ended)
        if not self.opened.is_good:
            self._loop.call_soon(sent.end, sent.broke(None))
            return
        self._bytes += len(frames)
        if self._bytes >= BYTES_MAX:
            self.room.clear()
        same_id = self._by_id.setdefault(sent.message_id, deque())
        same_id.append(sent)
        if len(same_id) == 1:
            self._write(sent)

    def _content(self, body: bytes, properties: Basic.Properties) -> bytes:
        channel, size = self._channel.number, self._channel.max_content_size
        chunks = [body[at : at + size] for at in range(0, len(body), size)]
        header = ContentHeader(body_size=len(body), properties=properties)
        return b"".join([marshal(header, channel), *(marshal(ContentBody(chunk), channel) for chunk in chunks)])

    def _write(self, sent: _Sent) -> None:
        self._last_number += 1
        self._in_flight[self._last_number] = sent
        if not self._unwritten:
            self._loop.call_soon(self._write_all)
        self._unwritten.append(sent.frames)

    def _write_all(self) -> None:
        if self._unwritten:
            self._channel.write_queue.put_nowait(ChannelFrame(b"".join(self._unwritten), should_close=False))
            self._unwritten.clear()

    # ---- what the broker says ----

    async def _received(self, weighed: tuple[int, Any]) -> None:
        """Take a frame that the connection hands to this channel; those that speak of no message go to aiormq."""
        frame = weighed[1]
        if isinstance(frame, (Basic.Ack, Basic.Nack)):
            self._confirmed(frame.delivery_tag or 0, up_to=frame.multiple, is_taken=isinstance(frame, Basic.Ack))
        elif isinstance(frame, ContentHeader):  # of a return: nothing else with content comes on this channel
            if same_id := self._by_id.get(frame.properties.message_id):
                same_id[0].is_returned = True
        elif not isinstance(frame, (Basic.Return, ContentBody)):
            if isinstance(frame, Channel.Close):
                self._stop()
            await self._pass_on(weighed)

    def _confirmed(self, number: int, *, up_to: bool, is_taken: bool) -> None:
        if not is_taken:
            self.opened.is_spent = True
        numbers = list(takewhile(number.__ge__, self._in_flight)) if up_to else [number]
        for one in numbers:
            if (sent := self._in_flight.pop(one, None)) is not None:
                self._next_of_id(sent)
                sent.end(None if is_taken else sent.refused())
        if not self.room.is_set() and self._bytes < BYTES_MAX:
            self.room.set()
        if self.opened.is_spent and not self._in_flight and self._goodbye is None:
            self._goodbye = self._loop.create_task(close_in_time(self._channel), name="signalq spent channel")

    def _next_of_id(self, sent: _Sent) -> None:
        self._bytes -= len(sent.frames)
        same_id = self._by_id[sent.message_id]
        same_id.popleft()
        if same_id:
            self._write(same_id[0])
        else:
            del self._by_id[sent.message_id]

    def _stop(self) -> None:
        """Write nothing more: the broker has closed the channel, and takes its number for unknown once we answer."""
        self.opened.is_spent = True
        self._unwritten.clear()

    def _closed(self, closing: asyncio.Future[Any]) -> None:
        cause = None if closing.cancelled() else closing.exception()
        self._stop()
        left = [sent for same_id in self._by_id.values() for sent in same_id]
        self._in_flight.clear()
        self._by_id.clear()
        self._bytes = 0
        self.room.set()
        for sent in left:
            sent.end(sent.broke(cause))


@lru_cache(maxsize=1024)
def _method(channel: int, exchange: str, routing_key: str, *, mandatory: bool) -> bytes:
    return marshal(Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory), channel)
