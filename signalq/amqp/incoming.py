"""The frames that come on a connection: those of orders are handed over by a call, all others go on to aiormq.

aiormq reads each frame with three awaits, hands a message over by a queue and a task, and a confirm by a queue. Here
the step that reads the socket cuts all that has come into frames. A channel with a Port gets its deliveries, returns
and confirms in that same step, in the order of the wire. aiormq keeps the handshake, the channels and the answers: it
never sees the frames that a port takes, but hears of them as signs of life.
"""

from __future__ import annotations

import asyncio

from aiormq.exceptions import InvalidFrameError

from signalq.amqp.port import Port, Taken
from signalq.amqp.wire import BODY, CLOSES, FRAME_END, FRAME_HEAD, HEADER, HEARTBEAT, HEARTBEAT_FRAME, METHOD

# Cut in one step of the loop: so many frames for ports, or so many bytes of properties. Either takes a millisecond or
# two; what else has come waits for the next step, and the socket with it.
STEP_FRAMES_MAX = 128
STEP_PROPERTIES_BYTES_MAX = 16_384
# aiormq hears so often that frames come. After three heartbeats, of 1 s or more, without a sign it hangs up.
SIGN_OF_LIFE_S = 1.0

_KINDS = (METHOD, HEADER, BODY, HEARTBEAT)
_EMPTY_FRAME_BYTES = 8


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
        self._goes_on = False
        if self._transport.is_closing():
            return
        self._is_held = False
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
            self._is_held = True  # for good: some of these frames are handed on already
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
        if self._is_garbled:
            return Taken.BY_AIORMQ
        kind, number, _ = FRAME_HEAD.unpack_from(data, at)
        port = self.ports.get(number)
        if port is None:
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
