"""AMQP's frames as bytes (0-9-1 specification, 4.2.3 to 4.2.6): those that are written and read for each order.

All others are pamqp's.
"""

from struct import Struct
from typing import Final

from pamqp.commands import Basic

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
FRAME_END = 0xCE
# A frame's kind, its channel, and how many bytes follow, beside FRAME_END.
FRAME_HEAD: Final = Struct(">BHI")
HEARTBEAT_FRAME = FRAME_HEAD.pack(HEARTBEAT, 0, 0) + bytes([FRAME_END])

_METHOD_ID: Final = Struct(">HH")
_ACK: Final = Struct(">BHI4sQBB")
_ACK_BYTES = 13
_BASIC_CLASS = 60
_CONTENT_HEAD: Final = Struct(">HHQ")
_TEXT_BYTES_MAX = 255
_END = bytes([FRAME_END])


class BASIC:
    """The methods of class Basic that come and go for each order."""

    PUBLISH = _METHOD_ID.pack(_BASIC_CLASS, 40)
    RETURN = _METHOD_ID.pack(_BASIC_CLASS, 50)
    DELIVER = _METHOD_ID.pack(_BASIC_CLASS, 60)
    ACK = _METHOD_ID.pack(_BASIC_CLASS, 80)
    NACK = _METHOD_ID.pack(_BASIC_CLASS, 120)


CHANNEL_OPEN = _METHOD_ID.pack(20, 10)
# Channel.Close and its answer: behind either the channel's number stands for no channel, until it is opened again.
CLOSES = (_METHOD_ID.pack(20, 40), _METHOD_ID.pack(20, 41))


def ack(channel: int, tag: int) -> bytes:
    """The frame that acknowledges one delivery."""
    return _ACK.pack(METHOD, channel, _ACK_BYTES, BASIC.ACK, tag, 0, FRAME_END)


def publish(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: Basic.Properties,
    *,
    mandatory: bool,
    part_bytes_max: int,
) -> bytes:
    """The frames that publish a message, its body in parts; no bound (none or less) is a broker's that sets none.

    Raises ValueError for a name that is too long.
    """
    method = b"".join([BASIC.PUBLISH, b"\0\0", _text(exchange), _text(routing_key), b"\1" if mandatory else b"\0"])
    header = _CONTENT_HEAD.pack(_BASIC_CLASS, 0, len(body)) + properties.marshal()
    frames = [*_frame(METHOD, channel, method), *_frame(HEADER, channel, header)]
    part_bytes = part_bytes_max if part_bytes_max > 0 else max(len(body), 1)
    for at in range(0, len(body), part_bytes):
        frames += _frame(BODY, channel, body[at : at + part_bytes])
    return b"".join(frames)


def _frame(kind: int, channel: int, data: bytes) -> tuple[bytes, bytes, bytes]:
    return FRAME_HEAD.pack(kind, channel, len(data)), data, _END


def _text(text: str) -> bytes:
    written = text.encode()
    if len(written) > _TEXT_BYTES_MAX:
        raise ValueError(f"a name has {len(written)} bytes, and AMQP allows {_TEXT_BYTES_MAX}")
    return bytes([len(written)]) + written
