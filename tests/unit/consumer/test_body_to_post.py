"""The body of the POST: the bytes that came, where the webhook may have them, else the object written anew."""

import json
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read, renewed
from signalq.settings.sections import Settings

NOW_MS = 1_700_000_000_000
PLAIN = {"connectorName": "main", "connectorToken": "tök", "action": "openLong", "percent": "50", "log": 'a "b"'}


def message(fields: dict[str, Any]) -> Message:
    """With blanks between its fields, as most programs write JSON."""
    return Message(json.dumps(fields).encode(), Basic.Properties(message_id="id"), "main", False)


def order(fields: dict[str, Any], settings: Settings) -> Order:
    found = read(message(fields), settings, NOW_MS)
    assert isinstance(found, Order), found
    return found


def test_a_body_in_which_nothing_changes_goes_out_byte_for_byte() -> None:
    assert order(PLAIN, Settings()).body_to_post() == message(PLAIN).body


@pytest.mark.parametrize(
    ("came", "settings", "posted"),
    [
        ({"delaySeconds": 0}, {}, {}),
        ({"delaySeconds": "0"}, {}, {}),
        ({"delaySecondsFilter": "x"}, {}, {}),
        ({"profit": 1.5}, {}, {"profit": "1.5"}),
        ({"clientOrderId": None}, {}, {}),
        ({"connectorToken": None}, {"connectors": {"main": {"token": "set"}}}, {"connectorToken": "set"}),
        (
            {"action": "cancellAll", "percent": "50"},
            {"webhook": {"cancel_all_spelling": "cancelAll"}},
            {"action": "cancelAll", "percent": "50"},
        ),
        ({"more": {"a": [1]}}, {"connectors": {"main": {"extra_fields": ["more"]}}}, {"more": {"a": [1]}}),
    ],
)
def test_a_body_in_which_something_changes_is_written_anew(
    came: dict[str, Any], settings: dict[str, Any], posted: dict[str, Any]
) -> None:
    found = order(PLAIN | came, Settings(**settings))
    assert json.loads(found.body_to_post()) == PLAIN | posted
    assert b": " not in found.body_to_post()


def test_a_body_goes_out_as_it_came_by_other_settings_too() -> None:
    found = renewed(order(PLAIN, Settings()), message(PLAIN), Settings(webhook={"cancel_all_spelling": "cancelAll"}))
    assert found.body_to_post() == message(PLAIN).body


def test_no_representation_of_an_order_shows_the_body() -> None:
    assert "tök" not in repr(order(PLAIN, Settings()))
