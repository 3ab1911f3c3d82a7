"""The trace that a producer names: taken where the header is valid, else nothing is known of it."""

from __future__ import annotations

import pytest

from signalq.consumer.ledger.row import first_columns
from signalq.message.trace_context import trace_id_of
from tests.support.orders import order

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def test_the_trace_of_a_valid_header_is_kept_with_the_order() -> None:
    met = order(headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    assert met.trace_id == bytes.fromhex(TRACE)
    assert first_columns(met)["trace_id"] == bytes.fromhex(TRACE)
    assert order().trace_id is None


def test_a_later_version_may_have_more_parts() -> None:
    assert trace_id_of(f"01-{TRACE}-{PARENT}-01-more") == bytes.fromhex(TRACE)


@pytest.mark.parametrize(
    "header",
    [
        None,
        7,
        b"00-" + TRACE.encode(),
        "",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-01-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\n",
    ],
)
def test_the_trace_of_any_other_header_is_not_known(header: object) -> None:
    assert trace_id_of(header) is None
