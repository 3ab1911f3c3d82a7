"""`publish --wait` holds back what could not be POSTed in time, however long each POST lasts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import Any

import pytest

from signalq import OrderIntent
from signalq.ops.publish.forecast import POST_S
from signalq.ops.publish.hold_back import SPAN_SHARE, WAITED_FOR_MAX, HoldBack
from signalq.settings.sections import Settings


def order(connector: str = "main", action: str = "buy", **fields: Any) -> OrderIntent:
    return OrderIntent(connector_name=connector, action=action, **fields)


def taken(intent: OrderIntent, **sections: Any) -> int:
    """How many of an intent may be on their way at a time."""
    hold_back = HoldBack(Settings.model_validate(sections))
    return next(count for count in range(WAITED_FOR_MAX + 1) if hold_back.take(intent, 0.0))


@pytest.mark.parametrize(
    ("count", "intent", "sections"),
    [
        # 60 s of age, 3 + 10 s for the slowest POST: the fifth could be too late.
        (4, order(), {"connectors": {"main": {}}}),
        (276, order(action="closeLong"), {"connectors": {"main": {}}}),
        (1, order(), {"delivery": {"open_max_age_s": 5}, "connectors": {"main": {}}}),
        (46, order(), {"connectors": {"main": {"open_max_age_s": 600}}}),
        (12, order(), {"webhook": {"timeout_s": 2}, "connectors": {"main": {}}}),
        (3, order(), {"connectors": {"main": {"rate_per_s": 0.05}}}),
        (46, order(), {"connectors": {"main": {"ordering": "none", "concurrency": 10}}}),
    ],
)
def test_as_many_are_on_their_way_as_are_in_time_if_each_post_lasts_as_long_as_it_may(
    count: int, intent: OrderIntent, sections: dict[str, Any]
) -> None:
    assert taken(intent, **sections) == count


def test_one_that_ends_lets_another_go_and_no_connector_holds_back_another() -> None:
    hold_back = HoldBack(Settings.model_validate({"connectors": {"main": {}, "alt": {}}}))
    assert [hold_back.take(order(), 0.0) for _ in range(5)] == [0, 0, 0, 0, math.inf]
    assert hold_back.take(order("alt"), 0.0) == 0
    hold_back.ended(order())
    assert [hold_back.take(order(), 0.0) for _ in range(2)] == [0, math.inf]


def test_the_shared_lane_has_a_limit_for_all_its_connectors() -> None:
    settings = Settings.model_validate({"delivery": {"concurrency": 2}})
    hold_back = HoldBack(settings)
    went = [name for name in range(20) if not hold_back.take(order(f"connector {name}"), 0.0)]
    assert len(went) == int(60 * 2 / 13)


def test_delayed_ones_take_no_place_in_a_lane_and_those_that_fall_due_together_are_spread() -> None:
    hold_back = HoldBack(Settings.model_validate({"connectors": {"main": {}}}))
    one_hour = order(delay_seconds=3600)
    at_once = round(SPAN_SHARE * 60 / POST_S)
    assert not any(hold_back.take(one_hour, 0.0) for _ in range(at_once))
    hold_s = hold_back.take(one_hour, 0.0)
    assert 0 < hold_s <= SPAN_SHARE * 60
    assert hold_back.take(one_hour, hold_s) == 0
    assert hold_back.take(order(delay_seconds=1800), 0.0) == 0
    assert hold_back.take(order("alt", delay_seconds=3600), 0.0) == 0
    assert [hold_back.take(order(), 0.0) for _ in range(5)] == [0, 0, 0, 0, math.inf]


def longest_waits(given: Iterable[OrderIntent]) -> dict[str, float]:
    """How long orders that are sent as they may be wait in a lane that POSTs one in POST_S, at most, by action."""
    hold_back, now_s = HoldBack(Settings.model_validate({"connectors": {"main": {}}})), 0.0
    due: list[tuple[float, int, str]] = []
    for number, intent in enumerate(given):
        while hold_s := hold_back.take(intent, now_s):
            now_s += hold_s
        hold_back.ended(intent)  # they count as scheduled soon
        due.append((now_s + intent.delay_ms / 1000, number, intent.action))
    free_s, longest = 0.0, dict.fromkeys(("buy", "closeLong"), 0.0)
    for due_s, _, action in sorted(due):
        longest[action] = max(longest[action], 0.0, free_s - due_s)
        free_s = max(free_s, due_s) + POST_S
    return longest


@pytest.mark.parametrize("opens_first", [True, False])
def test_delayed_ones_are_in_time_whatever_order_they_come_in(*, opens_first: bool) -> None:
    rng = random.Random(18)
    seconds = [300 + number / 20 for number in range(2_000)]  # 20 a second, four times as many as can be POSTed
    rng.shuffle(seconds)
    longest = longest_waits(order(delay_seconds=round(second, 2)) for second in seconds)
    assert 0 < longest["buy"] < 60
    exits = [order(action="closeLong", delay_seconds=rng.choice((300, 301, 330))) for _ in range(4_000)]
    opens = [order(delay_seconds=rng.randrange(290, 1_500)) for _ in range(400)]
    longest = longest_waits([*opens, *exits] if opens_first else [*exits, *opens])
    assert (longest["buy"] < 60, longest["closeLong"] < 3600) == (True, True), longest
    many_exits = [order(action="closeLong", delay_seconds=60)] * 20_000
    assert 60 < longest_waits(many_exits)["closeLong"] < 3600


def test_however_few_connectors_share_no_more_are_waited_for_than_memory_should_hold() -> None:
    assert taken(order(delay_seconds=1), delivery={"open_max_age_s": 86_400}) == WAITED_FOR_MAX


def test_intents_that_have_ended_or_are_held_back_take_no_place_and_no_memory() -> None:
    hold_back = HoldBack(Settings())
    for number in range(10):
        assert hold_back.take(order(f"connector {number}"), 0.0) == 0
        hold_back.ended(order(f"connector {number}"))
    delayed = order(delay_seconds=60)
    went = sum(not hold_back.take(delayed, 0.0) for _ in range(200))
    assert 0 < went < 200
    for _ in range(went):
        hold_back.ended(delayed)
    assert not hold_back._on_their_way
