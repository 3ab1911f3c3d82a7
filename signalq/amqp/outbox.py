"""The frames that leave on a connection: what one turn of the loop brings leaves in one write."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from aiormq.abc import ChannelFrame
from aiormq.exceptions import ChannelInvalidStateError

from signalq.amqp.wire import CHANNEL_OPEN, CLOSES, FRAME_HEAD, METHOD

# Joined into one write at most.
WRITE_BYTES_MAX = 262_144
_METHOD_AT = slice(FRAME_HEAD.size, FRAME_HEAD.size + 4)


class Outbox(asyncio.Queue[ChannelFrame]):
    """aiormq's queue of frames to write, amended in three places.

    Its writer gets all that waits as one. Nothing waits for room: aiormq's queue has room for ten frames, nothing makes
    room after the connection has died, and an acknowledgement that waits for it waits for ever. The windows of the
    lanes bound the acknowledgements, and Confirms the messages. And it knows which channels are open, as the broker
    will see it: a frame behind its channel's close would end the connection.
    """

    open_channels: set[int]

    @classmethod
    def amend(cls, write_queue: Any) -> Outbox:
        """Make aiormq's queue an outbox, once its connection is made and before it has channels."""
        write_queue.__class__ = cls
        outbox = cast("Outbox", write_queue)
        outbox.open_channels = set()
        return outbox

    def send(self, channel: int, frames: bytes) -> None:
        """Write frames of an open channel behind all that is written. Raises ChannelInvalidStateError."""
        if channel not in self.open_channels:
            raise ChannelInvalidStateError(f"channel {channel} is closed")
        super().put_nowait(ChannelFrame(frames, should_close=False))

    def full(self) -> bool:
        return False

    def put_nowait(self, item: ChannelFrame) -> None:
        """Take a frame of aiormq's own."""
        self._note(item.payload)
        super().put_nowait(item)

    async def get(self) -> ChannelFrame:
        """Return all that waits as one frame, up to one whose writer waits for it, or WRITE_BYTES_MAX."""
        last = await super().get()
        if self.empty():
            return last
        parts, joined_bytes = [last.payload], len(last.payload)
        while not (self.empty() or last.should_close or last.should_drain or joined_bytes >= WRITE_BYTES_MAX):
            last = self.get_nowait()
            self.task_done()  # aiormq says it once for what it got
            parts.append(last.payload)
            joined_bytes += len(last.payload)
        return ChannelFrame(b"".join(parts), last.should_close, last.drain_future)

    def _note(self, frame: bytes) -> None:
        """Note whether a channel opens or closes."""
        kind, channel, _ = FRAME_HEAD.unpack_from(frame)
        method = frame[_METHOD_AT]
        if kind == METHOD and method == CHANNEL_OPEN:
            self.open_channels.add(channel)
        elif kind == METHOD and method in CLOSES:
            self.open_channels.discard(channel)
