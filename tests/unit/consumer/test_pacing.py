"""POSTs of a connector begin at least 1/rate apart (contract 3)."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.lanes.pacing import Paces


class Time:
    """A clock that is set by hand, in seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_connector_without_a_rate_never_waits() -> None:
    paces = Paces(Time())
    paces.take("main", None)
    assert paces.wait_ms("main", None) == 0


def test_the_next_post_waits_for_its_time_and_those_of_other_connectors_do_not() -> None:
    time = Time()
    paces = Paces(time)
    assert paces.wait_ms("main", 4) == 0
    paces.take("main", 4)
    assert paces.wait_ms("main", 4) == 250
    assert paces.wait_ms("other", 4) == 0
    time.now_s += 0.2499
    assert paces.wait_ms("main", 4) == 1, "never too early"
    time.now_s += 0.0001
    assert paces.wait_ms("main", 4) == 0


def test_a_post_that_begins_later_than_it_took_its_place_moves_the_next_one() -> None:
    time = Time()
    paces = Paces(time)
    paces.take("main", 10)
    time.now_s += 0.08
    paces.take("main", 10)
    assert paces.wait_ms("main", 10) == 100


def test_a_rate_that_was_raised_holds_at_once() -> None:
    time = Time()
    paces = Paces(time)
    paces.take("main", 0.01)
    assert paces.wait_ms("main", 0.01) == 100_000
    assert paces.wait_ms("main", 5) == 200


@given(rate_per_s=st.floats(0.1, 1000), pauses_s=st.lists(st.floats(0, 20), max_size=30))
def test_no_two_posts_begin_closer_than_the_rate_allows(rate_per_s: float, pauses_s: list[float]) -> None:
    time = Time()
    paces = Paces(time)
    begun: list[float] = []
    for pause_s in pauses_s:
        time.now_s += pause_s
        time.now_s += paces.wait_ms("main", rate_per_s) / 1000
        paces.take("main", rate_per_s)
        begun.append(time.now_s)
    assert all(later - sooner >= 1 / rate_per_s - 1e-6 for sooner, later in pairwise(begun))


def test_the_pace_of_the_consumer_before_us_goes_on() -> None:
    time = Time()
    paces = Paces(time)
    paces.remember("main", 4_000)
    assert paces.wait_ms("main", 0.1) == 6_000
    paces.remember("other", 11_000)
    assert paces.wait_ms("other", 0.1) == 0


def test_a_connector_with_a_rate_knows_how_long_ago_its_last_post_began() -> None:
    time = Time()
    paces = Paces(time)
    assert paces.posted_ago_ms("main", 0.1) is None
    paces.take("main", 0.1)
    time.now_s += 1.5
    assert paces.posted_ago_ms("main", 0.1) == 1_500
    assert paces.posted_ago_ms("main", None) is None
