"""Read the properties that any producer may set, at a bounded cost, and write them again as they came. See decision 5.

pamqp raises on a `timestamp` outside its calendar (a producer that sends microseconds is enough), on short strings that
are not UTF-8, and on header tables that it can't read. The error ends the connection, the message is delivered again,
and nothing behind it is ever read. And it copies the rest of a header table for each value in it: a table of 128 KiB,
which any user with the right to publish can send, would hold the event loop up for seconds.
"""

import datetime as dt
import struct
from collections.abc import Callable
from typing import Any

from aiormq.abc import FieldTable
from pamqp import decode, encode
from pamqp.commands import Basic

from signalq.names import UNREADABLE_HEADERS

# Values in nested tables and arrays are counted. At most 256 of a producer's go onto the ladder (envelope.py), whose 20
# levels add fewer than 200 together.
VALUES_MAX = 512
DEPTH_MAX = 32
# The memory that a value takes besides its bytes, about.
VALUE_BYTES = 96

_FLAGS_BYTES = 2
_FIXED_BYTES_MAX = 8
_WITH_LENGTH = (b"S", b"x")


def handle_foreign_properties() -> None:
    """Let no message's properties end our connection (each is read, and can be refused by name); pass them on whole.

    This holds for the whole process: it changes pamqp's codec for every connection. So a reader of foreign messages
    calls it before it connects, once or more often, and the SDK never does: it lives in programs that may have
    connections of their own.
    """
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_string
    decode.METHODS["table"] = _header_table
    # pamqp writes every float with 32 bits, or not at all, cuts names to 128 of the 255 bytes that AMQP allows, and
    # logs each name that it cuts.
    encode.encode_table_value = _table_value
    encode.field_table = encode.METHODS["table"] = _written_table


def read_properties(data: bytes) -> Basic.Properties:
    """Read a message's properties from their flags on, for this message alone: pamqp's codec stays as it is."""
    properties = Basic.Properties()
    flags = word = int.from_bytes(data[:_FLAGS_BYTES], "big")
    data = data[_FLAGS_BYTES:]
    while word & 1:  # more flags follow, and no property has one of them
        word, data = int.from_bytes(data[:_FLAGS_BYTES], "big"), data[_FLAGS_BYTES:]
    for flag, name, read in _PROPERTIES:
        if flags & flag:
            taken, value = read(data)
            setattr(properties, name, value)
            data = data[taken:]
    return properties


_table_value_of_pamqp = encode.encode_table_value


def _table_value(value: Any) -> bytes:
    if isinstance(value, float):
        return b"d" + encode.double(value)
    return _table_value_of_pamqp(value)


def _written_table(value: FieldTable) -> bytes:
    values = [encode.short_string(name) + encode.encode_table_value(item) for name, item in (value or {}).items()]
    written = b"".join(values)
    return len(written).to_bytes(4, "big") + written


def _timestamp(value: bytes) -> tuple[int, dt.datetime | None]:
    """Whole seconds since the epoch; None beyond the year 9999, for an unreadable date is no date."""
    try:
        return 8, dt.datetime.fromtimestamp(int.from_bytes(value[:8], "big"), tz=dt.UTC)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _short_string(value: bytes) -> tuple[int, str]:
    length = value[0]
    return length + 1, value[1 : length + 1].decode("utf-8", "backslashreplace")


def _header_table(value: bytes) -> tuple[int, dict[str, Any]]:
    try:
        return read_header_table(value)
    except (ValueError, ArithmeticError):
        return 4 + int.from_bytes(value[:4], "big"), {UNREADABLE_HEADERS: True}


def _octet(value: bytes) -> tuple[int, int]:
    return 1, value[0]


_READERS: dict[str, Callable[[bytes], tuple[int, Any]]] = {
    "shortstr": _short_string,
    "timestamp": _timestamp,
    "table": _header_table,
    "octet": _octet,
}
# In the order in which they are on the wire.
_PROPERTIES = [
    (flag, name, _READERS[Basic.Properties.amqp_type(name)]) for name, flag in Basic.Properties.flags.items()
]


class HeaderTable(dict[str, Any]):
    """A message's headers, and about how much memory they take, in bytes."""

    held_bytes: int = 0


def held_bytes(headers: object) -> int:
    """About how much memory a message's headers take, in bytes; 0 unless they are a HeaderTable."""
    return headers.held_bytes if isinstance(headers, HeaderTable) else 0


def read_header_table(data: bytes) -> tuple[int, HeaderTable]:
    """How many bytes the table at the beginning of `data` takes, and the table.

    Raises ValueError for a table that is cut off, holds unknown types, or has more than VALUES_MAX values or DEPTH_MAX
    levels.
    """
    reader = _Reader(data)
    try:
        table = HeaderTable(reader.table(DEPTH_MAX))
    except (struct.error, IndexError) as error:
        raise ValueError("the header table is cut off") from error
    table.held_bytes = reader.offset + VALUE_BYTES * reader.values_read
    return reader.offset, table


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.offset = 0
        self.values_read = 0
        self._data = data

    def table(self, levels_left: int) -> dict[str, Any]:
        end = self._end(levels_left)
        table: dict[str, Any] = {}
        while self.offset < end:
            length = self._data[self.offset]
            name = self._taken(1 + length)[1:].decode("utf-8")
            table[name] = self._value(levels_left)
        self.offset = end
        return table

    def _array(self, levels_left: int) -> list[Any]:
        end = self._end(levels_left)
        array = []
        while self.offset < end:
            array.append(self._value(levels_left))
        return array

    def _end(self, levels_left: int) -> int:
        """The offset at which the table or array that begins here ends."""
        if levels_left == 0:
            raise ValueError(f"the headers are nested deeper than {DEPTH_MAX}")
        end = self.offset + 4 + self._length()
        self._taken(4)
        if end > len(self._data):
            raise ValueError("the header table is cut off")
        return end

    def _length(self) -> int:
        length: int = struct.unpack_from(">I", self._data, self.offset)[0]
        return length

    def _value(self, levels_left: int) -> Any:
        self.values_read += 1
        if self.values_read > VALUES_MAX:
            raise ValueError(f"the headers have more than {VALUES_MAX} values")
        kind = self._taken(1)
        if kind == b"F":
            return self.table(levels_left - 1)
        if kind == b"A":
            return self._array(levels_left - 1)
        decoder = decode.TABLE_MAPPING.get(kind)
        if decoder is None:
            raise ValueError("the headers have a value of an unknown type")
        longest = 4 + self._length() if kind in _WITH_LENGTH else _FIXED_BYTES_MAX
        taken, value = decoder(self._data[self.offset : self.offset + longest])
        self._taken(taken)
        return value

    def _taken(self, length: int) -> bytes:
        """Read the next bytes. Raises ValueError where there are fewer."""
        begin, self.offset = self.offset, self.offset + length
        if self.offset > len(self._data):
            raise ValueError("the header table is cut off")
        return self._data[begin : self.offset]
