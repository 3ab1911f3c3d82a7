"""The JSON Schema of an intent and the code agree on random bodies, but for the rules that a schema can't say."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from signalq.documents.json_schema import intent_schema
from signalq.message.field_rules import CLIENT_ORDER_ID_BYTES_MAX, CONNECTOR_NAME_BYTES_MAX, Action
from signalq.message.intent import FIELD_NAMES
from signalq.message.strict_json import DIGITS_MAX, digits_of
from signalq.names import LADDER_MAX_S
from tests.unit.signalq.test_schema import BEYOND_A_SCHEMA, DECIMALS, OPEN, accepted_by_code

SCHEMA = Draft202012Validator(intent_schema())
BYTES_MAX = {"connectorName": CONNECTOR_NAME_BYTES_MAX, "clientOrderId": CLIENT_ORDER_ID_BYTES_MAX}

# What looks like a number, or nearly so.
number_texts = st.text("0123456789.-+eE\n ", max_size=7)
numbers = st.integers(-10, 2_000_000) | st.decimals(allow_nan=False, allow_infinity=False, places=3)
exponents = st.builds(lambda digits, exponent: Decimal(f"{digits}e{exponent}"), st.integers(-9, 99), st.integers(-9, 9))
names = st.text("aZ9 -ä\xa0\u200b\u3000€😀\n\x00\x7f\x9b", max_size=6) | st.sampled_from(
    ["main", "x" * 128, "x" * 129, "ä" * 64, "ä" * 65, "a\n"]
)
oddities = st.sampled_from([None, True, False, [], {}, "", 0, "main", "entry-1"])


def values_of(field: str) -> st.SearchStrategy[Any]:
    """Mostly what belongs there."""
    if field == "action":
        return st.sampled_from(get_args(Action)) | oddities
    if field in {*DECIMALS, "delaySeconds"}:
        return number_texts | numbers | exponents | st.sampled_from(["50", "100", "0.5", 100]) | oddities
    return names | oddities


present = st.sets(st.sampled_from(FIELD_NAMES), max_size=5).flatmap(
    lambda chosen: st.fixed_dictionaries({name: values_of(name) for name in sorted(chosen)})
)
unknown = st.dictionaries(st.sampled_from(["notional", "connector_name", "Fixed"]), oddities, max_size=1)
bodies = st.builds(lambda base, fields, more: base | fields | more, st.sampled_from([OPEN, {}]), present, unknown)


def beyond_a_schema(body: dict[str, Any]) -> bool:
    """Whether it is one of those that docs/intent.md says a schema can't tell from good ones."""
    return (
        "\U000e0041" in str(body.get("connectorName"))
        or any(len(str(body[name]).encode()) > most for name, most in BYTES_MAX.items() if name in body)
        or (isinstance(body.get("delaySeconds"), str) and seconds(body["delaySeconds"]) > LADDER_MAX_S)
        or any(is_long(value) for value in body.values())
    )


def seconds(text: str) -> Decimal:
    """0 for a text that is no number."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal(0)


def is_long(value: object) -> bool:
    """A number with more digits than are written out."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    number = Decimal(value)
    return abs(number.adjusted()) > DIGITS_MAX or digits_of(format(number, "f")) > DIGITS_MAX


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(bodies)
@example(OPEN | {"delaySeconds": "-0"})
@example(OPEN | {"connectorName": "a\n"})
def test_code_and_schema_accept_the_same_bodies_but_for_rules_that_no_schema_can_say(body: dict[str, Any]) -> None:
    taken = accepted_by_code(body)
    fits = SCHEMA.is_valid(body)
    assert fits or not taken, f"the schema refuses what the code takes: {json.dumps(body, default=str)}"
    assert taken or not fits or beyond_a_schema(body), f"the schema takes too much: {json.dumps(body, default=str)}"


def test_the_rules_that_a_schema_cannot_say_are_left_out_here() -> None:
    assert all(beyond_a_schema(body) for body in BEYOND_A_SCHEMA.values())
    assert not beyond_a_schema(OPEN)
