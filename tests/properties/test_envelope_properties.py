"""Any properties that a producer sends can be read, and those that we pass on can be written."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from signalq import names
from signalq.amqp.foreign_properties import handle_foreign_properties, read_properties
from signalq.message.creation import creation
from signalq.message.envelope import BROKER_HEADERS, republish_properties, strategy

# RabbitMQ's default frame_max; 8 bytes of it are the frame's own, and it was 131,072 on every version we know.
FRAME_BYTES_MAX = 131_072 - 8
NOW_MS = 1_700_000_000_000
INTERNAL = sorted(BROKER_HEADERS | names.OWN_HEADERS | {"x-death", "x-first-death-queue", "x-last-death-reason"})

header_names = st.sampled_from(INTERNAL) | st.text(st.characters(codec="utf-8"), max_size=60)
header_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.decimals(allow_nan=True)
    | st.text(st.characters(codec="utf-8"), max_size=200)
    | st.binary(max_size=50)
    | st.binary(max_size=50).map(bytearray)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(header_names, inner, max_size=4),
    max_leaves=12,
)
short_strings = st.none() | st.text(st.characters(codec="utf-8"), max_size=400)
ADDED = {
    names.REASON: "outcome-unknown",
    names.DETAIL: "é" * 4_000,
    names.ATTEMPTS: 3,
    names.HTTP_STATUS: None,
    names.INTENT_ID: "i" * 255,
    names.CONNECTOR: "\U0001f680" * 32,
}


@st.composite
def foreign_properties(draw: st.DrawFn) -> Basic.Properties:
    """Properties as a message may bring them."""
    found = Basic.Properties(headers=draw(st.none() | st.dictionaries(header_names, header_values, max_size=8)))
    for name in ("content_type", "correlation_id", "reply_to", "message_id", "message_type", "user_id", "app_id"):
        setattr(found, name, draw(short_strings))
    found.delivery_mode = draw(st.none() | st.integers(0, 255))
    found.priority = draw(st.none() | st.integers(0, 255))
    found.timestamp = draw(st.none() | st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
    return found


@given(foreign_properties())
@example(Basic.Properties(headers={"a": 1e300}))
@example(Basic.Properties(headers={"a": "x" * 70_000}))
@example(Basic.Properties(headers={"a": "x" * 65_000, "b": "y" * 500}))
def test_passed_on_properties_fit_a_frame_and_hold_no_forged_header(original: Basic.Properties) -> None:
    handle_foreign_properties()
    passed_on = republish_properties(original, ADDED, "given-id")
    encoded = ContentHeader(body_size=1, properties=passed_on).marshal()
    assert len(encoded) <= FRAME_BYTES_MAX
    assert passed_on.headers is not None
    assert {name for name in passed_on.headers if name in INTERNAL} <= set(ADDED)
    assert passed_on.headers[names.REASON] == "outcome-unknown"
    assert passed_on.message_id
    assert passed_on.delivery_mode == 2


@given(foreign_properties())
@example(Basic.Properties(headers={"\U0001d4fb" * 60: {"é" * 127: 1}}))
def test_passed_on_properties_are_read_back_as_they_were_written(original: Basic.Properties) -> None:
    handle_foreign_properties()
    passed_on = republish_properties(original, ADDED, "given-id")
    arrived = read(passed_on.marshal())
    assert arrived.message_id == passed_on.message_id
    assert (arrived.headers or {}).keys() == set(passed_on.headers or {})


@given(foreign_properties())
def test_a_creation_is_never_in_the_future_and_a_strategy_has_always_a_name(original: Basic.Properties) -> None:
    at = creation(original, NOW_MS)
    assert at.age_ms <= at.delay_ms <= NOW_MS
    assert strategy(original)


@given(st.binary(max_size=255), st.integers(0, 2**64 - 1), st.binary(max_size=200))
def test_hostile_properties_are_read_without_an_error(text: bytes, seconds: int, table: bytes) -> None:
    handle_foreign_properties()
    encoded = b"".join(
        [
            struct.pack(">H", 8192 | 128 | 64),
            struct.pack(">I", len(table)) + table,
            bytes([len(text)]) + text,
            struct.pack(">Q", seconds),
        ]
    )
    arrived = read(encoded)
    assert isinstance(arrived.message_id, str)
    assert isinstance(arrived.headers, dict)
    assert arrived.timestamp is None or arrived.timestamp.tzinfo is not None
    republish_properties(arrived, ADDED, "given-id").marshal()


def read(encoded: bytes) -> Any:
    """The properties in a content header, as a connection reads them: for a port, and by aiormq."""
    header = ContentHeader()
    header.unmarshal(struct.pack(">HHQ", Basic.frame_id, 0, 1) + encoded)
    for_a_port = read_properties(encoded)
    for name in Basic.Properties.attributes():
        assert repr(getattr(for_a_port, name)) == repr(getattr(header.properties, name))
    return for_a_port
