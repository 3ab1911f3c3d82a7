"""What is known of this machine's clock, and what an exit's age makes of it."""

from __future__ import annotations

import pytest

from signalq.consumer.clocks.skew import Skew
from signalq.consumer.orders.delays import AHEAD_MS_MAX, DAY_MS, KnownSkew, Segment, remaining_ms

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000


class Machine:
    """Its two clocks; `told` is what the gauge is told."""

    def __init__(self) -> None:
        self.even_ms, self.ahead_ms = 5_000_000, 0
        self.told: dict[str, float] = {}

    @property
    def wall_ms(self) -> int:
        return NOW_MS + self.even_ms + self.ahead_ms

    def skew(self) -> Skew:
        return Skew(self.told.__setitem__, wall_ms=lambda: self.wall_ms, even_ms=lambda: self.even_ms)


def test_a_clock_that_is_only_read_is_not_ahead_of_anything() -> None:
    machine = Machine()
    skew = machine.skew()
    machine.even_ms += 10 * HOUR_MS
    machine.ahead_ms += 400  # its rate was adjusted
    assert skew.known().ahead_of(machine.wall_ms - HOUR_MS) == 0


def test_a_step_forward_makes_nothing_older_whoever_dated_it_until_others_say_that_the_clock_is_right() -> None:
    machine = Machine()
    skew = machine.skew()
    before_ms = machine.wall_ms
    machine.even_ms += 1_000
    machine.ahead_ms += HOUR_MS
    assert skew.known().ahead_of(before_ms) == HOUR_MS, "this machine dated it before the step"
    assert skew.known().ahead_of(before_ms + 60_000) == HOUR_MS, "another one did, whose clock was not set"
    skew.note("webhook", -400, 900)
    assert skew.known().ahead_of(before_ms) == HOUR_MS
    assert skew.known().ahead_of(before_ms + 60_000) == 0
    assert skew.known().ahead_of(machine.wall_ms) == 0
    machine.ahead_ms -= HOUR_MS
    assert skew.known().ahead_of(before_ms) == 0, "set right again"


def test_a_step_back_makes_nothing_younger() -> None:
    machine = Machine()
    skew = machine.skew()
    before_ms = machine.wall_ms
    machine.ahead_ms -= HOUR_MS
    assert skew.known().ahead_of(before_ms) == 0
    assert skew.known().ahead_of(machine.wall_ms) == 0


def test_a_step_counts_for_a_day() -> None:
    known = KnownSkew((Segment(0, NOW_MS), Segment(HOUR_MS, NOW_MS + HOUR_MS)))
    assert known.ahead_of(NOW_MS + HOUR_MS + DAY_MS) == HOUR_MS
    assert known.ahead_of(NOW_MS + HOUR_MS + DAY_MS + 1) == 0


def test_no_word_on_the_time_makes_an_exit_live_longer_than_a_day() -> None:
    assert KnownSkew((), 400 * DAY_MS).ahead_of(NOW_MS) == AHEAD_MS_MAX


def test_a_consumer_that_starts_knows_from_the_ledger_how_the_clock_was_set_before_and_meanwhile() -> None:
    machine = Machine()
    first = machine.skew()
    dated_ms = machine.wall_ms
    machine.ahead_ms += HOUR_MS
    noted = first.unsaved()
    first.saved(noted)
    assert len(noted) == 2
    assert first.unsaved() == []
    same = machine.skew()
    same.recall(noted)
    assert same.known().ahead_of(dated_ms) == HOUR_MS
    assert same.unsaved() == []
    machine.ahead_ms += HOUR_MS
    later = machine.skew()
    later.recall(noted)
    assert later.known().ahead_of(dated_ms) == 2 * HOUR_MS
    assert len(later.unsaved()) == 1


@pytest.mark.parametrize(
    ("at_least_ms", "at_most_ms", "told_s"),
    [(-900, 200, 0.0), (0, 5_000, 0.0), (2_500, 3_500, 2.5), (-3_500, -2_500, -2.5)],
)
def test_the_metric_of_another_clock_tells_what_is_sure(at_least_ms: int, at_most_ms: int, told_s: float) -> None:
    machine = Machine()
    skew = machine.skew()
    skew.note("ledger", at_least_ms, at_most_ms)
    assert machine.told == {"ledger": told_s}
    assert skew.known().ahead_of(machine.wall_ms) == max(0, at_least_ms)


