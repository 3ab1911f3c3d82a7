"""Laws that hold for any body and any intent."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from signalq import InvalidIntent, OrderIntent
from signalq.message import strict_json
from signalq.message.field_rules import CANCEL_ALL_SPELLINGS, FUTURES_ACTIONS
from signalq.message.intent import FIELD_NAMES, intent_from_body
from signalq.message.strict_json import DIGITS_MAX, VALUES_MAX, parse_object, render, values_below
from signalq.names import LADDER_MAX_S
from signalq.publishing.prepare import prepare

# A mark that none of our own sentences holds, so that finding it means that a value was quoted.
MARK = "zq7"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
marked_texts = st.text(max_size=20).map(lambda text: MARK + text)
marked_values = st.recursive(
    marked_texts,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(marked_texts, inner, min_size=1, max_size=3)
    ),
    max_leaves=5,
)


def refusal_of(read: Callable[[bytes], object], body: bytes) -> InvalidIntent | None:
    """The error that reading a body gives, None where it gives none; any other error fails the test."""
    try:
        read(body)
    except InvalidIntent as refusal:
        return refusal
    return None


@given(st.binary(max_size=300))
@example(b'{"a":' * 5000)
@example(b"[" * 60_000)
@example(b'{"delaySeconds":1e-999999999}')
def test_any_bytes_are_an_object_or_invalid(body: bytes) -> None:
    refusal = refusal_of(parse_object, body)
    if refusal is None:
        assert isinstance(parse_object(body), dict)
    else:
        assert str(refusal)


@given(st.dictionaries(st.sampled_from(FIELD_NAMES) | st.text(max_size=12), json_values, max_size=8))
def test_any_object_is_an_intent_or_invalid_with_each_problem_named(fields: dict[str, object]) -> None:
    refusal = refusal_of(intent_from_body, json.dumps(fields).encode())
    if refusal is None:
        assert {"connectorName", "action"} <= fields.keys() <= set(FIELD_NAMES)
    else:
        assert refusal.problems
        assert all(problem.message for problem in refusal.problems)


@given(
    st.dictionaries(st.sampled_from(FIELD_NAMES), marked_values, max_size=6),
    st.dictionaries(st.sampled_from(["leverage", "symbol", "Percent"]), marked_values, max_size=3),
)
def test_the_text_of_a_refusal_quotes_no_value(fields: dict[str, object], unknown: dict[str, object]) -> None:
    refusal = refusal_of(intent_from_body, json.dumps(fields | unknown).encode())
    assert refusal is not None  # no marked text is an action
    assert MARK not in str(refusal)
    assert MARK not in repr(refusal)


@given(st.text(min_size=1, max_size=50), st.integers(0, 60))
def test_json_that_breaks_off_quotes_nothing_of_it(text: str, cut: int) -> None:
    body = json.dumps({"log": MARK + text}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    refusal = refusal_of(parse_object, body[:cut])
    assert refusal is not None or cut >= len(body)
    assert MARK not in str(refusal)


@given(st.dictionaries(st.text(max_size=10), json_values, max_size=6))
def test_a_rendered_intent_reads_back_the_same(fields: dict[str, object]) -> None:
    assume(values_below(fields) <= VALUES_MAX)
    parsed = parse_object(json.dumps(fields).encode())
    assert parse_object(render(parsed).encode()) == parsed


# --- valid intents -----------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=32)
connectors = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf"]), min_size=1, max_size=32).filter(
    lambda name: name == name.strip()
)
texts = st.text(st.characters(codec="utf-8"), max_size=40)
plain_decimals = st.from_regex(r"[0-9]{1,12}(\.[0-9]{1,25})?", fullmatch=True).filter(lambda text: Decimal(text) > 0)
percents = plain_decimals.filter(lambda text: Decimal(text) <= 100)
delays = st.decimals(0, LADDER_MAX_S, places=6) | st.integers(0, LADDER_MAX_S).map(Decimal)


@st.composite
def intents(draw: st.DrawFn) -> OrderIntent:
    """Any valid intent."""
    action = draw(st.sampled_from(["buy", "sell", *FUTURES_ACTIONS, "cancel", *CANCEL_ALL_SPELLINGS]))
    is_futures = action in FUTURES_ACTIONS
    prices = ["limit", "profit", "loss"] if is_futures else ["limit"]
    sizes = {"fixed": plain_decimals, "percent": percents} | dict.fromkeys(prices, plain_decimals)
    return OrderIntent(
        **draw(st.fixed_dictionaries({}, optional=sizes)),
        connector_name=draw(connectors),
        action=action,
        connector_token=draw(st.none() | texts.filter(bool)),
        log=draw(st.none() | texts),
        client_order_id=draw(names if action == "cancel" else st.none() | names),
        delay_seconds=draw(st.none() | delays),
        delay_seconds_filter=draw(st.none() | texts),
    )


@given(intents())
def test_a_valid_intent_survives_the_way_through_the_broker(intent: OrderIntent) -> None:
    arrived = intent_from_body(intent.to_message())
    assert arrived == intent
    assert arrived.to_message() == intent.to_message()
    assert arrived.delay_ms == intent.delay_ms


@given(intents())
def test_the_posted_body_is_the_same_object_without_the_delay(intent: OrderIntent) -> None:
    published, posted = json.loads(intent.to_message()), json.loads(intent.to_webhook())
    assert "delaySeconds" not in posted
    assert "delaySecondsFilter" not in posted
    assert posted == {
        name: value for name, value in published.items() if name not in {"delaySeconds", "delaySecondsFilter"}
    }


@given(intents(), texts.filter(bool))
def test_a_token_is_filled_in_only_where_there_is_none(intent: OrderIntent, token: str) -> None:
    posted = json.loads(intent.to_webhook(token=token))
    assert posted["connectorToken"] == (intent.connector_token or token)


@given(intents())
def test_a_delay_never_ends_early_and_never_a_millisecond_late(intent: OrderIntent) -> None:
    if intent.delay_ms:
        assert 0 <= Decimal(intent.delay_ms) - 1000 * intent.delay_seconds < 1


json_numbers = st.from_regex(r"(0|[1-9][0-9]{0,15})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", fullmatch=True)


@given(json_numbers)
def test_a_json_number_goes_out_with_its_digits_and_without_an_exponent(number: str) -> None:
    assume(Decimal(number) > 0)
    body = f'{{"connectorName":"m","action":"buy","fixed":{number}}}'.encode()
    refusal = refusal_of(intent_from_body, body)
    if refusal is not None:
        assert "digits written out" in str(refusal)
        assert len(format(Decimal(number), "f").replace(".", "")) > DIGITS_MAX
        return
    sent = json.loads(intent_from_body(body).to_webhook())["fixed"]
    assert Decimal(sent) == Decimal(number)
    assert not set(sent) - set("0123456789.")
    assert significant(sent) == significant(number)


def significant(number: str) -> str:
    """The digits of a number from its first to its last that is not 0."""
    return "".join(character for character in number.lower().split("e")[0] if character.isdigit()).strip("0")


# --- the fast path -----------------------------------------------------------------------------------------------

flat_texts = st.lists(st.tuples(st.text(max_size=6), st.text(max_size=12)), max_size=8)
written_values = st.one_of(
    st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(max_size=6).map(json.dumps),
    json_values.map(json.dumps),
    st.sampled_from(["NaN", "1e5", "-0", "9" * 5000, '"\ud800"', '"\x01"', '"a:b"', "[1,1,1]", '{"a":"b"}', "", '""']),
)
written_names = st.sampled_from(['"a"', '"b"', '"a:"', '"\\u0061"', "a", '""']) | st.text(max_size=4).map(json.dumps)
written_objects = st.lists(st.tuples(written_names, written_values), max_size=6).map(
    lambda pairs: "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"
)


@given(
    st.binary(max_size=60)
    | written_objects.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | flat_texts.map(lambda pairs: json.dumps(dict(pairs), ensure_ascii=False).encode("utf-8", "surrogatepass"))
)
@example(b'{"a":"x","a":"x"}')
@example(b'{"a":["x",1,1]}')
@example(b'{"a":["b","c"],"d":1}')
@example(b'{"a":{"b":"c"},"a":"d","e":1}')
@example(b' {"a":"b"}\n')
@example(b'{"a":"b"}x')
@example(b"{" + b",".join(b'"%d":"x"' % number for number in range(65)) + b"}")
@example(b'{"a":' + b"9" * 5000 + b',"b"')
def test_the_fast_path_for_texts_reads_any_bytes_as_the_whole_parser_does(body: bytes) -> None:
    fast = read_or_refused(body)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(strict_json, "_texts", lambda _body, _text: None)
        assert fast == read_or_refused(body)


def read_or_refused(body: bytes) -> object:
    """The fields in their order, or the problems of the refusal."""
    try:
        return list(parse_object(body).items())
    except InvalidIntent as refusal:
        return refusal.problems


@given(intents())
def test_an_intent_that_is_published_unparsed_is_one_that_the_parser_takes(intent: OrderIntent) -> None:
    assert intent.checked() is intent
    assert intent_from_body(prepare(intent, strategy=None, message_id="1", now_ms=1).body) == intent
