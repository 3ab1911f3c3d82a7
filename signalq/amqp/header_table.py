"""A message's header table, read at a bounded cost.

pamqp copies the rest of a table for each value in it. A table of 128 KiB, which any user with the right to publish can
send, would hold the event loop up for seconds.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pamqp import decode

# Values in nested tables and arrays are counted. At most 256 of a producer's go onto the ladder (envelope.py), whose 20
# levels add fewer than 200 together.
VALUES_MAX = 512
DEPTH_MAX = 32
# The memory that a value takes besides its bytes, about.
VALUE_BYTES = 96

Decoder = Callable[[bytes], tuple[int, Any]]

_FIXED_BYTES_MAX = 8
_WITH_LENGTH = (b"S", b"x")


class HeaderTable(dict[str, Any]):
    """A message's headers, and about how much memory they take, in bytes."""

    held_bytes: int = 0


def held_bytes(headers: object) -> int:
    """About how much memory a message's headers take, in bytes; 0 unless they are a HeaderTable."""
    return headers.held_bytes if isinstance(headers, HeaderTable) else 0


def read_header_table(data: bytes, *, timestamp: Decoder) -> tuple[int, HeaderTable]:
    """How many bytes the table at the beginning of `data` takes, and the table; `timestamp` reads its timestamps.

    Raises ValueError for a table that is cut off, holds unknown types, or has more than VALUES_MAX values or DEPTH_MAX
    levels.
    """
    reader = _Reader(data, timestamp)
    try:
        table = HeaderTable(reader.table(DEPTH_MAX))
    except (struct.error, IndexError) as error:
        raise ValueError("the header table is cut off") from error
    table.held_bytes = reader.offset + VALUE_BYTES * reader.values_read
    return reader.offset, table


class _Reader:
    def __init__(self, data: bytes, timestamp: Decoder) -> None:
        self.offset = 0
        self._data = data
        self._values_left = VALUES_MAX
        self._timestamp = timestamp

    @property
    def values_read(self) -> int:
        return VALUES_MAX - self._values_left

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
        self._values_left -= 1
        if self._values_left < 0:
            raise ValueError(f"the headers have more than {VALUES_MAX} values")
        kind = self._taken(1)
        if kind == b"F":
            return self.table(levels_left - 1)
        if kind == b"A":
            return self._array(levels_left - 1)
        decoder = self._timestamp if kind == b"T" else decode.TABLE_MAPPING.get(kind)
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
