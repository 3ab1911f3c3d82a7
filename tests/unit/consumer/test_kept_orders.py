"""The fields that are kept of an order hold everything that a person asks for, and no secret (contract 4)."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders.kept import LOOKED_AT_CHARACTERS, TEXT_CHARACTERS_MAX, kept_fields, order_fields
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.settings.connections import LedgerSettings
from signalq.settings.named import Connector
from signalq.settings.sections import Settings
from tests.support.secrets_table import CONFIGURED, SECRET, found_in

NOW_MS = 1_764_000_000_000
SETTINGS = Settings(
    connectors={
        "main": Connector.model_validate({"token": CONFIGURED, "extra_fields": ("notional",)}),
        "digits": Connector.model_validate({"token": "40718293.5566", "lane": "shared"}),
    }
)


def order(settings: Settings = SETTINGS, **fields: object) -> Order:
    body = {"connectorName": "desk", "connectorToken": SECRET, "action": "openLong"} | fields
    found = read(
        Message(json.dumps(body).encode(), Basic.Properties(message_id="id"), "desk", redelivered=False),
        settings,
        NOW_MS,
    )
    assert isinstance(found, Order), found
    return found


def kept(settings: Settings = SETTINGS, **fields: object) -> dict[str, Any]:
    text = kept_fields(order(settings, **fields))
    assert text is not None
    return json.loads(text)  # type: ignore[no-any-return]


def test_every_field_is_kept_but_the_token_and_the_fields_that_have_columns_of_their_own() -> None:
    fields = {
        *(("fixed", "0.50"), ("percent", "50"), ("limit", "65000.10"), ("profit", "70000"), ("loss", "60000")),
        *(("log", "golden cross"), ("delaySecondsFilter", "golden")),
    }
    given = dict(fields) | {"delaySeconds": 60.5, "clientOrderId": "long-1"}
    found = kept(**given)
    assert found == dict(fields) | {"delaySeconds": 60.5}
    assert kept(fixed=1.5, delaySeconds="60") == {"fixed": "1.5", "delaySeconds": 60}
    assert order_fields("desk", "openLong", "long-1", json.dumps(found)) == given | {
        "connectorName": "desk",
        "action": "openLong",
    }


def test_an_order_without_such_fields_is_kept_and_one_that_is_not_kept_is_none() -> None:
    assert kept(action="cancelAll") == {}
    assert order_fields("desk", "cancelAll", None, "{}") == {"connectorName": "desk", "action": "cancelAll"}
    assert order_fields("desk", "cancelAll", None, None) is None
    off = Settings(ledger=LedgerSettings.model_validate({"keep_orders": False}))
    assert kept_fields(order(off, percent="50")) is None


def test_a_field_that_only_its_connector_lets_through_is_not_kept() -> None:
    assert kept(connectorName="main", connectorToken=CONFIGURED, percent="50", notional={"a": 1}) == {"percent": "50"}


@pytest.mark.parametrize("name", ["log", "delaySecondsFilter"])
def test_a_long_text_is_cut(name: str) -> None:
    assert kept(**{name: "x" * 60_000}) == {name: "x" * TEXT_CHARACTERS_MAX}


SPELLINGS = {
    "as it is": str,
    "in upper case": str.upper,
    "in a URL": lambda token: quote(token, safe=""),
    "escaped": lambda token: "".join(f"\\u{ord(character):04x}" for character in token),
    "in base 64": lambda token: base64.b64encode(token.encode()).decode(),
    "in hexadecimal": lambda token: token.encode().hex(),
    "in HTML": lambda token: "".join(f"&#{ord(character):07};" for character in token),
}


@pytest.mark.parametrize("token", [SECRET, CONFIGURED], ids=["its own", "a configured one"])
@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("name", ["log", "delaySecondsFilter"])
@pytest.mark.parametrize("before", [0, 40, TEXT_CHARACTERS_MAX - 9, TEXT_CHARACTERS_MAX - 1, LOOKED_AT_CHARACTERS])
def test_no_token_is_kept_wherever_in_a_text_it_begins(name: str, token: str, spell: Any, before: int) -> None:
    found = kept(**{name: "x" * before + f" {spell(token)} y"})
    assert not found_in(json.dumps(found))
    assert token[:PART].casefold() not in found[name].casefold()


PART = 8


def test_a_text_beside_a_token_too_long_to_be_looked_for_is_hidden() -> None:
    token = "kQ7vX2mN" * 300
    assert kept(connectorToken=token, log=f"{token} is it") == {"log": "***"}
    assert kept(connectorToken=token, log="golden cross") == {"log": "golden cross"}


@pytest.mark.parametrize("again", [SECRET, f"{SECRET} ", f"{SECRET}/"], ids=["run on", "blanks", "slashes"])
def test_a_token_that_comes_again_and_again_is_not_kept_in_part(again: str) -> None:
    """Masks are shorter than tokens: the last one, which was looked at in part, must not move into what is kept."""
    before = "x" * (LOOKED_AT_CHARACTERS % len(again) - len(again) // 2)
    for text in (again * 300, before + again * 300):
        assert not found_in(json.dumps(kept(log=text)))
        assert SECRET[:PART] not in kept(log=text)["log"]


def test_behind_a_mask_nothing_is_kept_of_a_text_that_is_too_long_to_be_looked_at() -> None:
    assert kept(log=f"a {SECRET} b") == {"log": "a *** b"}
    assert kept(log=f"a {SECRET} b {'y' * LOOKED_AT_CHARACTERS}") == {"log": "a ***"}


def test_a_part_of_a_configured_token_a_login_and_digits_that_are_a_token_are_blanked() -> None:
    assert kept(log=f"a {CONFIGURED[5:16]} b") == {"log": "a *** b"}
    assert kept(log="see amqp://me:pass@host/ there") == {"log": "see amqp://***@host/ there"}
    assert kept(limit="40718293.5566") == {"limit": "***"}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.text(max_size=3), st.text(max_size=3))
def test_a_text_without_a_secret_is_kept_as_it_came(log: str, before: str, after: str) -> None:
    text = f"{before}{log}{after}".encode("utf-8", "ignore").decode()
    if "://" not in text:
        assert kept(log=text, percent="50") == {"percent": "50", "log": text}
