"""The JSON Schema of an intent says what the code checks: both read the same table of bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator, SchemaError

from signalq.documents.json_schema import intent_schema
from signalq.errors import InvalidIntent
from signalq.message.intent import FIELD_NAMES, intent_from_body

OPEN = {"connectorName": "main", "action": "openLong"}
SPOT = {"connectorName": "main", "action": "buy"}
DECIMALS = ["fixed", "limit", "percent", "profit", "loss"]

GOOD: list[dict[str, Any]] = [
    OPEN,
    {**OPEN, "connectorToken": "x", "log": "", "clientOrderId": "a b", "delaySecondsFilter": ""},
    *({**OPEN, name: value} for name in DECIMALS for value in ("0.5", ".5", "00.10", "100", 1, 0.001, 99.5, 1e1)),
    *({**OPEN, "percent": value} for value in ("100.000", "0100.0", "99.999", 100)),
    *({**OPEN, "delaySeconds": value} for value in (0, 1.5, "3", "1e2", ".5", "-0.0", -0.0, 1_048_575, None)),
    *({**OPEN, "action": action} for action in ("buy", "sell", "closeShort", "cancelAll", "cancellAll", "cancel_all")),
    {**SPOT, "log": None, "connectorToken": None},
    {**SPOT, "action": "cancel", "clientOrderId": "1"},
    {**SPOT, "connectorName": "x" * 128, "clientOrderId": "y" * 128},
    {**SPOT, "connectorName": "Ω grid #2", "log": "a line\nand another", "connectorToken": "\u0000"},
    {**OPEN, "fixed": "1", "percent": "100", "limit": 12.5, "profit": "2", "loss": 0.5},
]

BAD: list[Any] = [
    {},
    {"connectorName": "main"},
    {"action": "buy"},
    [],
    "buy",
    *({**OPEN, name: value} for name in DECIMALS for value in ("0", "0.0", "-1", "1e3", "+1", "1.", "", " 1", "1\n")),
    *({**OPEN, name: value} for name in DECIMALS for value in (0, -1, True, [], {}, "1,5", "٣", None)),
    *({**OPEN, "percent": value} for value in ("100.001", "101", "1000", 100.5)),
    *({**OPEN, "delaySeconds": value} for value in (-1, 1_048_576, "", "soon", True, [], "-1", "-0.5", "1\n", "1e")),
    *({**OPEN, name: 1} for name in ("connectorToken", "log", "clientOrderId", "delaySecondsFilter", "connectorName")),
    *({**SPOT, name: value} for name in ("profit", "loss") for value in ("1", None)),
    {**SPOT, "action": "cancelAll", "profit": "1"},
    *({**OPEN, "action": action} for action in ("openlong", "", None, 1, "close")),
    *({**OPEN, "connectorName": name} for name in ("", "a\x00b", "a\x9b", "a\n", "x" * 129, None)),
    *(
        {**OPEN, "connectorName": name}
        for name in ("main ", " main", "\xa0main", "main\u3000", "ma\u200bin", "\u202emain")
    ),
    {**SPOT, "action": "cancel"},
    {**SPOT, "action": "cancel", "clientOrderId": None},
    *({**OPEN, "clientOrderId": value} for value in ("", "y" * 129)),
    {**OPEN, "connectorToken": ""},
    {**OPEN, "notional": "1"},
    {**OPEN, "connector_name": "main"},
]


# What the code refuses and a schema can't, each with a body; docs/intent.md lists them.
BEYOND_A_SCHEMA: dict[str, Any] = {
    "bytes of a connector's name": {**OPEN, "connectorName": "ä" * 65},
    "bytes of an order's id": {**OPEN, "clientOrderId": "ä" * 65},
    "a format character beyond U+FFFF": {**OPEN, "connectorName": "ma\U000e0041in"},
    "the bound of seconds in a string": {**OPEN, "delaySeconds": "1048576"},
    "the length of a number written out": {**OPEN, "fixed": Decimal("1e-200")},
}


def as_json(body: Any) -> bytes:
    """The body as a message has it; a Decimal as a number with its digits."""
    return re.sub(r'"Decimal:([^"]+)"', r"\1", json.dumps(body, default=lambda number: f"Decimal:{number}")).encode()


def fits(body: Any, schema: dict[str, Any]) -> bool:
    return Draft202012Validator(schema).is_valid(body)


def accepted_by_code(body: Any) -> bool:
    try:
        intent_from_body(as_json(body))
    except InvalidIntent:
        return False
    return True


@pytest.mark.parametrize("body", GOOD, ids=json.dumps)
def test_the_schema_accepts_what_the_code_accepts(body: Any) -> None:
    assert accepted_by_code(body)
    assert fits(body, intent_schema())


@pytest.mark.parametrize("body", BAD, ids=json.dumps)
def test_the_schema_refuses_what_the_code_refuses(body: Any) -> None:
    assert not accepted_by_code(body)
    assert not fits(body, intent_schema())


@pytest.mark.parametrize("body", BEYOND_A_SCHEMA.values(), ids=BEYOND_A_SCHEMA)
def test_the_rules_that_a_schema_cannot_say_are_known(body: Any) -> None:
    assert not accepted_by_code(body)
    assert fits(body, intent_schema())


def test_the_schema_keeps_the_rules_of_its_own_dialect() -> None:
    Draft202012Validator.check_schema(intent_schema())


@pytest.mark.parametrize(
    "mistake", [{"type": "strin"}, {"required": "action"}, {"properties": {"fixed": {"pattern": 1}}}], ids=json.dumps
)
def test_one_with_a_mistake_would_be_found(mistake: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        Draft202012Validator.check_schema(intent_schema() | mistake)


def patterns(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["pattern"]] if isinstance(part.get("pattern"), str) else []
        part = list(part.values())
    for inner in part if isinstance(part, list) else []:
        yield from patterns(inner)


def test_the_patterns_of_the_schema_are_of_the_kind_that_every_engine_knows() -> None:
    """No groups with a question mark, no classes by letter, no back references: the engines differ in these."""
    found = set(patterns(intent_schema()))
    assert len(found) > 4
    assert [pattern for pattern in found if re.search(r"\(\?|\\[^nx.]", pattern)] == []


def test_the_schema_names_every_field_and_nothing_else() -> None:
    assert tuple(intent_schema()["properties"]) == FIELD_NAMES


def test_the_examples_of_the_schema_fit_it() -> None:
    for example in intent_schema()["examples"]:
        assert accepted_by_code(example)
        assert fits(example, intent_schema())


def test_the_longest_delay_is_the_one_that_is_set() -> None:
    schema = intent_schema(delay_max_s=60)
    assert fits({**OPEN, "delaySeconds": 60}, schema)
    assert not fits({**OPEN, "delaySeconds": 61}, schema)


def test_every_field_says_what_it_is() -> None:
    assert all(rule["description"] for rule in intent_schema()["properties"].values())
