"""The lanes of the overview: the ones that need somebody first, the quiet ones folded away."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.ops.console.moment.snapshot import SHORT_BUCKETS, Buckets, Lane
from signalq.ops.console.rendering.lane_list import ROWS_MAX, SORTS, Choice, Need, chosen, need_of, rate_per_s
from tests.support.console_snapshots import NOW_MS, lanes_of

QUIET = Lane("quiet", "q", ready=0)


def names(lanes: list[Lane], **choice: Any) -> list[str | None]:
    return [lane.connector for lane in chosen(lanes, Choice(**choice)).lanes]


@pytest.mark.parametrize(
    ("changed", "need"),
    [
        ({}, Need.QUIET),
        ({"ready": 3}, Need.BUSY),
        ({"out": 1}, Need.BUSY),
        ({"ready": None, "held": 2}, Need.BUSY),
        ({"state": "close-only", "ready": 3}, Need.CLOSE_ONLY),
        ({"failures": 2, "next_ms": NOW_MS, "state": "close-only"}, Need.BACKS_OFF),
        ({"state": "paused", "failures": 2, "next_ms": NOW_MS}, Need.PAUSED),
        ({"doubts": 1, "state": "paused"}, Need.IN_DOUBT),
        ({"is_consumed": False, "ready": 1, "doubts": 1}, Need.NOT_CONSUMED),
        ({"is_consumed": False, "ready": 0}, Need.QUIET),
    ],
)
def test_the_gravest_need_of_a_lane_counts(changed: dict[str, Any], need: Need) -> None:
    assert need_of(replace(QUIET, **changed)) is need


def test_the_first_sort_is_by_what_needs_somebody_then_by_name_with_the_shared_lane_last() -> None:
    assert names(lanes_of("main")) == [
        *("beta", "retired", "zeta", "gamma", "delta", "main", None, "main too", "quiet"),
    ]


def test_other_sorts_are_by_name_number_and_age() -> None:
    lanes = lanes_of("main")
    assert names(lanes, sort="name") == [*sorted(lane.connector for lane in lanes if lane.connector), None]
    assert names(lanes, sort="waiting")[:2] == ["delta", "main"]
    assert names(lanes, sort="oldest")[:2] == ["beta", "main"]


def test_a_filter_is_by_the_state_that_holds_and_by_a_part_of_the_name() -> None:
    lanes = lanes_of("main")
    assert names(lanes, state="paused") == ["gamma"]
    assert names(lanes, find="MAIN") == ["main", "main too"]
    assert names(lanes, find="shared") == [None]
    assert names(lanes, find="nothing") == []


def many(count: int, busy: int = 0) -> list[Lane]:
    return [Lane(f"c{place:04}", "q", ready=int(place < busy)) for place in range(count)]


def test_quiet_lanes_are_folded_away_where_all_would_not_fit_on_a_page() -> None:
    found = chosen(many(1_900, busy=188), Choice())
    assert (len(found.lanes), found.fitting, found.folded, found.pages) == (ROWS_MAX, 188, 1_712, 2)
    assert chosen(many(ROWS_MAX), Choice()).folded == 0
    unfolded = chosen(many(1_900, busy=188), Choice(quiet=True))
    assert (unfolded.fitting, unfolded.folded, unfolded.pages) == (1_900, 0, 19)


def test_a_search_looks_at_quiet_lanes_too() -> None:
    assert names(many(1_900), find="c1899") == ["c1899"]


@given(st.integers(0, 250), st.integers(1, 1_000), st.sampled_from(list(SORTS)))
def test_the_pages_show_every_lane_once_and_a_page_too_many_is_the_last(count: int, page: int, sort: Any) -> None:
    lanes = many(count, busy=count)
    pages = chosen(lanes, Choice(sort=sort)).pages
    shown = [name for number in range(1, pages + 1) for name in names(lanes, sort=sort, page=number)]
    assert sorted(map(str, shown)) == sorted(str(lane.connector) for lane in lanes)
    found = chosen(lanes, Choice(sort=sort, page=page))
    assert found.first == (min(page, pages) - 1) * ROWS_MAX + 1
    assert found.last <= found.fitting


def test_the_rate_is_that_of_the_last_whole_minute() -> None:
    delivered = [0] * (SHORT_BUCKETS - 5) + [60, 60, 60, 60, 999]
    assert rate_per_s(replace(QUIET, short=Buckets(delivered, [0] * SHORT_BUCKETS))) == 4
    assert rate_per_s(QUIET) == 0
