"""Message properties: when an intent was created, whose it is, and what travels on (contract 1 and 3)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq import names
from signalq.errors import InvalidIntent
from signalq.message.envelope import (
    HEADER_VALUES_MAX,
    HEADERS_BYTES_MAX,
    Creation,
    creation,
    fitting_id,
    new_message_id,
    publish_properties,
    republish_properties,
    strategy,
)

NOW_MS = 1_700_000_000_500
EARLIER_MS = NOW_MS - 10_000


def properties(timestamp_s: int | None = None, **headers: Any) -> Basic.Properties:
    stamp = datetime.fromtimestamp(timestamp_s, tz=UTC) if timestamp_s is not None else None
    table = {name.replace("_", "-"): value for name, value in headers.items()}
    return Basic.Properties(timestamp=stamp, headers=table or None)


# --- creation time -----------------------------------------------------------------------------------------------


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


def test_without_a_date_it_is_the_first_receipt_which_somebody_has_to_write_down() -> None:
    assert creation(properties(), NOW_MS) == Creation(NOW_MS, NOW_MS, "first receipt", pinned=True)


@pytest.mark.parametrize("header", ["signalq-created-ms", "timestamp_in_ms"])
def test_a_creation_in_the_future_counts_as_now_and_is_pinned(header: str) -> None:
    at = creation(Basic.Properties(headers={header: NOW_MS + 1}), NOW_MS)
    assert at == Creation(NOW_MS, NOW_MS, header, pinned=True)


def test_a_timestamp_in_the_future_counts_as_now_and_is_pinned() -> None:
    assert creation(properties(timestamp_s=1_700_000_001), NOW_MS) == Creation(NOW_MS, NOW_MS, "timestamp", pinned=True)


@pytest.mark.parametrize("value", ["1700000000000", 1.7e12, True, None, -1, 2**62, b"1", [1], {}, Decimal(1)], ids=repr)
def test_a_brokers_stamp_that_is_no_plausible_whole_number_is_as_if_absent(value: Any) -> None:
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
def test_a_producers_date_that_is_none_is_refused_with_what_is_expected(value: Any, why: str) -> None:
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
def test_a_date_ahead_is_told_of_where_clocks_do_not_differ_so(ahead_ms: int, is_ahead: bool) -> None:
    at = creation(Basic.Properties(headers={"signalq-created-ms": NOW_MS + ahead_ms}), NOW_MS)
    assert (at.age_ms, at.ahead_ms, at.is_ahead) == (NOW_MS, ahead_ms, is_ahead)


# --- strategy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "app_id", "user_id", "name"),
    [
        ("momentum", "app", "user", "momentum"),
        (None, "app", "user", "app"),
        (None, None, "user", "user"),
        (None, None, None, "-"),
        ("", "app", None, "app"),
        ("", "", "", "-"),
        (7, "app", None, "app"),
        (b"\xff", "app", None, "app"),
    ],
)
def test_a_strategy_is_named_by_its_header_then_app_id_then_user_id(
    header: Any, app_id: str | None, user_id: str | None, name: str
) -> None:
    headers = {"signalq-strategy": header} if header is not None else None
    assert strategy(Basic.Properties(headers=headers, app_id=app_id, user_id=user_id)) == name


# --- what our producers set --------------------------------------------------------------------------------------


def test_our_producers_set_every_property_of_the_contract() -> None:
    sent = publish_properties(message_id="id", strategy_name="momentum", created_ms=NOW_MS, traceparent="00-a-b-01")
    assert sent.content_type == "application/json"
    assert sent.delivery_mode == 2
    assert sent.message_id == "id"
    assert sent.app_id == "momentum"
    assert sent.timestamp == datetime.fromtimestamp(1_700_000_000, tz=UTC)
    assert sent.headers == {"signalq-created-ms": NOW_MS, "traceparent": "00-a-b-01"}
    assert sent.user_id is None


def test_the_user_is_named_beside_a_strategy_and_never_in_place_of_one() -> None:
    named = publish_properties(message_id="id", strategy_name="momentum", created_ms=NOW_MS, user="robot")
    assert (named.user_id, strategy(named)) == ("robot", "momentum")
    assert strategy(publish_properties(message_id="id", strategy_name=None, created_ms=NOW_MS, user="robot")) == "-"


def test_a_message_id_of_ours_is_new_each_time() -> None:
    assert len({new_message_id() for _ in range(100)}) == 100


# --- what travels on ---------------------------------------------------------------------------------------------


def test_the_producers_properties_and_headers_travel_on() -> None:
    original = Basic.Properties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"signalq-created-ms": 1, "signalq-strategy": "s", "traceparent": "t", "mine": [1, {"a": None}]},
        correlation_id="c",
        reply_to="r",
        message_id="id",
        timestamp=datetime.fromtimestamp(5, tz=UTC),
        message_type="order",
        app_id="app",
    )
    passed_on = republish_properties(original, {}, "given")
    for name in Basic.Properties.__slots__:
        if name != "delivery_mode":
            assert getattr(passed_on, name) == getattr(original, name), name


@pytest.mark.parametrize("mode", [None, 1, 2])
def test_what_travels_on_is_persistent(mode: int | None) -> None:
    assert republish_properties(Basic.Properties(delivery_mode=mode), {}, "i").delivery_mode == 2


def test_neither_the_expiration_nor_the_priority_nor_the_user_id_travels_on() -> None:
    passed_on = republish_properties(Basic.Properties(expiration="1000", priority=9, user_id="guest"), {}, "i")
    assert passed_on.expiration is None
    assert passed_on.priority is None
    assert passed_on.user_id is None


@pytest.mark.parametrize(
    "header",
    [
        "x-death",
        "x-death-anything",
        "x-first-death-queue",
        "x-first-death-reason",
        "x-last-death-exchange",
        "x-delivery-count",
        "x-acquired-count",
        "CC",
        "BCC",
        *sorted(names.OWN_HEADERS),
    ],
)
def test_the_brokers_headers_and_our_own_are_taken_off(header: str) -> None:
    passed_on = republish_properties(Basic.Properties(headers={header: "forged", "mine": 1}), {}, "i")
    assert passed_on.headers == {"mine": 1}


def test_added_headers_join_the_producers_and_win_over_forged_ones() -> None:
    original = Basic.Properties(headers={"mine": 1, "signalq-reason": "forged"})
    passed_on = republish_properties(original, {"signalq-reason": "expired", "signalq-http-status": None}, "i")
    assert passed_on.headers == {"mine": 1, "signalq-reason": "expired"}


def test_a_message_without_an_id_travels_on_under_the_one_it_was_given() -> None:
    assert republish_properties(Basic.Properties(), {}, "given").message_id == "given"
    assert republish_properties(Basic.Properties(message_id="own"), {}, "given").message_id == "own"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"a": "x" * (HEADERS_BYTES_MAX + 1)}, id="too large"),
        pytest.param({f"a{n}": n for n in range(HEADER_VALUES_MAX + 1)}, id="too many"),
        pytest.param({"a": [{"b": [0] * HEADER_VALUES_MAX}]}, id="too many within"),
        pytest.param({"a": 2**70}, id="a number beyond 64 bits"),
        pytest.param({"a": Decimal("1e400")}, id="a decimal out of range"),
        pytest.param({"a": b"\xff"}, id="bytes that are no text"),
    ],
)
def test_headers_that_cannot_travel_on_are_left_behind_and_the_message_goes(headers: dict[str, Any]) -> None:
    assert republish_properties(Basic.Properties(headers=headers), {"added": 1}, "i").headers == {"added": 1}


def test_headers_nested_beyond_the_stack_are_left_behind() -> None:
    deep: dict[str, Any] = {}
    for _ in range(3000):
        deep = {"a": deep}
    assert republish_properties(Basic.Properties(headers=deep), {}, "i").headers == {}


@pytest.mark.parametrize("name", ["app_id", "correlation_id", "reply_to", "message_type", "content_type"])
def test_a_text_that_grew_by_reading_it_leniently_is_cut_to_255_bytes(name: str) -> None:
    passed_on = republish_properties(Basic.Properties(**{name: "é" * 200}), {}, "i")
    assert getattr(passed_on, name) == "é" * 127


def test_an_identity_that_is_too_long_to_travel_gets_one_that_fits_and_stays_the_same() -> None:
    """Bytes that are no UTF-8 are read as their escapes, and 255 of them become 1,020 characters."""
    for message_id in ("x" * 255, "é" * 127, ""):
        assert fitting_id(message_id) == message_id
    long, other = "\\xff" * 255, "\\xff" * 254 + "\\xfe"
    fitting = fitting_id(long)
    assert len(fitting.encode()) <= 255
    assert fitting_id(fitting) == fitting != fitting_id(other)
    again = republish_properties(Basic.Properties(message_id=long), {}, "an intent")
    assert again.message_id == fitting
