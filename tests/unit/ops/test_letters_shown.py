"""Of a letter only what an intent has is shown, never a token; all of it only raw (contract 5)."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from signalq.ops.dead_letters.census import record_of_letter
from signalq.ops.dead_letters.letter import Letter, read_letter
from signalq.settings.sections import Settings

TOKEN = "kQ7vX2mN9pL4"


def letter(body: bytes, headers: dict[str, Any] | None = None, **properties: Any) -> Letter:
    header = SimpleNamespace(properties=Basic.Properties(headers=headers, **properties))
    return read_letter(cast("DeliveredMessage", SimpleNamespace(header=header, body=body, delivery_tag=1)))


def shown(body: dict[str, object]) -> object:
    return json.loads(letter(json.dumps(body).encode()).body_shown() or "")


def test_values_of_an_intents_fields_are_shown_and_no_others() -> None:
    body = {
        "connectorName": "main",
        "connectorToken": TOKEN,
        "action": "buy",
        "fixed": 1.5,
        "notional": "7",
        "x": {"a": 1},
    }
    expected = {"connectorName": "main", "connectorToken": "***", "action": "buy", "fixed": 1.5, "notional": "***"}
    assert shown(body) == expected | {"x": "***"}
    assert shown({"connectorToken": "abc"}) == {"connectorToken": "***"}, "be it as short as a word"


def test_a_field_of_an_intent_that_holds_no_plain_value_is_not_shown() -> None:
    assert shown({"action": {"token": TOKEN}, "log": [TOKEN]}) == {"action": "***", "log": "***"}


def test_a_value_under_a_misspelt_token_is_blanked_elsewhere_too() -> None:
    assert shown({"connectorTokne": TOKEN, "log": f"sent {TOKEN}"}) == {"connectorTokne": "***", "log": "sent ***"}


def test_a_name_that_does_not_look_like_one_is_shown_by_its_length() -> None:
    assert shown({TOKEN: "1"}) == {"(a name of 12 characters, not shown)": "***"}


def test_a_body_that_is_no_object_shows_only_the_names_of_its_fields() -> None:
    found = letter(f'{{"connectorName":"main","connectorToken":"{TOKEN}","act'.encode())
    assert not found.is_readable
    assert found.body_shown() == '{"connectorName":"***","connectorToken":"***"}'
    assert letter(f"<token>{TOKEN}</token>".encode()).body_shown() is None


def test_only_the_headers_and_properties_that_signalq_knows_are_shown() -> None:
    headers = {
        "signalq-reason": "invalid",
        "signalq-created-ms": 5,
        "traceparent": TOKEN,
        "authorization": f"Bearer {TOKEN}",
        TOKEN: "1",
        "signalq-strategy": {"token": TOKEN},
    }
    found = letter(b"{}", headers, message_id="id", correlation_id=TOKEN, content_type="application/json")
    masked = dict.fromkeys(["traceparent", "authorization", "(a name of 12 characters, not shown)"], "***")
    assert found.headers_shown() == masked | {
        "signalq-reason": "invalid",
        "signalq-created-ms": 5,
        "signalq-strategy": "***",
    }
    assert found.properties_shown() == {
        "message_id": "id",
        "content_type": "application/json",
        "correlation_id": "***",
    }
    assert letter(b"{}", content_type=TOKEN).properties_shown() == {"content_type": "***"}


def test_raw_everything_is_shown_as_it_is() -> None:
    body = f"<token>{TOKEN}</token>\x1b[31m".encode()
    found = letter(body, {"authorization": TOKEN, "more": {"token": TOKEN}}, correlation_id=TOKEN)
    assert found.body_shown(raw=True) == body.decode()
    assert found.headers_shown(raw=True) == {"authorization": TOKEN, "more": {"token": TOKEN}}
    assert found.properties_shown(raw=True) == {"correlation_id": TOKEN}


def test_in_a_listing_the_letters_own_token_is_blanked() -> None:
    found = letter(json.dumps({"connectorToken": TOKEN, "clientOrderId": f"a-{TOKEN}"}).encode())
    assert found.row()["client_order_id"] == "a-***"


def test_a_token_is_blanked_in_every_place_that_is_shown() -> None:
    body = json.dumps({"connectorName": TOKEN, "connectorToken": TOKEN, "clientOrderId": f"c {TOKEN}"}).encode()
    headers = {"signalq-strategy": f"s {TOKEN}", "signalq-detail": TOKEN, "signalq-intent-id": TOKEN}
    found = letter(body, headers, message_id=f"id {TOKEN}", app_id=TOKEN)
    for told in (found.row(), found.properties_shown(), found.headers_shown(), found.body_shown()):
        assert TOKEN not in json.dumps(told)


def order_of(body: str) -> object:
    return letter(body.encode()).row()["order"]


def test_the_order_of_a_letter_is_that_of_other_listings_whatever_its_producer_wrote() -> None:
    assert order_of(json.dumps({"action": "buy", "fixed": 1.5, "delaySeconds": "60", "connectorToken": TOKEN})) == {
        "action": "buy",
        "fixed": "1.5",
        "delaySeconds": 60,
    }
    assert order_of('{"action":"buy","delaySeconds":"soon","limit":null}') == {
        "action": "buy",
        "delaySeconds": "soon",
        "limit": None,
    }
    assert order_of('{"delaySeconds":1e999}') == {"delaySeconds": None}
    assert order_of(f'{{"fixed":"{"9" * 1_000}","log":"{"x" * 60_000}"}}') == {"fixed": "9" * 200, "log": "x" * 200}


@pytest.mark.parametrize(
    ("said", "dead_ms"),
    [
        ("2026-01-31T12:00:00.000Z", 1_769_860_800_000),
        ("2026-01-31T20:00:00+08:00", 1_769_860_800_000),
        ("yesterday", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        (None, None),
    ],
)
def test_the_ledger_is_told_of_no_time_of_a_foreign_letter_that_can_not_be_written_in_utc(
    said: str | None, dead_ms: int | None
) -> None:
    headers = {"signalq-intent-id": "x", "signalq-dead-at": said}
    assert record_of_letter(letter(b"{}", headers), Settings()).dead_ms == dead_ms
