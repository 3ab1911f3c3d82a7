"""Pre-trade limits: by table, and against a small oracle (contract 3)."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.commands import Basic

from signalq.consumer.orders.decisions import DeadLetter, Deliver, Drop, Park
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.consumer.orders.rules import before
from signalq.consumer.orders.state import IntentState
from signalq.settings.sections import Settings

NOW_MS = 1_700_000_000_000
SIZES = {"fixed_max": 10, "percent_max": 50}


def order(connector: dict[str, Any], strategy: dict[str, Any] | None = None, **fields: Any) -> Order:
    """An intent of a strategy `s` for the connector `main`, which have these limits."""
    settings = Settings(
        connectors={"main": {"token": "t"} | connector},
        strategies={} if strategy is None else {"s": strategy},
    )
    stated = {name: value for name, value in fields.items() if value is not None}
    body = json.dumps({"connectorName": "main", "action": "openLong"} | stated).encode()
    properties = Basic.Properties(message_id="id", app_id="s", headers={"signalq-created-ms": NOW_MS})
    found = read(Message(body, properties, "main", redelivered=False), settings, NOW_MS)
    assert isinstance(found, Order), found
    return found


def judged(of: Order, *, over_rate: Rate | None = None, **known: Any) -> object:
    return before(
        of,
        IntentState(of.intent_id, of.identity.digest, **known),
        NOW_MS,
        refusal=over_rate and RateExceeded(over_rate),
    )


def ending(found: object) -> str:
    return found.reason if isinstance(found, DeadLetter) else type(found).__name__


def reported(of: Order) -> list[tuple[str, str]]:
    return [(one.scope, one.limit) for one in of.exceeded(enforced=False)]


@pytest.mark.parametrize(
    ("limits", "fields", "limit"),
    [
        ({}, {}, None),
        (SIZES, {"fixed": "10"}, None),
        (SIZES, {"fixed": "10.000000000000000000000000000001"}, "fixed_max"),
        (SIZES, {"percent": "50.0"}, None),
        (SIZES, {"percent": "50.01"}, "percent_max"),
        (SIZES, {"fixed": "1", "percent": "100"}, None),
        (SIZES, {"fixed": "11", "percent": "1"}, "fixed_max"),
        (SIZES, {}, "fixed_max"),
        ({"percent_max": 50}, {}, "percent_max"),
        ({"percent_max": 50}, {"fixed": "1"}, "percent_max"),
        ({"percent_max": 50}, {"fixed": "1", "percent": "1"}, "percent_max"),
        ({"fixed_max": 10}, {"percent": "1"}, "fixed_max"),
        (SIZES, {"action": "sell", "percent": "51"}, "percent_max"),
        (SIZES, {"action": "sell", "percent": "51", "spot_sell_is_exit": True}, None),
        (SIZES, {"action": "closeLong", "percent": "100"}, None),
        (SIZES, {"action": "closeLong"}, None),
        (SIZES, {"action": "cancelAll"}, None),
        ({"actions": ["buy", "cancelAll"]}, {"action": "buy"}, None),
        ({"actions": ["buy", "cancelAll"]}, {"action": "cancellAll"}, None),
        ({"actions": ["buy", "cancelAll"]}, {"action": "openLong"}, "actions"),
        ({"actions": ["buy"]}, {"action": "closeLong"}, "actions"),
        ({"actions": []}, {"action": "buy"}, "actions"),
    ],
)
def test_an_intent_over_a_connectors_limit_is_forbidden_or_only_reported(
    limits: dict[str, Any], fields: dict[str, Any], limit: str | None
) -> None:
    fields = dict(fields)
    own = limits | {"spot_sell_is_exit": fields.pop("spot_sell_is_exit", False)}
    enforced = judged(order(own, **fields))
    assert ending(enforced) == ("forbidden" if limit else "Deliver")
    if isinstance(enforced, DeadLetter) and limit:
        assert limit.removesuffix("_max") in enforced.detail
        assert "connector's" in enforced.detail
        assert not any(str(value) in enforced.detail for value in fields.values())
    shadowed = order(own | {"limits": "report"}, **fields)
    assert judged(shadowed) == Deliver()
    assert reported(shadowed) == ([("connector", limit)] if limit else [])


@pytest.mark.parametrize(
    ("limits", "fields", "limit"),
    [
        ({"percent_max": 5}, {"percent": "5"}, None),
        ({"percent_max": 5}, {"percent": "6"}, "percent_max"),
        ({"fixed_max": 5}, {"fixed": "6"}, "fixed_max"),
        ({"fixed_max": 5}, {"action": "closeShort", "fixed": "6"}, None),
    ],
)
def test_a_strategys_limits_hold_as_well(limits: dict[str, Any], fields: dict[str, Any], limit: str | None) -> None:
    assert ending(judged(order({}, limits, **fields))) == ("forbidden" if limit else "Deliver")
    shadowed = order({}, limits | {"limits": "report"}, **fields)
    assert judged(shadowed) == Deliver()
    assert reported(shadowed) == ([("strategy", limit)] if limit else [])


def test_each_scope_is_judged_by_itself() -> None:
    of = order({"percent_max": 5}, {"percent_max": 4, "limits": "report"}, percent="6")
    assert ending(judged(of)) == "forbidden", "the connector's is enforced"
    assert reported(of) == [("strategy", "percent_max")]
    of = order({"percent_max": 5, "limits": "report"}, {"fixed_max": 4}, percent="6")
    assert ending(judged(of)) == "forbidden", "a percentage has no maximum of the strategy's"
    assert reported(of) == [("connector", "percent_max")]


def test_an_order_with_an_extra_field_is_forbidden_where_a_strategys_size_is_limited() -> None:
    extra = {"extra_fields": ["notional"]}
    assert ending(judged(order(extra, {"percent_max": 5}, percent="1", notional="1000"))) == "forbidden"
    assert judged(order(extra, {"percent_max": 5}, percent="1")) == Deliver()
    assert judged(order(extra, {"percent_max": 5}, action="closeLong", percent="1", notional="1000")) == Deliver()
    assert judged(order(extra, {"orders_per_minute_max": 5}, percent="1", notional="1000")) == Deliver()


def test_limits_are_judged_before_parking() -> None:
    assert ending(judged(order(SIZES, percent="51", delaySeconds=60))) == "forbidden"
    assert isinstance(judged(order(SIZES, percent="50", delaySeconds=60)), Park)


def test_an_intent_that_may_have_been_taken_is_in_doubt_rather_than_forbidden() -> None:
    sent = {"status": "sending", "attempts": 1, "in_doubt": True, "version": 1, "first_post_ms": NOW_MS}
    assert ending(judged(order(SIZES, percent="51"), **sent)) == "outcome-unknown"
    assert judged(order(SIZES, percent="51"), status="delivered", version=1) == Drop(duplicate=True)


# --- rates -----------------------------------------------------------------------------------------------------------


def test_opens_count_for_the_rates_of_both_scopes_and_exits_for_none() -> None:
    limits = {"orders_per_minute_max": 3}, {"orders_per_minute_max": 5, "limits": "report"}
    rates = order(*limits, percent="1").rates()
    assert [(rate.key, rate.opens_max, rate.enforced) for rate in rates] == [
        ("connector:main", 3, True),
        ("strategy:s", 5, False),
    ]
    assert order(*limits, action="closeLong").rates() == ()
    assert order(*limits, action="cancelAll").rates() == ()
    assert order({}, percent="1").rates() == ()


def test_an_open_without_a_place_in_its_rate_is_forbidden_unless_more_is_known_of_it_now() -> None:
    of = order({"orders_per_minute_max": 3}, percent="1")
    (full,) = of.rates()
    assert judged(of, over_rate=full) == DeadLetter("forbidden", full.exceeded.detail)
    assert judged(of, over_rate=full, status="delivered", version=2) == Drop(duplicate=True)
    begun = {"status": "retrying", "attempts": 1, "attempts_counted": 1, "version": 2}
    assert judged(of, over_rate=full, **begun) == Deliver(), "its first POST has its place"


# --- against an oracle -----------------------------------------------------------------------------------------------

maxima = st.none() | st.integers(1, 40).map(lambda quarters: quarters / 4)
sizes = st.none() | st.integers(1, 48).map(lambda quarters: str(quarters / 4))


@given(
    scopes=st.tuples(st.tuples(maxima, maxima), st.tuples(maxima, maxima)),
    fixed=sizes,
    percent=sizes,
    action=st.sampled_from(["openLong", "buy", "closeLong"]),
)
def test_size_limits_are_those_of_a_simple_oracle(
    scopes: tuple[tuple[float | None, float | None], ...], fixed: str | None, percent: str | None, action: str
) -> None:
    connector, strategy = ({"fixed_max": a, "percent_max": b} for a, b in scopes)
    of = order(connector, strategy, fixed=fixed, percent=percent, action=action)
    forbidden = False
    for fixed_max, percent_max in scopes:
        if action == "closeLong" or (fixed_max is None and percent_max is None):
            continue
        size, size_max = (fixed, fixed_max) if fixed is not None else (percent, percent_max)
        forbidden |= size is None or size_max is None or Fraction(size) > Fraction(size_max)
    assert ending(judged(of)) == ("forbidden" if forbidden else "Deliver")
