"""The frames that come on a connection: those of orders are handed over by a call, all others go on to aiormq.

aiormq reads each frame with three awaits, hands a message over by a queue and a task, and a confirm by a queue. Here
the step that reads the socket cuts all that has come into frames. A channel with a Port gets its deliveries, returns
and confirms in that same step, in the order of the wire. aiormq keeps the handshake, the channels and the answers: it
never sees the frames that a port takes, but hears of them as signs of life.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final

from aiormq.exceptions import InvalidFrameError
from pamqp.commands import Basic

from signalq.amqp.foreign_properties import held_bytes, read_properties
from signalq.amqp.wire import BASIC, BODY, CLOSES, FRAME_END, FRAME_HEAD, HEADER, HEARTBEAT, HEARTBEAT_FRAME, METHOD

# Cut in one step of the loop: so many frames for ports, or so many bytes of properties. Either takes a millisecond or
# two; what else has come waits for the next step, and the socket with it.
STEP_FRAMES_MAX = 128
STEP_PROPERTIES_BYTES_MAX = 16_384
# aiormq hears so often that frames come. After three heartbeats, of 1 s or more, without a sign it hangs up.
SIGN_OF_LIFE_S = 1.0

_KINDS = (METHOD, HEADER, BODY, HEARTBEAT)
_EMPTY_FRAME_BYTES = 8
_METHOD_BYTES = 4
_BODY_SIZE: Final = Struct(">HHQ")
_TAG_AND_FLAG: Final = Struct(">QB")


class Taken(Enum):
    """The answer of a port to a frame."""

    HERE = "the port has it"
    BY_AIORMQ = "it is for aiormq"
    NOT_YET = "there is no room: it is offered again, and nothing behind it is read"


@dataclass(slots=True)
class Arrival:
    """A message that has come; of a long body only the beginning was kept. `tag` is 0 for one that was returned."""

    tag: int
    redelivered: bool
    exchange: str
    routing_key: str
    properties: Basic.Properties
    body_bytes: int = 0
    body: bytes = b""


class Port:
    """The receiver of one channel's frames.

    `content` is the method that begins a message for it; `on_arrival` gets each that has come whole.
    """

    def __init__(self, content: bytes, on_arrival: Callable[[Arrival], None]) -> None:
        self.on_arrival = on_arrival
        self._content = content
        self._coming: Arrival | None = None
        self._kept = self._left = 0
        self._parts: list[bytes] = []

    def take(self, kind: int, data: bytes) -> Taken:
        """Take a frame of the channel. A message that has begun is taken whole."""
        if kind == METHOD:
            if data[:_METHOD_BYTES] != self._content:
                return self.take_method(data)
            self._coming = _announced(data)
        elif self._coming is None:
            return Taken.BY_AIORMQ
        elif kind == HEADER:
            return self._take_header(self._coming, data)
        else:
            self._take_part(self._coming, data)
        return Taken.HERE

    def take_method(self, data: bytes) -> Taken:  # noqa: ARG002
        """Take a method that begins no message."""
        return Taken.BY_AIORMQ

    def kept_bytes(self, body_bytes: int) -> int:
        """How much of a body is kept."""
        return body_bytes

    def has_room(self, tag: int, body_bytes: int, header_bytes: int) -> bool:  # noqa: ARG002
        """Take room for a message; False where there is none yet."""
        return True

    def _take_header(self, coming: Arrival, data: bytes) -> Taken:
        coming.body_bytes = self._left = _BODY_SIZE.unpack_from(data)[2]
        coming.properties = read_properties(data[_BODY_SIZE.size :])
        if not self.has_room(coming.tag, coming.body_bytes, held_bytes(coming.properties.headers)):
            return Taken.NOT_YET
        self._kept = self.kept_bytes(coming.body_bytes)
        if not coming.body_bytes:
            self._arrive(coming)
        return Taken.HERE

    def _take_part(self, coming: Arrival, data: bytes) -> None:
        self._left -= len(data)
        if self._kept:
            self._parts.append(data[: self._kept])
            self._kept -= len(self._parts[-1])
        if self._left <= 0:
            coming.body = b"".join(self._parts)
            self._parts.clear()
            self._arrive(coming)

    def _arrive(self, coming: Arrival) -> None:
        self._coming = None
        self.on_arrival(coming)


def _announced(data: bytes) -> Arrival:
    """The message that a Basic.Deliver or a Basic.Return announces."""
    tag, flag = 0, 0
    if data.startswith(BASIC.DELIVER):
        at = _METHOD_BYTES + 1 + data[_METHOD_BYTES]  # behind the name of the consumer
        tag, flag = _TAG_AND_FLAG.unpack_from(data, at)
        at += _TAG_AND_FLAG.size
    else:
        at = _METHOD_BYTES + 3 + data[_METHOD_BYTES + 2]  # behind the reason, a number and a text
    exchange, at = _short_string(data, at)
    routing_key, _ = _short_string(data, at)
    return Arrival(tag, bool(flag & 1), exchange, routing_key, Basic.Properties())


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "backslashreplace"), end


class Incoming:
    """The bytes that a connection's socket has read, cut into frames.

    Bytes that are no frame go on to aiormq with all that is behind them: it says what is wrong.
    """

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.Transport) -> None:
        self.ports: dict[int, Port] = {}
        self.has_cut = False
        self._reader = reader
        self._pass_on = reader.feed_data
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._uncut = b""
        self._is_garbled = self._is_held = self._goes_on = False
        self._signed_s = float("-inf")

    def feed(self, data: bytes) -> None:
        """Take in what the socket has read."""
        self._uncut = self._uncut + data if self._uncut else bytes(data)
        if not self._is_held:
            self._cut()

    def go_on(self) -> None:
        """Read on where that waits for room: there may be some now."""
        if self._is_held and not self._goes_on:
            self._goes_on = True
            self._loop.call_soon(self._let_go)

    def _let_go(self) -> None:
        self._goes_on = self._is_held = False
        if self._transport.is_closing():
            return
        self._cut()
        if not self._is_held:
            self._transport.resume_reading()

    def _hold(self) -> None:
        self._is_held = True
        self._transport.pause_reading()

    def _cut(self) -> None:
        try:
            self._hand_on()
        except Exception as error:  # noqa: BLE001 - no message can be skipped: the connection ends, and lanes heal
            failure = InvalidFrameError(f"{type(error).__name__}: {error}")
            failure.__cause__ = error
            self._reader.set_exception(failure)
            self._transport.abort()

    def _hand_on(self) -> None:
        """Hand on each whole frame, as long as this step may take."""
        data, at, others_at = self._uncut, 0, 0
        frames = properties_bytes = 0
        while not self._is_held and at < len(data):
            end = self._end_of_frame(data, at)
            if end > len(data):
                break
            taken = self._offer(data, at, end)
            if taken is Taken.NOT_YET:
                self._hold()
                break
            if taken is Taken.HERE:
                if others_at < at:
                    self._pass_on(data[others_at:at])
                others_at = end
                frames += 1
                properties_bytes += end - at if data[at] == HEADER else 0
                if frames >= STEP_FRAMES_MAX or properties_bytes >= STEP_PROPERTIES_BYTES_MAX:
                    self._hold()
                    self.go_on()
            at = end
        self._uncut = data[at:]
        if others_at < at:
            self._pass_on(data[others_at:at])
        if frames:
            self._give_sign()

    def _end_of_frame(self, data: bytes, at: int) -> int:
        """Where the frame ends that begins there: behind `data` where it has not come whole."""
        if len(data) - at >= _EMPTY_FRAME_BYTES:
            end: int = at + FRAME_HEAD.unpack_from(data, at)[2] + _EMPTY_FRAME_BYTES
        else:
            end = len(data) + 1
        if self._is_garbled or data[at] not in _KINDS or (end <= len(data) and data[end - 1] != FRAME_END):
            self._is_garbled = True
            return len(data)
        self.has_cut = True
        return end

    def _offer(self, data: bytes, at: int, end: int) -> Taken:
        kind, number, _ = FRAME_HEAD.unpack_from(data, at)
        port = self.ports.get(number)
        if port is None or self._is_garbled:
            return Taken.BY_AIORMQ
        payload = data[at + FRAME_HEAD.size : end - 1]
        taken = port.take(kind, payload)
        if taken is Taken.BY_AIORMQ and kind == METHOD and payload.startswith(CLOSES):
            del self.ports[number]  # the number may be given to another channel
        return taken

    def _give_sign(self) -> None:
        """Let aiormq hear that frames come, if only now and then."""
        now_s = self._loop.time()
        if now_s - self._signed_s >= SIGN_OF_LIFE_S:
            self._signed_s = now_s
            self._pass_on(HEARTBEAT_FRAME)
