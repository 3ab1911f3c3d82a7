"""JSON as an order needs it (contract 1)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from signalq.errors import InvalidIntent
from signalq.message.strict_json import (
    BODY_BYTES_MAX,
    DIGITS_MAX,
    VALUES_MAX,
    JsonNumber,
    parse_object,
    render,
)


def nested(depth: int) -> bytes:
    """An object whose deepest value is `depth` levels below the top."""
    return b'{"a":' + b"[" * (depth - 1) + b"1" + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        pytest.param(b"", "the body is empty", id="an empty body"),
        pytest.param(b" ", "not JSON", id="white space alone"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', "byte-order mark", id="a UTF-8 byte-order mark"),
        pytest.param('{"a":1}'.encode("utf-16"), "not UTF-8 (byte 0)", id="UTF-16"),
        pytest.param(b'{"a":"\xff"}', "not UTF-8 (byte 6)", id="bytes that are not UTF-8"),
        pytest.param(b'{"a":"\xed\xa0\x80"}', "not UTF-8", id="a surrogate encoded as bytes"),
        pytest.param(b"[]", "not an object", id="a list"),
        pytest.param(b'"text"', "not an object", id="a string"),
        pytest.param(b"12", "not an object", id="a number"),
        pytest.param(b"null", "not an object", id="null"),
        pytest.param(b"true", "not an object", id="true"),
        pytest.param(b'{"a":1', "not JSON", id="an object without its end"),
        pytest.param(b'{"a":1}{"b":2}', "not JSON", id="two objects"),
        pytest.param(b'{"a":1,}', "not JSON", id="a comma at the end"),
        pytest.param(b"{'a':1}", "not JSON", id="single quotes"),
        pytest.param(b'{"a":01}', "not JSON", id="a leading zero"),
        pytest.param(b'{"a":+1}', "not JSON", id="a plus sign"),
        pytest.param(b'{"a":.5}', "not JSON", id="no digit before the point"),
        pytest.param(b'{"a":0x10}', "not JSON", id="a hexadecimal number"),
        pytest.param(b'{"a":"\n"}', "not JSON", id="a bare control character"),
        pytest.param(b'{"a":NaN}', "NaN and Infinity", id="NaN"),
        pytest.param(b'{"a":Infinity}', "NaN and Infinity", id="Infinity"),
        pytest.param(b'{"a":-Infinity}', "NaN and Infinity", id="minus Infinity"),
        pytest.param(b'{"a":[{"b":NaN}]}', "NaN and Infinity", id="NaN deep inside"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused_with_a_sentence(body: bytes, sentence: str) -> None:
    with pytest.raises(InvalidIntent) as refusal:
        parse_object(body)
    assert sentence in str(refusal.value)
    assert refusal.value.problems[0].field is None


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        pytest.param(b'{"a":1,"a":1}', ["a"], id="the same value twice"),
        pytest.param(b'{"a":1,"b":2,"a":3,"b":4,"c":5}', ["a", "b"], id="two fields, both named"),
        pytest.param(b'{"a":1,"\\u0061":2}', ["a"], id="one of them written as an escape"),
        pytest.param(b'{"extra":{"a":1,"a":2}}', ["a"], id="inside another field"),
        pytest.param(b'{"a\\u0007":1,"a\\u0007":2}', ["a\\x07"], id="a control character in the name"),
    ],
)
def test_every_duplicate_key_is_named(body: bytes, fields: list[str]) -> None:
    with pytest.raises(InvalidIntent) as refusal:
        parse_object(body)
    assert [problem.field for problem in refusal.value.problems] == fields
    assert all("more than once" in problem.message for problem in refusal.value.problems)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"a":"x\\ud800y"}', id="a high surrogate alone"),
        pytest.param(b'{"a":"\\udc00"}', id="a low surrogate alone"),
        pytest.param(b'{"a":"\\udc00\\ud800"}', id="a pair the wrong way round"),
        pytest.param(b'{"a":["\\ud800"]}', id="in a list"),
        pytest.param(b'{"a":{"\\ud800":1}}', id="in the name of an inner field"),
    ],
)
def test_a_lone_surrogate_is_refused_by_the_field_that_holds_it(body: bytes) -> None:
    with pytest.raises(InvalidIntent, match="a: holds a lone surrogate"):
        parse_object(body)


def test_a_lone_surrogate_in_the_name_of_a_field_is_refused_and_shown_escaped() -> None:
    with pytest.raises(InvalidIntent) as refusal:
        parse_object(b'{"\\ud800":1}')
    assert refusal.value.problems[0].field == "\\ud800"


def test_a_surrogate_pair_is_one_character() -> None:
    assert parse_object(b'{"a":"\\ud83d\\ude80"}') == {"a": "\U0001f680"}


@pytest.mark.parametrize(
    "number",
    ["0", "-0", "1", "1.50", "1e3", "1E+3", "-2.5e-7", "0.1000000000000000055511151231257827", "9" * DIGITS_MAX],
)
def test_a_number_keeps_the_digits_that_came_in(number: str) -> None:
    body = f'{{"a":{number}}}'.encode()
    assert parse_object(body) == {"a": JsonNumber(number)}
    assert render(parse_object(body)).encode() == body


def test_a_body_of_exactly_64_kib_is_read() -> None:
    body = b'{"a":"' + b"x" * (65_536 - 8) + b'"}'
    assert len(body) == BODY_BYTES_MAX == 64 * 1024
    assert len(parse_object(body)["a"]) == 65_528


def test_a_body_of_one_byte_more_than_64_kib_is_refused() -> None:
    body = b'{"a":"' + b"x" * (65_536 - 7) + b'"}'
    with pytest.raises(InvalidIntent, match="has 65537 bytes, at most 65536"):
        parse_object(body)


def test_the_limit_counts_bytes_and_not_characters() -> None:
    body = b'{"a":"' + "é".encode() * 32_765 + b'"}'
    with pytest.raises(InvalidIntent, match="has 65538 bytes"):
        parse_object(body)


VALUES = [
    pytest.param(nested, id="one in the other"),
    pytest.param(lambda count: b'{"a":[' + b",".join([b"[]"] * (count - 1)) + b"]}", id="in an array"),
    pytest.param(lambda count: json.dumps({f"f{n}": "," for n in range(count)}).encode(), id="side by side"),
    pytest.param(
        lambda count: json.dumps({"a": {f"[{n}": '{\\",' for n in range(count - 1)}}).encode(), id="below one"
    ),
]


@pytest.mark.parametrize("body_with", VALUES)
def test_values_are_allowed_up_to_their_limit_and_refused_beyond(body_with: Callable[[int], bytes]) -> None:
    """Nested ones and elements of arrays count; signs within texts do not."""
    assert parse_object(body_with(VALUES_MAX))
    for count in (VALUES_MAX + 1, 3 * VALUES_MAX, 1000):
        with pytest.raises(InvalidIntent, match=f"the body has more than {VALUES_MAX} values"):
            parse_object(body_with(count))


def test_a_text_may_hold_as_many_signs_as_it_likes() -> None:
    text = '[{,"\\' * 5000
    assert parse_object(json.dumps({"a": text, "b": [text[:99], "]"]}).encode()) == {"a": text, "b": [text[:99], "]"]}


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 12_000, b'{"a":' + b"[" * 60_000, b'{"a":[' * 10_000])
def test_nesting_beyond_the_interpreters_stack_is_refused_too(body: bytes) -> None:
    with pytest.raises(InvalidIntent, match="more than 64 values"):
        parse_object(body)


@pytest.mark.parametrize("number", ["9" * 65, "0." + "1" * 64, "1" * 64 + "e1", "-" + "1" * 60_000])
def test_a_number_of_more_digits_than_its_limit_is_refused_by_the_field_that_holds_it(number: str) -> None:
    with pytest.raises(InvalidIntent, match="b: has more than 64 digits"):
        parse_object(f'{{"a":1,"b":[{{"c":{number}}}]}}'.encode())


def test_the_text_of_a_number_is_not_in_its_repr() -> None:
    assert "31337" not in repr(JsonNumber("31337"))
