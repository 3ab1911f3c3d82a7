"""The rows of the lanes: sorted by what needs a person, and put together of what several say."""

from __future__ import annotations

import random
from typing import Any

import pytest

from signalq.consumer.ledger import LaneFacts
from signalq.ops.console.moment.lane_board import SAME_ATTEMPT_MS, _opens_due, _steady, _together, place_of
from signalq.ops.console.moment.snapshot import Lane
from signalq.settings.sections import Settings

NOW_MS = 1_769_860_800_000


def lane(connector: str | None, **given: Any) -> Lane:
    return Lane(connector, f"signalq.orders.{connector}", **given)


def test_lanes_are_sorted_by_what_needs_a_person_then_by_what_is_busy_then_by_name() -> None:
    wanted = [
        lane("z-unread", ready=1, is_consumed=False, doubts=1),
        lane("y-doubt", doubts=1, state="paused"),
        lane("w-paused", state="paused", ready=1),
        lane("b-paused", state="paused"),
        lane("x-failing", failures=1, retrying=1),
        lane("v-close-only", state="close-only"),
        lane("c-busy", held=1, ready=0),
        lane("u-busy", out=1),
        lane("a-quiet", ready=0),
        lane("s-not-consumed", ready=0, is_consumed=False),
        lane("t-recovered", failures=3, ready=0),
        lane(None, ready=0),
    ]
    shuffled = list(wanted)
    random.Random(1).shuffle(shuffled)
    assert [one.connector for one in sorted(shuffled, key=place_of)] == [one.connector for one in wanted]


def test_the_facts_of_two_consumers_of_one_lane_add_up_and_the_oldest_counts() -> None:
    one, other = LaneFacts(3, 1, NOW_MS - 5, None), LaneFacts(2, 2, NOW_MS - 9, NOW_MS + 4)
    assert _together(one, other) == _together(other, one) == LaneFacts(5, 3, NOW_MS - 9, NOW_MS + 4)
    assert _together(LaneFacts(0), one) == one


@pytest.mark.parametrize(
    ("connector", "action", "opens"),
    [
        ("main", "openLong", 2),
        ("main", "closeLong", 0),
        ("main", "cancellAll", 0),
        ("main", "sell", 2),
        ("spot", "sell", 0),
    ],
)
def test_of_what_falls_due_the_opens_are_counted(connector: str, action: str, opens: int) -> None:
    settings = Settings.model_validate({"connectors": {"spot": {"spot_sell_is_exit": True}}})
    assert _opens_due(settings, {(connector, action): 2})[connector] == opens


def test_the_time_of_the_next_attempt_is_told_anew_only_where_it_is_another() -> None:
    before = lane("main", next_ms=NOW_MS)
    assert _steady(NOW_MS + SAME_ATTEMPT_MS - 1, before) == NOW_MS
    assert _steady(NOW_MS + SAME_ATTEMPT_MS, before) == NOW_MS + SAME_ATTEMPT_MS
    assert _steady(None, before) is None
    assert _steady(NOW_MS, None) == _steady(NOW_MS, lane("main")) == NOW_MS
