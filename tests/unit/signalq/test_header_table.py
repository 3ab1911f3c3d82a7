"""A header table is read as pamqp reads it, only sooner; and no table is read without end."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import decode, encode

from signalq.amqp.foreign_properties import DEPTH_MAX, VALUES_MAX, read_header_table

TIMES = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001
plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=20)
    | st.binary(max_size=20).map(bytearray)
    | TIMES.map(lambda at: at.replace(microsecond=0))
    | st.decimals(0, 1000, places=2)
    | st.floats(width=32, allow_nan=False)
)
names = st.text(min_size=1, max_size=20)
values = st.recursive(plain, lambda some: st.lists(some, max_size=4) | st.dictionaries(names, some, max_size=4))
tables = st.dictionaries(names, values, max_size=8)


@given(tables, st.binary(max_size=10))
def test_a_table_is_read_as_pamqp_reads_it(table: dict[str, Any], behind: bytes) -> None:
    data = encode.field_table(table)
    assert read_header_table(data + behind) == decode.field_table(data) == (len(data), decode.field_table(data)[1])


@given(tables, st.data())
def test_a_table_that_is_cut_off_is_refused(table: dict[str, Any], data: st.DataObject) -> None:
    whole = encode.field_table(table)
    with pytest.raises(ValueError, match=r"."):
        read_header_table(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=60))
def test_no_bytes_end_otherwise_than_with_a_table_or_a_refusal(noise: bytes) -> None:
    data = len(noise).to_bytes(4, "big") + noise
    try:
        taken, _ = read_header_table(data)
    except ValueError:
        return
    assert taken == len(data)


def test_values_are_counted_and_levels_too() -> None:
    most = {f"{number}": number for number in range(VALUES_MAX)}
    assert read_header_table(encode.field_table(most))[1] == most
    for beyond in ({**most, "one": Decimal(1)}, {"a": [None] * VALUES_MAX}, _deep(DEPTH_MAX)):
        with pytest.raises(ValueError, match=r"more than|deeper than"):
            read_header_table(encode.field_table(beyond))
    assert read_header_table(encode.field_table(_deep(DEPTH_MAX - 1)))[1] == _deep(DEPTH_MAX - 1)


def _deep(levels: int) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for _ in range(levels):
        table = {"a": table}
    return table
