"""The spreads of durations, and whose turn it is to be asked about."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from signalq.ops.console.moment.depths import QUESTIONS_PER_S, URGENT_PER_S, Turns
from signalq.ops.console.moment.snapshot import Spread
from signalq.ops.console.moment.spreads import DURATIONS_MAX, WINDOW_MS, Durations

NOW_MS = 1_769_860_800_000
ANSWER_S = 0.002


def test_the_spread_of_nothing_is_not_known() -> None:
    assert Durations().spread(NOW_MS) == Spread(None, None, 0)


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    durations = Durations()
    for duration_ms in range(100, 0, -1):
        durations.add(NOW_MS, duration_ms)
    assert durations.spread(NOW_MS) == Spread(50, 99, 100)
    one = Durations()
    one.add(NOW_MS, -3)
    assert one.spread(NOW_MS) == Spread(0, 0, 1)


def test_old_durations_count_no_more_and_of_many_the_latest_count() -> None:
    durations = Durations()
    durations.add(NOW_MS - WINDOW_MS, 9_000)
    durations.add(NOW_MS - WINDOW_MS + 1, 7)
    assert durations.spread(NOW_MS) == Spread(7, 7, 1)
    for _ in range(DURATIONS_MAX):
        durations.add(NOW_MS, 5)
    assert durations.spread(NOW_MS) == Spread(5, 5, DURATIONS_MAX)


# ---- turns ----


def asked(turns: Turns, urgent: list[str], others: list[str], seconds: list[float]) -> list[tuple[float, str]]:
    """The questions of looks that begin at these times, or when the look before has ended; each takes 2 ms."""
    found: list[tuple[float, str]] = []
    now_s = 0.0
    for begin_s in seconds:
        now_s = max(now_s, begin_s)
        for queue in turns.next(urgent, others, now_s):
            now_s += turns.pause_s(now_s)
            turns.note(queue, now_s)
            found.append((now_s, queue))
            now_s += ANSWER_S
    return found


def names(count: int, kind: str = "lane") -> list[str]:
    return [f"{kind}-{number:04}" for number in range(count)]


def test_a_few_queues_are_all_asked_about_by_every_other_look() -> None:
    questions = asked(Turns(), names(3), names(20, "other"), [1.0, 2.0, 3.0])
    assert [int(now_s) for now_s, _queue in questions] == [1] * 23 + [3] * 23


def test_of_1900_lanes_those_that_people_look_at_go_first_and_all_others_take_turns() -> None:
    urgent, others = names(100, "urgent"), names(1_800)
    questions = asked(Turns(), urgent, [*others, *urgent], [float(second) for second in range(90)])
    times: dict[str, list[float]] = {queue: [] for queue in [*urgent, *others]}
    for now_s, queue in questions:
        times[queue].append(now_s)
    assert all(max(b - a for a, b in pairwise(its)) < 4.5 for its in map(times.get, urgent) if its)
    assert all(times.values()), "each of the others was asked about within 90 s"
    assert max(map(len, map(times.get, others))) == 1, "none twice before all had their turn"


def test_without_others_the_urgent_ones_may_ask_for_all() -> None:
    assert len(Turns().next(names(70), [], 1.0)) == QUESTIONS_PER_S
    assert len(Turns().next(names(70), names(70, "other"), 1.0)) == QUESTIONS_PER_S
    first = Turns().next(names(70), names(70, "other"), 1.0)
    assert sum(queue.startswith("lane") for queue in first) == URGENT_PER_S


def test_a_queue_that_somebody_has_just_changed_is_asked_about_at_once() -> None:
    turns = Turns()
    asked(turns, names(2), [], [1.0])
    assert turns.next(names(2), [], 1.5) == []
    turns.forget("lane-0001")
    assert turns.next(names(2), [], 1.5) == ["lane-0001"]
    assert turns.next(names(2), [], 3.0) == ["lane-0001", "lane-0000"]
    assert Turns().next(["b", "a"], ["d", "c"], 1.0) == ["b", "a", "d", "c"]


@given(st.lists(st.floats(0.0, 1.5), min_size=1, max_size=40), st.integers(0, 120), st.integers(0, 300))
def test_no_second_has_more_questions_than_are_allowed(pauses: list[float], urgent: int, others: int) -> None:
    now_s, seconds = 0.0, []
    for pause_s in pauses:
        now_s += pause_s
        seconds.append(now_s)
    questions = [now_s for now_s, _queue in asked(Turns(), names(urgent), names(others, "other"), seconds)]
    for at, began_s in enumerate(questions):
        within = [now_s for now_s in questions[at:] if now_s - began_s < 1.0 - 1e-6]
        assert len(within) <= QUESTIONS_PER_S
