"""The order intent, field by field and rule by rule (contract 1)."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from signalq import InvalidIntent, OrderIntent
from signalq.message.intent import DECIMAL_FIELDS, FIELD_NAMES, intent_from_body, intent_from_fields
from signalq.message.near_names import nearest_name
from signalq.message.problems import SUGGESTIONS_MAX
from signalq.message.strict_json import parse_object
from signalq.names import LADDER_MAX_S

ACTIONS = [
    "buy",
    "sell",
    "openLong",
    "closeLong",
    "openShort",
    "closeShort",
    "cancel",
    "cancelAll",
    "cancellAll",
    "cancel_all",
]

# A value that appears nowhere in our own sentences.
SECRET = "zq7secret"
ARABIC_ONE = "\N{ARABIC-INDIC DIGIT ONE}"


def body_of(raw: str = "", **fields: Any) -> bytes:
    """A message body: a valid intent, `fields` over it (`...` takes one off), `raw` JSON members behind."""
    whole = {"connectorName": "main", "action": "openLong"} | fields
    members = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in whole.items() if value is not ...]
    return ("{" + ",".join([*members, *([raw] if raw else [])]) + "}").encode()


def posted(intent: OrderIntent, **options: Any) -> dict[str, Any]:
    return json.loads(intent.to_webhook(**options))


def problem_of(body: bytes, **options: Any) -> tuple[str | None, str]:
    """The one problem of a body."""
    with pytest.raises(InvalidIntent) as refusal:
        intent_from_fields(parse_object(body), **options)
    assert len(refusal.value.problems) == 1, refusal.value
    return refusal.value.problems[0].field, refusal.value.problems[0].message


# --- the whole ---------------------------------------------------------------------------------------------------


def test_the_fields_are_those_of_the_platforms_page() -> None:
    assert set(FIELD_NAMES) == {
        "connectorName",
        "connectorToken",
        "action",
        "fixed",
        "percent",
        "limit",
        "profit",
        "loss",
        "log",
        "clientOrderId",
        "delaySeconds",
        "delaySecondsFilter",
    }


def test_a_body_goes_out_byte_for_byte_without_the_delay() -> None:
    body = (
        '{"action":"openLong","connectorName":"main","connectorToken":"tök","percent":"50.0","fixed":"0.10",'
        '"limit":"65000","profit":"70000.5","loss":".5","log":"a \\"b\\"","clientOrderId":"c1",'
        '"delaySeconds":5,"delaySecondsFilter":"a"}'
    ).encode()
    without_delay = body.replace(b',"delaySeconds":5,"delaySecondsFilter":"a"', b"")
    assert intent_from_body(body).to_webhook() == without_delay


@pytest.mark.parametrize("missing", ["connectorName", "action"])
@pytest.mark.parametrize("value", [..., None], ids=["absent", "null"])
def test_a_mandatory_field_that_is_absent_or_null_is_missing(missing: str, value: object) -> None:
    assert problem_of(body_of(**{missing: value})) == (missing, "is missing")


@pytest.mark.parametrize("name", sorted(set(FIELD_NAMES) - {"connectorName", "action", *DECIMAL_FIELDS}))
def test_an_explicit_null_for_an_optional_field_means_absent(name: str) -> None:
    intent = intent_from_body(body_of(**{name: None}))
    assert intent == OrderIntent(connector_name="main", action="openLong")
    assert name.encode() not in intent.to_message()


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
def test_a_price_that_could_not_be_computed_is_no_market_order(name: str) -> None:
    why = "is null: give a decimal number, or leave the field out"
    assert problem_of(body_of(**{name: None})) == (name, why)
    with pytest.raises(InvalidIntent, match=f"^{name}: {why}"):
        OrderIntent(connector_name="main", action="openLong", **{name: None})


def test_every_bad_field_is_named_and_no_value_is_quoted() -> None:
    fields = {
        "connectorName": SECRET + "\x00",
        "action": SECRET,
        "connectorToken": [SECRET],
        "fixed": SECRET,
        "percent": {"x": SECRET},
        "limit": "-" + SECRET,
        "profit": [SECRET],
        "loss": True,
        "log": {"x": SECRET},
        "clientOrderId": SECRET * 20,
        "delaySeconds": SECRET,
        "delaySecondsFilter": [SECRET],
        "leverage": SECRET,
    }
    with pytest.raises(InvalidIntent) as refusal:
        intent_from_body(json.dumps(fields).encode())
    assert {problem.field for problem in refusal.value.problems} == set(fields)
    assert SECRET not in str(refusal.value)
    assert SECRET not in repr(refusal.value)


def test_an_intent_made_in_python_is_checked_the_same_and_shows_no_value() -> None:
    with pytest.raises(InvalidIntent) as refusal:
        OrderIntent(connector_name=SECRET + "\n", action="buy", fixed=SECRET, connector_token=SECRET)
    assert SECRET not in str(refusal.value)
    assert [problem.field for problem in refusal.value.problems] == ["connector_name", "fixed"]


def test_a_field_is_called_as_the_language_of_the_caller_calls_it() -> None:
    def refused(make: Callable[[], object]) -> list[str | None]:
        with pytest.raises(InvalidIntent) as refusal:
            make()
        return [problem.field for problem in refusal.value.problems]

    bad = {"action": "cancel", "clientOrderId": None}
    assert refused(lambda: OrderIntent(action="cancel")) == ["connector_name", "client_order_id"]
    assert refused(lambda: OrderIntent(**bad)) == ["connector_name", "client_order_id"]
    assert refused(lambda: intent_from_fields(bad)) == ["connectorName", "clientOrderId"]
    assert refused(lambda: OrderIntent.model_validate(bad)) == ["connectorName", "clientOrderId"]
    assert refused(lambda: OrderIntent.model_validate_json(json.dumps(bad))) == ["connectorName", "clientOrderId"]
    with pytest.raises(
        InvalidIntent, match="conector_name: is not a field of an intent, the nearest is connector_name"
    ):
        OrderIntent(conector_name="main", action="buy")
    with pytest.raises(InvalidIntent, match="connector_name: is there twice"):
        OrderIntent(connector_name="main", connectorName="main", action="buy")  # type: ignore[call-arg]


def test_an_invalid_intent_is_a_value_error_and_another_models_error_stays_its_own() -> None:
    class Plan(BaseModel):
        order: OrderIntent

    with pytest.raises(ValueError, match="percent: must be at most 100"):
        OrderIntent(connector_name="main", action="buy", percent="101")
    with pytest.raises(ValidationError, match="must be at most 100"):
        Plan(order={"connector_name": "main", "action": "buy", "percent": "101"})
    assert Plan(order={"connector_name": "main", "action": "buy"}).order.action == "buy"


def test_an_intent_that_is_dumped_can_be_made_again() -> None:
    intent = OrderIntent(connector_name="main", action="buy", percent="50", delay_seconds=Decimal("1.5"))
    assert OrderIntent(**intent.model_dump()) == intent
    assert OrderIntent.model_validate_json(intent.model_dump_json(by_alias=True)) == intent
    assert pickle.loads(pickle.dumps(intent)) == intent  # noqa: S301 - our own bytes


def test_the_token_is_not_in_the_repr() -> None:
    assert SECRET not in repr(OrderIntent(connector_name="main", action="buy", connector_token=SECRET))


def test_an_intent_cannot_be_changed() -> None:
    intent = OrderIntent(connector_name="main", action="buy")
    with pytest.raises(ValidationError):
        intent.action = "sell"


def test_intents_are_equal_by_their_fields_whatever_order_they_came_in() -> None:
    one = intent_from_body(b'{"connectorName":"main","action":"buy","fixed":"1"}')
    other = intent_from_body(b'{"fixed":"1","action":"buy","connectorName":"main"}')
    assert one == other == OrderIntent(connector_name="main", action="buy", fixed="1")
    assert len({one, other}) == 1
    assert one != OrderIntent(connector_name="main", action="buy", fixed="1.0")


def test_a_copy_with_another_field_publishes_that_field() -> None:
    intent = intent_from_body(b'{"action":"buy","connectorName":"main","fixed":"1"}')
    changed = intent.model_copy(update={"log": "again", "fixed": None})
    assert changed.to_message() == b'{"action":"buy","connectorName":"main","log":"again"}'


# --- unknown fields ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("conectorName", "connectorName"),
        ("connector_name", "connectorName"),
        ("CONNECTORNAME", "connectorName"),
        ("precent", "percent"),
        ("delaySecond", "delaySeconds"),
        ("clientOrderID", "clientOrderId"),
        ("stopLoss", "loss"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(name: str, nearest: str) -> None:
    field, message = problem_of(body_of(**{name: "1"}))
    assert field == name
    assert message == f"is not a field of an intent, the nearest is {nearest}"


def test_pythons_spelling_of_a_field_is_unknown_in_json() -> None:
    with pytest.raises(InvalidIntent) as refusal:
        intent_from_body(b'{"connector_name":"main","action":"cancel","client_order_id":"c"}')
    named = {problem.field for problem in refusal.value.problems}
    assert named == {"connectorName", "connector_name", "clientOrderId", "client_order_id"}


def test_an_unknown_field_is_refused_even_as_null() -> None:
    assert problem_of(body_of(precent=None))[0] == "precent"


def test_an_unknown_name_is_shown_without_control_characters() -> None:
    assert problem_of(body_of(**{"a\x1b[31m": 1}))[0] == "a\\x1b[31m"


def test_each_of_many_unknown_fields_is_named_and_the_first_get_a_suggestion() -> None:
    unknown = [f"u{number}" for number in range(60)]
    with pytest.raises(InvalidIntent) as refusal:
        intent_from_body(body_of(**dict.fromkeys(unknown, 1)))
    assert [problem.field for problem in refusal.value.problems] == unknown
    assert sum("nearest" in problem.message for problem in refusal.value.problems) == SUGGESTIONS_MAX


def test_the_nearest_name_is_found_whatever_the_case() -> None:
    assert nearest_name("OPEN_LONG", ["openLong", "closeLong"]) == "openLong"


EXTRA = '"notional":1.5000,"position":{"a":[1e3,true,null,"x"]},"entryOrder":null'


def test_extra_fields_go_through_untouched_byte_for_byte_and_in_their_place() -> None:
    body = b'{"notional":1.5000,"connectorName":"m","position":{"a":[1e3,true,null,"x"]},"action":"buy","e":null}'
    intent = intent_from_fields(parse_object(body), extra_fields=["notional", "position", "e"])
    assert intent.to_webhook() == body
    assert intent.to_message() == body


def test_a_field_is_extra_only_where_it_is_listed() -> None:
    with pytest.raises(InvalidIntent) as refusal:
        intent_from_fields(parse_object(body_of(EXTRA)), extra_fields=["notional", "entryOrder"])
    assert [problem.field for problem in refusal.value.problems] == ["position"]


def test_a_field_of_the_table_keeps_its_rules_though_it_is_listed_as_extra() -> None:
    assert problem_of(body_of(percent="101"), extra_fields=["percent"])[0] == "percent"


def test_intents_with_other_extra_fields_are_not_equal() -> None:
    one, other = (
        intent_from_fields(parse_object(body_of(notional=value)), extra_fields=["notional"]) for value in (1, 2)
    )
    assert one != other


# --- connectorName, connectorToken -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["m", "x" * 128, "é" * 64, "\U0001f680" * 32, "with space", "a.b#*", '"quoted"'])
def test_a_connector_name_has_1_to_128_bytes(name: str) -> None:
    assert posted(intent_from_body(body_of(connectorName=name)))["connectorName"] == name


@pytest.mark.parametrize("name", ["", "x" * 129, "é" * 64 + "x", "\U0001f680" * 33])
def test_a_connector_name_of_0_or_more_than_128_bytes_is_refused(name: str) -> None:
    assert problem_of(body_of(connectorName=name)) == ("connectorName", "must have 1 to 128 bytes")


@pytest.mark.parametrize(
    "character",
    [
        *"\x00\n\t\x1b\x1f\x7f\x80\x85\x9f",
        "\xad",
        "\u061c",
        "\u180e",
        "\u200b",
        "\u200d",
        "\u202e",
        "\u2060",
        "\u2066",
        "\ufeff",
        "\U000e0041",
    ],
)
def test_a_connector_name_holds_no_control_or_format_character(character: str) -> None:
    for name in (f"a{character}b", f"a{character}", character):
        assert problem_of(body_of(connectorName=name)) == (
            "connectorName",
            "must not hold control or format characters",
        )


# Every character that Unicode counts as white space, but for the control characters.
SPACES = " \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


@pytest.mark.parametrize("space", SPACES, ids=ascii)
def test_a_connector_name_has_no_white_space_of_any_script_at_its_ends(space: str) -> None:
    for name in (f"main{space}", f"{space}main", space):
        assert problem_of(body_of(connectorName=name)) == ("connectorName", "must not begin or end with white space")
    assert intent_from_body(body_of(connectorName=f"ma{space}in")).connector_name == f"ma{space}in"


@pytest.mark.parametrize("value", [1, True, ["main"], {"x": 1}])
@pytest.mark.parametrize("name", ["connectorName", "connectorToken", "log", "clientOrderId", "delaySecondsFilter"])
def test_a_text_field_takes_nothing_but_a_string(name: str, value: object) -> None:
    assert problem_of(body_of(**{name: value})) == (name, "must be a string")


def test_a_message_without_a_token_is_refused_where_none_is_configured() -> None:
    field, message = problem_of(body_of(), token_needed=True)
    assert (field, message) == ("connectorToken", "is missing, and none is configured for the connector")


def test_a_missing_token_is_named_together_with_the_other_problems() -> None:
    with pytest.raises(InvalidIntent) as refusal:
        intent_from_fields(parse_object(body_of(action="x")), token_needed=True)
    assert {problem.field for problem in refusal.value.problems} == {"connectorToken", "action"}


def test_the_messages_own_token_is_enough_where_none_is_configured() -> None:
    intent = intent_from_fields(parse_object(body_of(connectorToken="t")), token_needed=True)
    assert posted(intent)["connectorToken"] == "t"


def test_an_empty_token_is_refused() -> None:
    assert problem_of(body_of(connectorToken="")) == ("connectorToken", "must not be empty")


def test_the_configured_token_is_filled_in_where_the_message_had_none() -> None:
    assert posted(intent_from_body(body_of()), token="configured")["connectorToken"] == "configured"


def test_the_messages_own_token_is_not_overwritten() -> None:
    assert posted(intent_from_body(body_of(connectorToken="own")), token="configured")["connectorToken"] == "own"


# --- action ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_goes_out_as_it_came_in(action: str) -> None:
    assert posted(intent_from_body(body_of(action=action, clientOrderId="c")))["action"] == action


@pytest.mark.parametrize("action", ["", "Buy", "OPENLONG", "open_long", "cancelall", "CancelAll", "hold", " buy"])
def test_another_action_is_refused_with_the_list_of_actions(action: str) -> None:
    field, message = problem_of(body_of(action=action))
    assert field == "action"
    assert message == "must be one of " + ", ".join(ACTIONS)


@pytest.mark.parametrize("action", [1, True, ["buy"], {}])
def test_an_action_that_is_no_string_is_refused(action: object) -> None:
    assert problem_of(body_of(action=action))[0] == "action"


@pytest.mark.parametrize("spelling", ["cancelAll", "cancellAll", "cancel_all"])
def test_the_three_spellings_of_cancel_all_mean_the_same(spelling: str) -> None:
    intent = intent_from_body(body_of(action=spelling))
    assert intent.kind == "cancelAll"
    assert intent.is_exit()


@pytest.mark.parametrize("spelling", ["cancelAll", "cancellAll", "cancel_all"])
def test_a_configured_spelling_replaces_each_of_them(spelling: str) -> None:
    intent = intent_from_body(body_of(action=spelling))
    assert posted(intent, cancel_all_spelling="cancellAll")["action"] == "cancellAll"


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"cancelAll", "cancellAll", "cancel_all"}))
def test_a_configured_spelling_leaves_the_other_actions_alone(action: str) -> None:
    intent = intent_from_body(body_of(action=action, clientOrderId="c"))
    assert posted(intent, cancel_all_spelling="cancellAll")["action"] == action
    assert intent.kind == action


@pytest.mark.parametrize(
    ("action", "is_exit"),
    [
        ("buy", False),
        ("sell", False),
        ("openLong", False),
        ("openShort", False),
        ("closeLong", True),
        ("closeShort", True),
        ("cancel", True),
        ("cancelAll", True),
        ("cancellAll", True),
        ("cancel_all", True),
    ],
)
def test_exits_close_or_cancel_and_the_rest_are_opens(action: str, is_exit: bool) -> None:
    assert intent_from_body(body_of(action=action, clientOrderId="c")).is_exit() is is_exit


@pytest.mark.parametrize(("action", "is_exit"), [("sell", True), ("buy", False), ("openShort", False)])
def test_a_spot_sell_is_an_exit_where_the_connector_says_so(action: str, is_exit: bool) -> None:
    assert intent_from_body(body_of(action=action)).is_exit(spot_sell_is_exit=True) is is_exit


# --- decimals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
@pytest.mark.parametrize(
    ("came_in", "goes_out"),
    [
        ('"1"', "1"),
        ('"1.50"', "1.50"),
        ('"007"', "007"),
        ('".5"', ".5"),
        ('"0.00000000000000000000000000000000001"', "0.00000000000000000000000000000000001"),
        ("1", "1"),
        ("1.50", "1.50"),
        ("0.1", "0.1"),
        ("12.345678901234567890123456789012345", "12.345678901234567890123456789012345"),
        ("1e1", "10"),
        ("1E+1", "10"),
        ("1.50e1", "15.0"),
        ("1.5e-7", "0.00000015"),
        ("99.9999999999999999999999999999999", "99.9999999999999999999999999999999"),
    ],
)
def test_a_decimal_goes_out_as_a_string_with_exactly_its_digits(name: str, came_in: str, goes_out: str) -> None:
    assert posted(intent_from_body(body_of(f'"{name}":{came_in}')))[name] == goes_out


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
@pytest.mark.parametrize("value", ['"0"', '"0.000"', "0", "0.0", "0e5", "-0"])
def test_a_decimal_of_nothing_is_refused(name: str, value: str) -> None:
    assert problem_of(body_of(f'"{name}":{value}')) == (name, "must be greater than 0")


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
@pytest.mark.parametrize("value", ["-1", "-0.5", "-1e2"])
def test_a_negative_number_is_refused(name: str, value: str) -> None:
    assert problem_of(body_of(f'"{name}":{value}')) == (name, "must be greater than 0")


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "1 ",
        " 1",
        "1,5",
        "1.",
        ".",
        "+1",
        "-1",
        "1e3",
        "1_000",
        "0x10",
        "NaN",
        "Infinity",
        ARABIC_ONE,
        "1.2.3",
        "1%",
    ],
)
def test_a_string_that_is_no_plain_decimal_is_refused(name: str, value: str) -> None:
    field, message = problem_of(body_of(**{name: value}))
    assert field == name
    assert message.startswith("must be a decimal number such as")


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
@pytest.mark.parametrize("value", [True, False, [], ["1"], {}])
def test_a_decimal_of_another_json_type_is_refused(name: str, value: object) -> None:
    assert problem_of(body_of(**{name: value})) == (name, "must be a decimal number, as a string or as a JSON number")


@pytest.mark.parametrize("value", ["1e64", "1e-64", "1e-400", "1e999999999", "1e-999999999", "1e99999999999999999999"])
@pytest.mark.parametrize("name", [*DECIMAL_FIELDS, "delaySeconds"])
def test_a_number_that_is_short_to_write_and_long_to_send_is_refused(name: str, value: str) -> None:
    assert problem_of(body_of(f'"{name}":{value}'))[0] == name


@pytest.mark.parametrize("name", DECIMAL_FIELDS)
@pytest.mark.parametrize("as_number", [True, False], ids=["number", "string"])
def test_a_decimal_has_at_most_64_digits(name: str, as_number: bool) -> None:
    longest = "1." + "0" * 62 + "1"
    written = '"{}":{}' if as_number else '"{}":"{}"'
    assert posted(intent_from_body(body_of(written.format(name, longest))))[name] == longest
    for longer in (longest + "1", longest + "1" * 60_000):
        field, message = problem_of(body_of(written.format(name, longer)))
        assert (field, "has more than 64 digits" in message) == (name, True)


@pytest.mark.parametrize(
    ("percent", "allowed"), [("100", True), ("100.0", True), ("0.01", True), ("100.01", False), ("1000", False)]
)
@pytest.mark.parametrize("as_number", [True, False], ids=["number", "string"])
def test_percent_is_at_most_100(percent: str, allowed: bool, as_number: bool) -> None:
    body = body_of(f'"percent":{percent}' if as_number else f'"percent":"{percent}"')
    if allowed:
        assert posted(intent_from_body(body))["percent"] == percent
    else:
        assert problem_of(body) == ("percent", "must be at most 100")


def test_percent_just_above_100_is_not_rounded_down_to_it() -> None:
    assert problem_of(body_of(percent="100." + "0" * 60 + "1")) == ("percent", "must be at most 100")


@pytest.mark.parametrize("name", ["fixed", "limit", "profit", "loss"])
def test_the_other_decimals_may_exceed_100(name: str) -> None:
    assert posted(intent_from_body(body_of(**{name: "65000.5"})))[name] == "65000.5"


def test_fixed_and_percent_may_both_be_there_and_both_go_out() -> None:
    sent = posted(intent_from_body(body_of(fixed="1", percent="50")))
    assert (sent["fixed"], sent["percent"]) == ("1", "50")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1, "1"), (10**22, "1" + "0" * 22), (Decimal("1E-7"), "0.0000001"), (Decimal("1.50"), "1.50")],
)
def test_pythons_exact_numbers_are_taken_with_their_digits(value: Any, text: str) -> None:
    assert OrderIntent(connector_name="main", action="buy", fixed=value).fixed == text


@pytest.mark.parametrize("value", [Decimal("NaN"), Decimal("-Infinity"), True, None.__class__])
def test_pythons_values_that_are_no_finite_number_are_refused(value: Any) -> None:
    with pytest.raises(InvalidIntent):
        OrderIntent(connector_name="main", action="buy", fixed=value)


@pytest.mark.parametrize("value", [50.5, 50.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", DECIMAL_FIELDS)
def test_a_float_is_refused_since_its_digits_are_not_exact(name: str, value: float) -> None:
    with pytest.raises(InvalidIntent, match=f"^{name}: must not be a float"):
        OrderIntent(connector_name="main", action="openLong", **{name: value})


@pytest.mark.parametrize("name", ["profit", "loss"])
@pytest.mark.parametrize("action", ACTIONS)
def test_profit_and_loss_are_only_for_the_four_futures_actions(name: str, action: str) -> None:
    body = body_of(action=action, clientOrderId="c", **{name: "5"})
    if action in {"openLong", "closeLong", "openShort", "closeShort"}:
        assert posted(intent_from_body(body))[name] == "5"
    else:
        assert problem_of(body) == (name, "is only for openLong, closeLong, openShort, closeShort")


# --- log, clientOrderId ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "a\nb\x00", "日本語", "\U0001f680", '"\\/'])
def test_a_log_text_goes_out_as_it_came_in(text: str) -> None:
    assert posted(intent_from_body(body_of(log=text)))["log"] == text


@pytest.mark.parametrize("value", [..., None], ids=["absent", "null"])
def test_cancel_needs_a_client_order_id(value: object) -> None:
    body = body_of(action="cancel", clientOrderId=value)
    assert problem_of(body) == ("clientOrderId", "is needed with the action cancel")


def test_cancel_in_python_needs_a_client_order_id_too() -> None:
    with pytest.raises(InvalidIntent, match="client_order_id: is needed with the action cancel"):
        OrderIntent(connector_name="main", action="cancel")


@pytest.mark.parametrize("action", sorted(set(ACTIONS) - {"cancel"}))
def test_the_other_actions_need_no_client_order_id(action: str) -> None:
    assert intent_from_body(body_of(action=action)).client_order_id is None


@pytest.mark.parametrize(("text", "allowed"), [("c", True), ("x" * 128, True), ("é" * 64, True)])
@pytest.mark.parametrize("action", ["cancel", "openLong"])
def test_a_client_order_id_has_1_to_128_bytes(text: str, allowed: bool, action: str) -> None:
    assert posted(intent_from_body(body_of(action=action, clientOrderId=text)))["clientOrderId"] == text


@pytest.mark.parametrize("text", ["", "x" * 129, "é" * 65])
@pytest.mark.parametrize("action", ["cancel", "openLong"])
def test_a_client_order_id_of_0_or_more_than_128_bytes_is_refused(text: str, action: str) -> None:
    body = body_of(action=action, clientOrderId=text)
    assert problem_of(body) == ("clientOrderId", "must have 1 to 128 bytes")


# --- the delay ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delay", "delay_ms"),
    [
        ("0", 0),
        ("-0", 0),
        ("5", 5_000),
        ("5.0", 5_000),
        ("0.25", 250),
        ("1e1", 10_000),
        ("0.0001", 1),
        ("1.0000000000000000000000000000000000001", 1_001),
        ('"5"', 5_000),
        ('"0.5"', 500),
        ('".5"', 500),
        ('"1e1"', 10_000),
        ("604800", 604_800_000),
        (str(LADDER_MAX_S), LADDER_MAX_S * 1000),
    ],
)
def test_a_delay_is_a_number_or_a_numeric_string_of_seconds_rounded_up_to_ms(delay: str, delay_ms: int) -> None:
    assert intent_from_body(body_of(f'"delaySeconds":{delay}')).delay_ms == delay_ms


@pytest.mark.parametrize(
    "value", ["", " 5", "5 ", "5s", "five", "1_0", "NaN", "Infinity", "inf", "+5", "0x5", ARABIC_ONE]
)
def test_a_string_that_is_no_number_of_seconds_is_refused(value: str) -> None:
    assert problem_of(body_of(delaySeconds=value)) == ("delaySeconds", "must be a number of seconds")


@pytest.mark.parametrize("value", [True, False, [], {}, [5]])
def test_a_delay_of_another_json_type_is_refused(value: object) -> None:
    assert problem_of(body_of(delaySeconds=value)) == ("delaySeconds", "must be a number of seconds")


@pytest.mark.parametrize("value", ["-1", "-0.001", '"-5"', "1048576", "1048575.001", "1e9"])
def test_a_negative_delay_or_one_beyond_the_ladder_is_refused(value: str) -> None:
    body = body_of(f'"delaySeconds":{value}')
    assert problem_of(body) == ("delaySeconds", f"must be between 0 and {LADDER_MAX_S} seconds")


@pytest.mark.parametrize(("delay", "allowed"), [(60, True), (60.001, False), (61, False)])
def test_a_delay_is_at_most_the_configured_one(delay: float, allowed: bool) -> None:
    body = body_of(delaySeconds=delay)
    if allowed:
        assert intent_from_fields(parse_object(body), delay_max_s=60).delay_ms == 60_000
    else:
        assert problem_of(body, delay_max_s=60) == ("delaySeconds", "must be between 0 and 60 seconds")


@pytest.mark.parametrize(
    ("log", "text", "delay_ms"),
    [
        pytest.param("entry A", "entry", 5_000, id="contained"),
        pytest.param("entry", "entry", 5_000, id="equal"),
        pytest.param("Entry", "entry", 0, id="in another case"),
        pytest.param("exit", "entry", 0, id="not contained"),
        pytest.param("", "entry", 0, id="an empty log"),
        pytest.param(None, "entry", 0, id="no log"),
        pytest.param("entry", "", 5_000, id="an empty filter is as if absent"),
        pytest.param(None, "", 5_000, id="an empty filter and no log"),
        pytest.param("exit", None, 5_000, id="a null filter"),
        pytest.param("a.b", "a.b", 5_000, id="text, and no pattern"),
        pytest.param("axb", "a.b", 0, id="a point matches a point alone"),
    ],
)
def test_the_filter_delays_only_where_the_log_contains_it(log: str | None, text: str | None, delay_ms: int) -> None:
    intent = intent_from_body(body_of(delaySeconds=5, log=log, delaySecondsFilter=text))
    assert intent.delay_ms == delay_ms


def test_a_filter_without_a_delay_delays_nothing() -> None:
    assert intent_from_body(body_of(log="a", delaySecondsFilter="a")).delay_ms == 0


def test_neither_delay_field_is_posted_though_both_are_published() -> None:
    intent = intent_from_body(body_of(delaySeconds=5, log="a", delaySecondsFilter="a"))
    assert posted(intent).keys() == {"connectorName", "action", "log"}
    assert json.loads(intent.to_message())["delaySeconds"] == 5
    assert json.loads(intent.to_message())["delaySecondsFilter"] == "a"


def test_a_fraction_of_a_second_is_published_with_its_digits() -> None:
    intent = OrderIntent(connector_name="main", action="buy", delay_seconds=Decimal("1E-3"))
    assert b'"delaySeconds":0.001}' in intent.to_message()


# --- text ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["connectorName", "connectorToken", "log", "clientOrderId", "delaySecondsFilter"])
def test_a_lone_surrogate_is_refused_by_its_field(name: str) -> None:
    body = body_of(f'"{name}":"\\ud800"', **({name: ...} if name == "connectorName" else {}))
    assert problem_of(body) == (name, "holds a lone surrogate")


def test_a_lone_surrogate_in_python_is_refused_too() -> None:
    with pytest.raises(InvalidIntent, match="lone surrogate"):
        OrderIntent(connector_name="main", action="buy", log="\udc00")


def test_a_body_may_be_of_64_kib_and_no_more() -> None:
    room = 65_536 - len(body_of(log=""))
    assert len(intent_from_body(body_of(log="x" * room)).to_webhook()) == 65_536
    with pytest.raises(InvalidIntent, match="has 65537 bytes"):
        intent_from_body(body_of(log="x" * (room + 1)))
