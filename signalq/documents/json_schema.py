"""The JSON Schema (draft 2020-12) of an order intent, as the body of a message.

The names, the actions and the mandatory fields come from OrderIntent; the rules of each field are written out here,
since the model checks them in code. test_schema.py and test_schema_properties.py hold both to the same bodies. The
schema accepts a few bodies more than the code, for rules that a schema can't say: docs/intent.md, "The schema".
"""

from typing import Any

from signalq.message.field_rules import CLIENT_ORDER_ID_BYTES_MAX, CONNECTOR_NAME_BYTES_MAX, FUTURES_ACTIONS
from signalq.message.intent import DECIMAL_FIELDS, OrderIntent
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.names import LADDER_MAX_S

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# These patterns mean the same to every engine of regular expressions (JSON Schema 2020-12 core, 6.4): no look-ahead,
# which Go and RE2 lack, no \d, which is more than 0 to 9 in some, and \x instead of \u. In some engines `$` also
# matches before a last line break, so line breaks are refused by a pattern of their own.
_DECIMAL = r"^([0-9]+(\.[0-9]+)?|\.[0-9]+)$"
_NOT_ZERO = r"[1-9]"
_UP_TO_100 = r"^0*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?|\.[0-9]+)$"
_SECONDS = r"^([0-9]+(\.[0-9]+)?|\.[0-9]+|-0+(\.0+)?|-\.0+)([eE][+-]?[0-9]{1,9})?$"
# By their code points, which every engine reads alike: control characters, Unicode's format characters up to U+FFFF
# (those beyond are two units to some engines), and white space.
_FORMAT = (
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff"
    "\ufff9-\ufffb"
)
_SPACE = " \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_NO_NAME = rf"[\x00-\x1f\x7f-\x9f{_FORMAT}]|^[{_SPACE}]|[{_SPACE}]$"
_LINE_BREAK = r"\n"


def intent_schema(*, delay_max_s: int = LADDER_MAX_S) -> dict[str, Any]:
    """The schema of a body by the rules alone. It asks for no token, since the connector's may be configured."""
    model = OrderIntent.model_json_schema(by_alias=True)
    rules = _rules(delay_max_s)
    properties = {}
    for name, found in model["properties"].items():
        # The list of a field's values is all that the model says of a field as the contract has it.
        values = {"enum": found["enum"]} if "enum" in found else {}
        is_nullable = name not in {*model["required"], *DECIMAL_FIELDS}
        properties[name] = values | (_or_null(rules[name]) if is_nullable else rules[name])
    return {
        "$schema": DIALECT,
        "title": "Order intent",
        "description": (
            f"A UTF-8 JSON object of at most {BODY_BYTES_MAX} bytes, without duplicate keys. "
            "An explicit null for an optional field means that it is absent; in a decimal field it is refused."
        ),
        "type": "object",
        "required": model["required"],
        "properties": properties,
        "additionalProperties": model["additionalProperties"],
        "allOf": [
            {
                "if": {"required": ["action"], "properties": {"action": {"const": "cancel"}}},
                "then": {"required": ["clientOrderId"], "properties": {"clientOrderId": {"type": "string"}}},
            },
            {
                "if": {"required": ["action"], "properties": {"action": {"enum": list(FUTURES_ACTIONS)}}},
                "else": {"not": {"anyOf": [{"required": ["profit"]}, {"required": ["loss"]}]}},
            },
        ],
        "examples": [
            {"connectorName": "main", "action": "openLong", "percent": "50", "clientOrderId": "entry-1"},
            {"connectorName": "main", "action": "closeLong", "percent": "100"},
        ],
    }


def _rules(delay_max_s: int) -> dict[str, dict[str, Any]]:
    return {
        "connectorName": {
            "type": "string",
            "minLength": 1,
            "maxLength": CONNECTOR_NAME_BYTES_MAX,
            "not": _string_with(_NO_NAME),
            "description": (
                f"The connector; 1 to {CONNECTOR_NAME_BYTES_MAX} bytes of UTF-8, no control or format characters, no "
                "white space at either end."
            ),
        },
        "action": {"type": "string", "description": "What to do; cancelAll has three spellings that mean the same."},
        "connectorToken": {
            "type": "string",
            "minLength": 1,
            "writeOnly": True,
            "description": "The connector's secret; may be left out where it is configured.",
        },
        "fixed": _decimal("The amount; wins over percent where both are there."),
        "percent": {
            "anyOf": [_above_zero(_UP_TO_100), {"type": "number", "exclusiveMinimum": 0, "maximum": 100}],
            "description": "A share in percent, above 0 and at most 100, as a string or as a number.",
        },
        "limit": _decimal("The limit price; absent means a market order."),
        "profit": _decimal("The take-profit price; futures only."),
        "loss": _decimal("The stop-loss price; futures only."),
        "log": {"type": "string", "description": "A message to print in the log."},
        "clientOrderId": {
            "type": "string",
            "minLength": 1,
            "maxLength": CLIENT_ORDER_ID_BYTES_MAX,
            "description": f"The order's id, needed to cancel it; 1 to {CLIENT_ORDER_ID_BYTES_MAX} bytes of UTF-8.",
        },
        "delaySeconds": {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": delay_max_s},
                {"type": "string", "pattern": _SECONDS, "not": _string_with(_LINE_BREAK)},
            ],
            "description": f"Seconds to wait, 0 to {delay_max_s}; fractions allowed, a numeric string is accepted.",
        },
        "delaySecondsFilter": {"type": "string", "description": "Wait only if log contains this text."},
    }


def _decimal(description: str) -> dict[str, Any]:
    return {
        "anyOf": [_above_zero(_DECIMAL), {"type": "number", "exclusiveMinimum": 0}],
        "description": f"{description} A decimal above 0, as a string or as a number; goes out digit by digit.",
    }


def _above_zero(pattern: str) -> dict[str, Any]:
    """A number above 0 written as a string, in the form of `pattern`: not all of its digits are 0."""
    return {"type": "string", "allOf": [{"pattern": pattern}, {"pattern": _NOT_ZERO}], "not": _string_with(_LINE_BREAK)}


def _string_with(pattern: str) -> dict[str, Any]:
    """A string with this pattern. The type is needed for a `not`: to `pattern` alone, a null would be one."""
    return {"type": "string", "pattern": pattern}


def _or_null(rule: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in rule:
        return {**rule, "anyOf": [*rule["anyOf"], {"type": "null"}]}
    return {**rule, "type": [rule["type"], "null"]}
