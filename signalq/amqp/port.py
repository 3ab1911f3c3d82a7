"""A port takes the frames of one channel, and puts its messages together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final

from pamqp.commands import Basic

from signalq.amqp.foreign_properties import held_bytes, read_properties
from signalq.amqp.wire import BASIC, HEADER, METHOD

_METHOD_BYTES = 4
_UNKNOWN = -1
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
        if coming.body_bytes == _UNKNOWN:  # else it was offered before, and a table of headers is costly to read
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
    return Arrival(tag, bool(flag & 1), exchange, routing_key, Basic.Properties(), body_bytes=_UNKNOWN)


def _short_string(data: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("utf-8", "backslashreplace"), end
