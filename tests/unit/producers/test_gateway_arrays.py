"""Several orders in one body, judged as a whole; and the time that an order has of its own."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.message.strict_json import BODY_BYTES_MAX, parse_object
from signalq.producers.gateway.alerts import (
    Batch,
    Reading,
    Refusal,
    Rules,
    read_batch,
    token_digest,
)
from signalq.producers.gateway.answers import problem_details
from signalq.producers.gateway.arrays import ARRAY_VALUES_MAX, ORDERS_MAX, array_of

NOW_MS = 1_769_860_800_000
DAY_MS = 86_400_000
TOKENS = {"main": "the-token-of-main", "copy": "the-token-of-copy"}
RULES = {name: Rules(token_digest(token), ("notional",)) for name, token in TOKENS.items()}

# Since Python 3.12 the reader goes deeper than an array may be.
DEEP = "nested too deeply" if sys.version_info < (3, 12) else "not JSON (Expecting value"


def order(connector: str = "main", **fields: object) -> dict[str, Any]:
    given = {"connectorName": connector, "connectorToken": TOKENS[connector], "action": "openLong", "percent": "50"}
    return given | fields


def read(body: object, time_field: str | None = "time") -> Batch | Refusal:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_batch(raw, Reading(RULES.get, delay_max_s=60, time_field=time_field), NOW_MS)


def taken(body: object, time_field: str | None = "time") -> Batch:
    found = read(body, time_field)
    assert isinstance(found, Batch), found
    return found


def refused(body: object, time_field: str | None = "time") -> Refusal:
    found = read(body, time_field)
    assert isinstance(found, Refusal)
    return found


# ---- arrays ----


def test_an_array_is_as_many_orders_each_with_its_bytes_in_their_order() -> None:
    first = b'{ "connectorName":"main", "connectorToken": "the-token-of-main",\t"action":"openLong","fixed":1.50 }'
    second = (
        b'{"connectorName":"copy","connectorToken":"the-token-of-copy","action":"closeLong","log":"],[{\\"\\u00e9"}'
    )
    batch = taken(b" \r\n[\t" + first + b"\n,  " + second + b" , " + first + b"]\n")
    assert [alert.body for alert in batch.alerts] == [first, second, first]
    assert batch.connectors == ["main", "copy", "main"]
    assert "the-token" not in repr(batch)


def test_an_array_of_one_is_one_order_and_not_the_same_request_as_the_order_alone() -> None:
    alone, array = taken(order()), taken([order()])
    assert alone.alerts == array.alerts
    assert alone.digest != array.digest


def test_1_to_20_orders_make_an_array() -> None:
    assert len(taken([order()] * ORDERS_MAX).alerts) == ORDERS_MAX == 20
    for body in ([], [order()] * 21, b"[ ]"):
        (problem,) = refused(body).problems
        assert problem.message == "an array must have 1 to 20 orders"


@pytest.mark.parametrize(
    ("bad", "status", "field"),
    [
        (order(percent="500"), 400, "percent"),
        (order(colour="red"), 400, "colour"),
        (order() | {"connectorToken": "another"}, 401, "connectorToken"),
        ({"connectorName": "main", "action": "buy"}, 401, "connectorToken"),
        (order() | {"connectorName": "elsewhere"}, 401, "connectorToken"),
        (order() | {"connectorName": "copy"}, 401, "connectorToken"),
        (order(notional=[1] * 64), 400, None),
        (order(log="\ud800"), 400, "log"),
        (order(time="soon"), 400, "time"),
    ],
)
@pytest.mark.parametrize("place", [1, 2, 20])
def test_one_bad_order_refuses_all_and_the_answer_names_which(
    bad: dict[str, Any], status: int, field: str | None, place: int
) -> None:
    orders = [order(log=str(number)) for number in range(ORDERS_MAX)]
    orders[place - 1] = bad
    refusal = refused(orders)
    assert (refusal.status, refusal.order, refusal.problems[0].field) == (status, place, field)
    details = problem_details(refusal.status, refusal.problems, refusal.order)
    assert details["order"] == place
    assert details["detail"].startswith(f"order {place}: ")
    alone = refused(bad)
    assert (alone.problems, alone.order) == (refusal.problems, None)
    assert "order" not in problem_details(alone.status, alone.problems, alone.order)


def test_without_all_the_tokens_a_sender_learns_of_no_other_mistake() -> None:
    stranger = order("copy") | {"connectorToken": "a guess"}
    refusal = refused([order(percent="500"), stranger])
    assert (refusal.status, refusal.order) == (401, 2)
    assert refusal.connector is None
    assert [problem.field for problem in refusal.problems] == ["connectorToken"]


def test_the_first_wrong_token_is_the_only_guess_that_is_answered() -> None:
    wrong = [order() | {"connectorToken": f"guess {number}"} for number in range(5)]
    assert refused([*wrong, order()]).order == 1


def test_a_bad_order_of_a_known_sender_is_no_strangers() -> None:
    assert refused([order(), order("copy", percent="500")]).connector == "copy"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"[", "an array, but order 1 in it is not an object"),
        (b"[1]", "order 1 in it is not an object"),
        (b"[[{}]]", "order 1 in it is not an object"),
        (b'["{}"]', "order 1 in it is not an object"),
        (b"[null]", "order 1 in it is not an object"),
        (b"[{},]", "order 2 in it is not an object"),
        (b"[{},5]", "order 2 in it is not an object"),
        (b"[{}", "not JSON (Expecting ',' delimiter, line 1 column 4)"),
        (b"[{} {}]", "not JSON (Expecting ',' delimiter, line 1 column 5)"),
        (b"[{}]]", "not JSON (Extra data, line 1 column 5)"),
        (b"[{}] {}", "not JSON (Extra data"),
        (b'[{"a":}]', "not JSON (Expecting value, line 1 column 7)"),
        (b'[\n{"a":"\n"}]', "not JSON (Invalid control character at, line 2 column 7)"),
        (b'[{"a":"\xff"}]', "not UTF-8 (byte 7)"),
        (b'[{"a":' + b"[" * 1_030, DEEP),
        (b'[{"a":' + b"[" * 60_000, "more than 512 values"),
        (b'[{"a":' + b'{"a":' * 12_000, "more than 512 values"),
        (b'[{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}]", "more than 512 values"),
        (b'[{"a":' + b"9" * 65_000 + b"}]", "more than 64 digits"),
        (b'[{"a":NaN}]', "NaN and Infinity are not JSON"),
        (b'[{"a":1,"a":2}]', "is there more than once"),
        (b"\xef\xbb\xbf[{}]", "byte-order mark"),
        (b"[" + b" " * BODY_BYTES_MAX + b"]", "at most 65536 are allowed"),
    ],
)
def test_an_array_of_anything_but_objects_is_refused_with_a_sentence(body: bytes, says: str) -> None:
    refusal = refused(body)
    assert refusal.status == 400
    assert says in "; ".join(problem.message for problem in refusal.problems)


def test_the_values_of_all_orders_of_an_array_are_bounded() -> None:
    orders = [order(notional=[0] * 35)] * 13  # of 40 values each
    assert len(taken(orders[:12]).alerts) == 12
    refusal = refused(orders)
    assert refusal.order == 13
    assert refusal.problems[0].message == f"the array has more than {ARRAY_VALUES_MAX} values up to here"


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
fields = st.dictionaries(st.text(max_size=5), values, max_size=4)


@given(st.lists(fields, min_size=1, max_size=ORDERS_MAX), st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_each_object_of_an_array_is_cut_out_as_it_stands(
    objects: list[dict[str, object]], indent: int | str | None, is_ascii: bool
) -> None:
    written = [json.dumps(one, indent=indent, ensure_ascii=is_ascii).encode("utf-8", "replace") for one in objects]
    assert array_of(b"[" + b" ,\r\n".join(written) + b"]") == written


@given(st.binary(max_size=60) | st.text('[]{},:"\\a1 \n', max_size=60).map(str.encode))
def test_every_body_that_begins_with_a_bracket_gets_an_answer(rest: bytes) -> None:
    refusal = refused(b"[" + rest)
    assert refusal.status in {400, 401}
    assert refusal.problems


# ---- the time ----


@pytest.mark.parametrize(
    ("given", "ms"),
    [
        (NOW_MS, NOW_MS),
        (str(NOW_MS), NOW_MS),
        ("2026-01-31T12:00:00Z", NOW_MS),
        ("2026-01-31T12:00:00.250+00:00", NOW_MS + 250),
        ("2026-01-31T13:00:00.2509+01:00", NOW_MS + 250),
        ("2026-01-31 12:00:00-00:00", NOW_MS),
        ("20260131T120000Z", NOW_MS),
        ("2001-01-01T00:00:00Z", 978_307_200_000),
        (NOW_MS + DAY_MS, NOW_MS + DAY_MS),
        ("2026-02-01T12:00:00Z", NOW_MS + DAY_MS),
    ],
)
def test_the_orders_own_time_is_iso_8601_with_a_zone_or_ms_and_is_not_passed_on(given: object, ms: int) -> None:
    (alert,) = taken(order(time=given)).alerts
    assert alert.created_ms == ms
    assert json.loads(alert.body) == order()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("2026-01-31T12:00:00", "has no zone"),
        ("2026-01-31", "has no zone"),
        ("{{timenow}}", "is no time"),
        ("", "is no time"),
        ("12:00", "is no time"),
        ("2026-13-31T12:00:00Z", "is no time"),
        (f"{NOW_MS}.0", "is no time"),
        (f"-{NOW_MS}", "is no time"),
        ("\u0661" * 13, "is no time"),
        ("1" * 30, "is no time"),
        ("9" * 5_000, "is no time"),
        (1769860800000.5, "is no time"),
        (-1, "is no time"),
        (True, "is no time"),
        ([NOW_MS], "is no time"),
        ({"ms": NOW_MS}, "is no time"),
        (NOW_MS // 1000, "before 2001 (seconds instead of ms?)"),
        (str(NOW_MS // 1000), "before 2001 (seconds instead of ms?)"),
        ("1999-12-31T23:59:59Z", "before 2001"),
        ("0001-01-01T00:00:00+14:00", "before 2001"),
        (NOW_MS + DAY_MS + 1, "more than a day ahead"),
        (NOW_MS * 1000, "more than a day ahead"),
        ("9999-12-31T23:59:59-14:00", "more than a day ahead"),
    ],
)
def test_a_time_that_is_none_refuses_the_order_with_what_is_expected_and_quotes_nothing(
    given: object, says: str
) -> None:
    refusal = refused(order(time=given))
    assert (refusal.status, refusal.connector) == (400, "main")
    (problem,) = refusal.problems
    assert problem.field == "time"
    assert says in problem.message
    assert "expected is ISO 8601 with its zone (2026-01-31T12:00:00Z), or ms since 1970 in UTC" in problem.message
    assert len(problem.message) < 250


@given(
    st.text(max_size=40) | st.integers() | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?")
)
def test_every_time_is_taken_or_refused(given: object) -> None:
    found = read(order(time=given))
    if isinstance(found, Batch):
        assert 978_307_200_000 <= (found.alerts[0].created_ms or 0) <= NOW_MS + DAY_MS


def test_without_its_field_or_with_null_an_order_has_no_time_of_its_own() -> None:
    (alert,) = taken(order()).alerts
    assert (alert.created_ms, alert.body) == (None, json.dumps(order()).encode()), "and its bytes are as they came"
    (alert,) = taken(order(time=None)).alerts
    assert alert.created_ms is None
    assert json.loads(alert.body) == order()


def test_an_order_without_its_time_keeps_every_digit_and_every_other_field() -> None:
    body = b'{"connectorName":"main","time":%d,"connectorToken":"the-token-of-main","action":"openLong","limit":1.50e1}'
    (alert,) = taken(body % NOW_MS).alerts
    assert (
        alert.body
        == b'{"connectorName":"main","connectorToken":"the-token-of-main","action":"openLong","limit":1.50e1}'
    )
    assert parse_object(alert.body).keys() == {"connectorName", "connectorToken", "action", "limit"}


def test_each_order_of_an_array_has_its_own_time() -> None:
    batch = taken([order(time=NOW_MS), order("copy"), order(time="2026-01-31T11:00:00Z")])
    assert [alert.created_ms for alert in batch.alerts] == [NOW_MS, None, NOW_MS - 3_600_000]


def test_no_time_field_is_known_unless_it_is_set_and_then_under_its_own_name_alone() -> None:
    assert refused(order(time=NOW_MS), None).problems[0].field == "time"
    assert refused(order(at=NOW_MS)).problems[0].field == "at"
    assert taken(order(at=NOW_MS), "at").alerts[0].created_ms == NOW_MS


def test_the_same_order_at_another_time_is_another_request() -> None:
    assert taken(order(time=NOW_MS)).digest != taken(order(time=NOW_MS + 1)).digest
    assert taken(order(time=NOW_MS)).digest == taken(order(time=NOW_MS)).digest
