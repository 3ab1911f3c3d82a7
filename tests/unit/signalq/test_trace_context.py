"""The span that a producer names: taken where the header is valid, else nothing is known of it."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.ledger.row import first_columns
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Unreadable
from signalq.consumer.orders.read import read
from signalq.consumer.telemetry.intents import facts_of
from signalq.message.trace_context import TraceParent, traceparent_of
from signalq.settings.sections import Settings
from tests.support.orders import order

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{PARENT}-01"


def test_the_trace_of_a_valid_header_is_kept_with_the_order_and_is_in_its_log_lines() -> None:
    met, without = order(headers={"traceparent": HEADER}), order()
    assert met.traceparent == TraceParent(TRACE, PARENT, "01")
    assert first_columns(met)["trace_id"] == bytes.fromhex(TRACE)
    assert facts_of(met)["trace_id"] == TRACE
    assert (without.traceparent, first_columns(without)["trace_id"]) == (None, None)
    assert "trace_id" not in facts_of(without)


def test_a_message_that_is_no_order_has_its_trace_in_the_log_as_well() -> None:
    properties = Basic.Properties(message_id="id-1", headers={"traceparent": HEADER})
    found = read(Message(b"no order", properties, "main", redelivered=False), Settings(), 1)
    assert isinstance(found, Unreadable)
    assert facts_of(found)["trace_id"] == TRACE


def test_a_later_version_may_have_more_parts_which_are_not_passed_on() -> None:
    later = traceparent_of(f"01-{TRACE}-{PARENT}-03-more\r")
    assert later == TraceParent(TRACE, PARENT, "03")
    assert later.header() == f"00-{TRACE}-{PARENT}-03"


@pytest.mark.parametrize(
    "header",
    [
        None,
        7,
        HEADER.encode(),
        "",
        f"00-{TRACE}-{PARENT}",
        f"{HEADER}-more",
        f"{HEADER}-",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"{HEADER}\n",
        f" {HEADER}",
        f"cc-{TRACE}-{PARENT}-01-\r\nX-Injected: 1",
    ],
)
def test_of_any_other_header_nothing_is_known(header: object) -> None:
    assert traceparent_of(header) is None


@given(st.text() | st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", fullmatch=True))
@example(HEADER)
def test_a_header_that_is_read_names_a_trace_and_a_span_and_is_read_again_as_the_same(header: str) -> None:
    found = traceparent_of(header)
    if found is None:
        return
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", found.header())
    assert traceparent_of(found.header()) == found
    assert int(found.trace, 16)
    assert int(found.span, 16)
    assert len(found.trace_id) == 16


@given(
    st.binary(min_size=16, max_size=16).filter(any), st.binary(min_size=8, max_size=8).filter(any), st.integers(0, 255)
)
def test_each_valid_header_is_read(trace: bytes, span: bytes, flags: int) -> None:
    found = traceparent_of(f"00-{trace.hex()}-{span.hex()}-{flags:02x}")
    assert found == TraceParent(trace.hex(), span.hex(), f"{flags:02x}")
