"""Message properties: the strategy they name, what our producers set, and what travels on (contract 1 and 3)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq import names
from signalq.message.envelope import (
    HEADER_VALUES_MAX,
    HEADERS_BYTES_MAX,
    publish_properties,
    republish_properties,
    strategy,
)

NOW_MS = 1_700_000_000_500


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
    sent = publish_properties(
        message_id="id", strategy_name="momentum", created_ms=NOW_MS, trace={"traceparent": "00-a-b-01"}
    )
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
def test_a_passed_on_message_is_persistent(mode: int | None) -> None:
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