def test_a_brokers_stamp_says_how_far_we_are_behind_and_nothing_else() -> None:
    machine = Machine()
    skew = machine.skew()
    machine.ahead_ms += HOUR_MS
    skew.known()
    skew.note("broker", 0, 4_000)
    assert machine.told == {"broker": 0.0}
    others_ms = machine.wall_ms - HOUR_MS + 60_000
    assert skew.known().ahead_of(others_ms) == HOUR_MS, "it may have waited: it vouches for nothing"


def test_readings_of_other_clocks_before_a_step_count_no_more() -> None:
    machine = Machine()
    skew = machine.skew()
    skew.note("webhook", HOUR_MS, HOUR_MS + 1_000)
    machine.ahead_ms -= HOUR_MS
    assert skew.known().ahead_ms is None
    skew.note("ledger", 0, 5)
    assert skew.known().ahead_ms == 0


@pytest.mark.parametrize(
    ("at_ms", "asked_ms", "remaining"),
    [(1_500, 1_000, 500), (999, 1_000, 0), (3_601_000, 2_000, 2_000), (5_000, 4_000, 4_000)],
)
def test_a_wait_is_no_longer_than_was_asked_for(at_ms: int, asked_ms: int, remaining: int) -> None:
    assert remaining_ms(at_ms, 1_000, asked_ms) == remaining


# --- what this machine dated, by a clock that was set since -----------------------------------------------------------

STEP_MS = 10_000
FORTH = KnownSkew((Segment(0, NOW_MS), Segment(HOUR_MS, NOW_MS + STEP_MS + HOUR_MS)))
BACK = KnownSkew((Segment(0, NOW_MS), Segment(-HOUR_MS, NOW_MS + STEP_MS - HOUR_MS)))
BACK_AND_FORTH = KnownSkew((*BACK.segments, Segment(0, NOW_MS + 2 * STEP_MS)))


@pytest.mark.parametrize(
    ("known", "dated_ms", "now_ms", "passed_ms"),
    [
        (KnownSkew(), 1_000, 5_000, 4_000),
        (FORTH, NOW_MS + 5_000, NOW_MS + HOUR_MS + 15_000, 10_000),
        (FORTH, NOW_MS + HOUR_MS + 12_000, NOW_MS + HOUR_MS + 15_000, 3_000),
        (FORTH, NOW_MS + 12_000, NOW_MS + HOUR_MS + 15_000, 3_000),  # dated on as before, in an order that waited
        (BACK, NOW_MS + 5_000, NOW_MS - HOUR_MS + 15_000, 10_000),
        (BACK, NOW_MS + 12_000, NOW_MS - HOUR_MS + 15_000, 3_000),
        (BACK, NOW_MS - HOUR_MS + 12_000, NOW_MS - HOUR_MS + 15_000, 3_000),
        (BACK, NOW_MS - HOUR_MS + 5_000, NOW_MS - HOUR_MS + 15_000, HOUR_MS + 10_000),
        (BACK_AND_FORTH, NOW_MS + 5_000, NOW_MS + 25_000, 20_000),
        (BACK_AND_FORTH, NOW_MS - HOUR_MS + 15_000, NOW_MS + 25_000, 10_000),
        (BACK, NOW_MS + 2 * HOUR_MS, NOW_MS, -2 * HOUR_MS),  # nobody's: it can't have been dated here yet
    ],
)
def test_the_time_since_a_moment_does_not_depend_on_how_the_clock_was_set_since(
    known: KnownSkew, dated_ms: int, now_ms: int, passed_ms: int
) -> None:
    assert known.passed_ms(dated_ms, now_ms) == passed_ms


def test_an_order_dated_while_the_clock_was_back_is_no_older_once_it_is_right_again() -> None:
    """Before the clock was set back it had shown that time, too: an exit is believed to be the younger one."""
    known = KnownSkew(BACK_AND_FORTH.segments, 0)
    assert known.ahead_of(NOW_MS - HOUR_MS + 15_000) == HOUR_MS
    assert known.ahead_of(NOW_MS + 5_000) == 0
    assert known.ahead_of(NOW_MS + 2 * STEP_MS + 1) == 0


def test_a_clock_that_was_set_back_is_behind_what_it_was_for_a_day_or_until_it_is_set_right() -> None:
    assert BACK.behind_ms(NOW_MS) == HOUR_MS
    assert BACK.behind_ms(NOW_MS + STEP_MS - HOUR_MS + DAY_MS) == HOUR_MS
    assert BACK.behind_ms(NOW_MS + STEP_MS - HOUR_MS + DAY_MS + 1) == 0
    assert FORTH.behind_ms(NOW_MS + 2 * HOUR_MS) == BACK_AND_FORTH.behind_ms(NOW_MS + 2 * STEP_MS) == 0
    assert KnownSkew().behind_ms(NOW_MS) == 0
