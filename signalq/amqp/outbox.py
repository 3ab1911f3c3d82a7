"""The frames that leave on a connection: what one step of the loop brings for orders leaves in one write."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError

from signalq.amqp.wire import CHANNEL_OPEN, CLOSES, FRAME_HEAD, METHOD

_METHOD_AT = slice(FRAME_HEAD.size, FRAME_HEAD.size + 4)


class Outbox(asyncio.Queue[ChannelFrame]):
    """aiormq's queue of frames to write, amended.

    Frames of orders leave in one write behind the step of the loop that sends them. They don't wait in the queue unless
    frames of aiormq's own do: all leave in the order in which they came. The windows of the lanes bound the
    acknowledgements among them, and Confirms the messages. And the outbox knows which channels are open, as the broker
    will see it: a frame behind its channel's close would end the connection.

    Nothing waits for room in the queue: it has room for ten frames, and nothing makes room after the connection's end.
    """

    open_channels: set[int]
    _transport: asyncio.WriteTransport
    # Frames of orders, and the call that will write them.
    _frames: list[bytes]
    _soon: asyncio.Handle | None

    @classmethod
    def amend(cls, write_queue: Any, transport: asyncio.WriteTransport) -> Outbox:
        """Make aiormq's queue an outbox, once its connection is made and before it has channels."""
        write_queue.__class__ = cls
        outbox = cast("Outbox", write_queue)
        outbox.open_channels = set()
        outbox._transport = transport
        outbox._frames = []
        outbox._soon = None
        return outbox

    def send(self, channel: int, frames: bytes) -> None:
        """Write frames of an open channel behind this step. Raises ChannelInvalidStateError."""
        if channel not in self.open_channels:
            raise ChannelInvalidStateError(f"channel {channel} is closed")
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_soon(self._write)
        self._frames.append(frames)

    def full(self) -> bool:
        return False

    def put_nowait(self, item: ChannelFrame) -> None:
        """Take a frame of aiormq's own."""
        self._write()
        self._note(item.payload)
        super().put_nowait(item)

    def _write(self) -> None:
        if self._soon is None:
            return
        self._soon.cancel()
        self._soon = None
        frames, self._frames = b"".join(self._frames), []
        if not self.empty():
            super().put_nowait(ChannelFrame(frames, should_close=False))
        elif not self._transport.is_closing():
            self._transport.write(frames)

    def _note(self, frame: bytes) -> None:
        """Note whether a channel opens or closes."""
        kind, channel, _ = FRAME_HEAD.unpack_from(frame)
        method = frame[_METHOD_AT]
        if kind == METHOD and method == CHANNEL_OPEN:
            self.open_channels.add(channel)
        elif kind == METHOD and method in CLOSES:
            self.open_channels.discard(channel)
