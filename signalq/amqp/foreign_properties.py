"""Read the properties that any producer may set, and write them again as they came. See decision 5."""

from __future__ import annotations

import datetime as dt
from typing import Any

from aiormq.abc import FieldTable
from pamqp import decode, encode

from signalq.amqp.header_table import read_header_table
from signalq.names import UNREADABLE_HEADERS


def handle_foreign_properties() -> None:
    """Read and write foreign properties leniently, in this whole process: for processes of signalq's own.

    It changes pamqp's codec for every connection. So a reader of foreign messages calls it before it connects, and the
    SDK never does: it lives in programs that may have connections of their own.
    """
    read_foreign_properties_leniently()
    write_headers_as_they_came()


def read_foreign_properties_leniently() -> None:
    """Let no message's properties end our connection. Calling this twice changes nothing.

    pamqp raises on a `timestamp` outside its calendar (a producer that sends microseconds is enough), on short
    strings that are not UTF-8, and on header tables that it can't read. The error ends the connection, the message is
    delivered again, and nothing behind it is ever read. With these decoders it is read, and can be refused by name.
    """
    decode.METHODS["timestamp"] = decode.TABLE_MAPPING[b"T"] = _timestamp
    decode.METHODS["shortstr"] = _short_string
    decode.METHODS["table"] = _header_table


def write_headers_as_they_came() -> None:
    """Pass on a producer's headers as they came. Calling this twice changes nothing.

    pamqp writes every float with 32 bits, or not at all, cuts names to 128 of the 255 bytes that AMQP allows, and logs
    each name that it cuts.
    """
    encode.encode_table_value = _table_value
    encode.field_table = encode.METHODS["table"] = _written_table


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
        return read_header_table(value, timestamp=_timestamp)
    except (ValueError, ArithmeticError):
        return 4 + int.from_bytes(value[:4], "big"), {UNREADABLE_HEADERS: True}
