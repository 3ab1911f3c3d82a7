"""How long to park and how long to back off."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.orders.delays import LADDER_SLACK_MS, SET_BACK_LOOK_S, park_seconds
from signalq.names import LADDER_MAX_S
from signalq.times import backoff_s

NOW_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("remaining_ms", "seconds"),
    [(-5_000, 0), (0, 0), (999, 0), (1_099, 0), (1_100, 1), (2_099, 1), (2_100, 2), (604_800_100, 604_800)],
)
def test_the_ladder_holds_the_whole_seconds_that_remain_less_its_own_lateness(remaining_ms: int, seconds: int) -> None:
    assert park_seconds(NOW_MS + remaining_ms, NOW_MS) == seconds


@given(st.integers(-(10**12), 10**13))
def test_an_intent_comes_back_before_it_is_due_with_little_left_to_wait(remaining_ms: int) -> None:
    seconds = park_seconds(NOW_MS + remaining_ms, NOW_MS)
    assert 0 <= seconds <= LADDER_MAX_S
    left_ms = remaining_ms - 1000 * seconds
    if seconds:
        assert left_ms >= LADDER_SLACK_MS
    if seconds < LADDER_MAX_S:
        assert left_ms < 1000 + LADDER_SLACK_MS


@pytest.mark.parametrize(
    ("remaining_s", "behind_s", "seconds"),
    [
        (3_600, 3_600, 1),  # would be due now
        (7_200, 3_600, 3_599),  # comes back before it would be
        (3_590, 3_600, 5),  # would have been due for 10 s
        (3_000, 3_600, SET_BACK_LOOK_S),
        (10, 3_600, 9),  # is due sooner than that
        (0, 3_600, 0),
        (1, 3_600, 0),
    ],
)
def test_an_intent_that_would_be_due_if_the_clock_were_set_right_is_looked_at_again_soon(
    remaining_s: int, behind_s: int, seconds: int
) -> None:
    assert park_seconds(NOW_MS + 1000 * remaining_s, NOW_MS, 1000 * behind_s) == seconds


@given(st.integers(0, 10**10), st.integers(-(10**8), 10**8))
def test_an_intent_comes_back_before_it_is_due_and_later_than_now_whatever_the_clock_was(
    remaining_ms: int, behind_ms: int
) -> None:
    usual = park_seconds(NOW_MS + remaining_ms, NOW_MS)
    assert min(usual, 1) <= park_seconds(NOW_MS + remaining_ms, NOW_MS, behind_ms) <= usual


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (10_000, 30.0)]
)
def test_backoff_doubles_up_to_its_maximum(failures: int, wait_s: float) -> None:
    assert backoff_s(failures, base_s=0.5, max_s=30, fraction=1.0) == wait_s


@given(st.integers(0, 10**9), st.floats(0, 1))
def test_full_jitter_spreads_over_the_whole_backoff(failures: int, fraction: float) -> None:
    whole = backoff_s(failures, base_s=0.5, max_s=30, fraction=1.0)
    assert backoff_s(failures, base_s=0.5, max_s=30, fraction=fraction) == fraction * whole
