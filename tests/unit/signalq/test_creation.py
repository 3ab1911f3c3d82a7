"""When an intent was created, by the properties of its message (contract 1)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq.errors import InvalidIntent
from signalq.message.creation import Creation, creation

NOW_MS = 1_700_000_000_500
EARLIER_MS = NOW_MS - 10_000


def properties(timestamp_s: int | None = None, **headers: Any) -> Basic.Properties:
    stamp = datetime.fromtimestamp(timestamp_s, tz=UTC) if timestamp_s is not None else None
    table = {name.replace("_", "-"): value for name, value in headers.items()}
    return Basic.Properties(timestamp=stamp, headers=table or None)


def test_the_producers_milliseconds_come_first() -> None:
    message = Basic.Properties(
        headers={"signalq-created-ms": EARLIER_MS, "timestamp_in_ms": EARLIER_MS - 1},
        timestamp=datetime.fromtimestamp(1, tz=UTC),
    )
    assert creation(message, NOW_MS) == Creation(EARLIER_MS, EARLIER_MS, "signalq-created-ms")


def test_the_brokers_stamp_comes_before_the_timestamp_in_whole_seconds() -> None:
    message = Basic.Properties(headers={"timestamp_in_ms": EARLIER_MS}, timestamp=datetime.fromtimestamp(1, tz=UTC))
    assert creation(message, NOW_MS) == Creation(EARLIER_MS, EARLIER_MS, "timestamp_in_ms")


def test_a_whole_second_counts_from_its_start_for_the_age_and_from_its_end_for_the_delay() -> None:
    at = creation(properties(timestamp_s=1_699_999_990), NOW_MS)
    assert at == Creation(1_699_999_990_000, 1_699_999_991_000, "timestamp")


def test_the_end_of_the_present_second_is_not_in_the_future() -> None:
    at = creation(properties(timestamp_s=1_700_000_000), NOW_MS)
    assert at == Creation(1_700_000_000_000, NOW_MS, "timestamp")


def test_without_a_date_the_first_receipt_counts_and_is_pinned() -> None:
    assert creation(properties(), NOW_MS) == Creation(NOW_MS, NOW_MS, "first receipt", pinned=True)


@pytest.mark.parametrize("header", ["signalq-created-ms", "timestamp_in_ms"])
def test_a_creation_in_the_future_counts_as_now_and_is_pinned(header: str) -> None:
    at = creation(Basic.Properties(headers={header: NOW_MS + 1}), NOW_MS)
    assert at == Creation(NOW_MS, NOW_MS, header, pinned=True)


def test_a_timestamp_in_the_future_counts_as_now_and_is_pinned() -> None:
    assert creation(properties(timestamp_s=1_700_000_001), NOW_MS) == Creation(NOW_MS, NOW_MS, "timestamp", pinned=True)


@pytest.mark.parametrize("value", ["1700000000000", 1.7e12, True, None, -1, 2**62, b"1", [1], {}, Decimal(1)], ids=repr)
def test_a_brokers_stamp_that_is_no_plausible_whole_number_counts_as_absent(value: Any) -> None:
    headers = {"timestamp_in_ms": value}
    message = Basic.Properties(headers=headers, timestamp=datetime.fromtimestamp(1_699_999_990, tz=UTC))
    assert creation(message, NOW_MS).source == "timestamp"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1.7e12, "a floating-point number is no"),
        (True, "a boolean is no"),
        (None, "a null is no"),
        (b"1", "a byte array is no"),
        ([1], "a list is no"),
        ({}, "a table is no"),
        (Decimal(1_700_000_000_000), "a decimal is no"),
        (datetime.fromtimestamp(1_700_000_000, tz=UTC), "an AMQP timestamp is no"),
        ("yesterday", "a string of anything but digits is no"),
        ("1.7e12", "a string of anything but digits is no"),
        (" 1700000000000", "a string of anything but digits is no"),
        ("-1700000000000", "a string of anything but digits is no"),
        ("\u0661\u0667\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0660", "anything but digits is no"),
        ("", "a string of anything but digits is no"),
        ("9" * 10_000, "a string of anything but digits is no"),
        (1_700_000_000, "before 2001 (seconds instead of ms?)"),
        ("1700000000", "before 2001 (seconds instead of ms?)"),
        (-1, "before 2001"),
        (978_307_199_999, "before 2001"),
        (NOW_MS + 86_400_001, "more than a day ahead"),
        (NOW_MS * 1000, "more than a day ahead"),
    ],
    ids=repr,
)
def test_a_producers_impossible_date_is_refused_with_what_is_expected(value: Any, why: str) -> None:
    with pytest.raises(InvalidIntent) as refused:
        creation(Basic.Properties(headers={"signalq-created-ms": value}), NOW_MS)
    told = str(refused.value)
    assert told.startswith("signalq-created-ms: ")
    assert why in told
    assert "an integer is expected, or its digits as a string: ms since 1970 in UTC" in told
    assert "yesterday" not in told


@pytest.mark.parametrize("value", [1_699_999_999_000, "1699999999000", "0001699999999000"])
def test_a_producers_date_is_an_integer_or_its_digits(value: Any) -> None:
    at = creation(Basic.Properties(headers={"signalq-created-ms": value}), NOW_MS)
    assert at == Creation(1_699_999_999_000, 1_699_999_999_000, "signalq-created-ms")


@pytest.mark.parametrize(("ahead_ms", "is_ahead"), [(1, False), (1_000, False), (1_001, True), (86_400_000, True)])
def test_a_date_is_ahead_where_it_differs_by_more_than_clocks_do(ahead_ms: int, is_ahead: bool) -> None:
    at = creation(Basic.Properties(headers={"signalq-created-ms": NOW_MS + ahead_ms}), NOW_MS)
    assert (at.age_ms, at.ahead_ms, at.is_ahead) == (NOW_MS, ahead_ms, is_ahead)
