"""The JSON Schema of an intent says what the code checks: both read the same table of bodies."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from signalq.errors import InvalidIntent
from signalq.intent import FIELD_NAMES, intent_from_body
from signalq.schema import intent_schema

OPEN = {"connectorName": "main", "action": "openLong"}
SPOT = {"connectorName": "main", "action": "buy"}
DECIMALS = ["fixed", "limit", "percent", "profit", "loss"]

GOOD: list[dict[str, Any]] = [
    OPEN,
    {**OPEN, "connectorToken": "x", "log": "", "clientOrderId": "a b", "delaySecondsFilter": ""},
    *({**OPEN, name: value} for name in DECIMALS for value in ("0.5", ".5", "00.10", "100", 1, 0.001, 99.5, None)),
    *({**OPEN, "percent": value} for value in ("100.000", "0100.0", "99.999", 100)),
    *({**OPEN, "delaySeconds": value} for value in (0, 1.5, "3", "1e2", ".5", 1_048_575, None)),
    *({**OPEN, "action": action} for action in ("buy", "sell", "closeShort", "cancelAll", "cancellAll", "cancel_all")),
    {**SPOT, "profit": None, "loss": None, "log": None, "connectorToken": None},
    {**SPOT, "action": "cancel", "clientOrderId": "1"},
    {**SPOT, "connectorName": "x" * 128, "clientOrderId": "y" * 128},
]

BAD: list[Any] = [
    {},
    {"connectorName": "main"},
    {"action": "buy"},
    [],
    "buy",
    *({**OPEN, name: value} for name in DECIMALS for value in ("0", "0.0", "-1", "1e3", "+1", "1.", "", " 1", "1\n")),
    *({**OPEN, name: value} for name in DECIMALS for value in (0, -1, True, [], {}, "1,5", "٣")),
    *({**OPEN, "percent": value} for value in ("100.001", "101", "1000", 100.5)),
    *({**OPEN, "delaySeconds": value} for value in (-1, 1_048_576, "", "soon", True, [])),
    *({**OPEN, name: 1} for name in ("connectorToken", "log", "clientOrderId", "delaySecondsFilter", "connectorName")),
    *({**SPOT, name: "1"} for name in ("profit", "loss")),
    {**SPOT, "action": "cancelAll", "profit": "1"},
    *({**OPEN, "action": action} for action in ("openlong", "", None, 1, "close")),
    *({**OPEN, "connectorName": name} for name in ("", "a\x00b", "a\x9b", "a\n", "x" * 129, None)),
    {**SPOT, "action": "cancel"},
    {**SPOT, "action": "cancel", "clientOrderId": None},
    *({**OPEN, "clientOrderId": value} for value in ("", "y" * 129)),
    {**OPEN, "connectorToken": ""},
    {**OPEN, "notional": "1"},
    {**OPEN, "connector_name": "main"},
]


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """The few words of JSON Schema that ours uses; one that is not known here fails the test."""
    return all(_KEYWORDS[word](value, schema[word], schema) for word in schema)


_TYPES = {"object": dict, "string": str, "number": (int, float), "null": type(None)}


def _is_type(value: Any, names: Any, _schema: object) -> bool:
    wanted = [names] if isinstance(names, str) else names
    return any(isinstance(value, _TYPES[name]) and not isinstance(value, bool) for name in wanted)


def _matches(value: Any, pattern: str, _schema: object) -> bool:
    return not isinstance(value, str) or re.search(pattern, value) is not None


def _properties(value: Any, properties: dict[str, Any], _schema: object) -> bool:
    return not isinstance(value, dict) or all(
        fits(value[name], rule) for name, rule in properties.items() if name in value
    )


def _nothing_more(value: Any, allowed: object, schema: dict[str, Any]) -> bool:
    assert allowed is False
    return not isinstance(value, dict) or set(value) <= set(schema["properties"])


def _condition(value: Any, condition: dict[str, Any], schema: dict[str, Any]) -> bool:
    return fits(value, schema.get("then" if fits(value, condition) else "else", {}))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _says_nothing(_value: object, _rule: object, _schema: object) -> bool:
    return True


_KEYWORDS: dict[str, Any] = {
    "type": _is_type,
    "enum": lambda value, values, _schema: value in values,
    "const": lambda value, wanted, _schema: value == wanted,
    "pattern": _matches,
    "minLength": lambda value, low, _schema: not isinstance(value, str) or len(value) >= low,
    "maxLength": lambda value, high, _schema: not isinstance(value, str) or len(value) <= high,
    "minimum": lambda value, low, _schema: not _number(value) or value >= low,
    "maximum": lambda value, high, _schema: not _number(value) or value <= high,
    "exclusiveMinimum": lambda value, low, _schema: not _number(value) or value > low,
    "anyOf": lambda value, rules, _schema: any(fits(value, rule) for rule in rules),
    "allOf": lambda value, rules, _schema: all(fits(value, rule) for rule in rules),
    "required": lambda value, names, _schema: not isinstance(value, dict) or set(names) <= set(value),
    "properties": _properties,
    "additionalProperties": _nothing_more,
    "if": _condition,
    **dict.fromkeys(("then", "else"), _says_nothing),
    **dict.fromkeys(("$schema", "title", "description", "examples", "writeOnly"), _says_nothing),
}


def accepted_by_code(body: Any) -> bool:
    try:
        intent_from_body(json.dumps(body).encode())
    except InvalidIntent:
        return False
    return True


@pytest.mark.parametrize("body", GOOD, ids=json.dumps)
def test_what_the_code_takes_the_schema_takes(body: Any) -> None:
    assert accepted_by_code(body)
    assert fits(body, intent_schema())


@pytest.mark.parametrize("body", BAD, ids=json.dumps)
def test_what_the_code_refuses_the_schema_refuses(body: Any) -> None:
    assert not accepted_by_code(body)
    assert not fits(body, intent_schema())


def test_the_schema_names_every_field_and_nothing_else() -> None:
    assert tuple(intent_schema()["properties"]) == FIELD_NAMES


def test_its_own_examples_fit() -> None:
    for example in intent_schema()["examples"]:
        assert accepted_by_code(example)
        assert fits(example, intent_schema())


def test_the_longest_delay_is_the_one_that_is_set() -> None:
    schema = intent_schema(delay_max_s=60)
    assert fits({**OPEN, "delaySeconds": 60}, schema)
    assert not fits({**OPEN, "delaySeconds": 61}, schema)


def test_every_field_says_what_it_is() -> None:
    assert all(rule["description"] for rule in intent_schema()["properties"].values())
