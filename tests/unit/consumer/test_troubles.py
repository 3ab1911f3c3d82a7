"""A trouble that lasts is logged at once, then now and then, and never a line a second for ever."""

from __future__ import annotations

from itertools import pairwise

from signalq.consumer.broker.troubles import GAP_MAX_S, TROUBLES_MAX, Troubles


def logged(troubles: Troubles, trouble: str, until_s: float, *, every_s: float = 0.5) -> list[float]:
    """The times at which a trouble that comes every half second is logged."""
    times = [number * every_s for number in range(int(until_s / every_s))]
    return [now_s for now_s in times if troubles.is_due(trouble, now_s)]


def test_a_lasting_trouble_is_logged_ever_more_rarely_and_then_once_a_minute() -> None:
    times = logged(Troubles(), "it is away", 600)
    assert times[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert [later - earlier for earlier, later in pairwise(times[6:])] == [GAP_MAX_S] * 8


def test_another_trouble_is_logged_at_once_and_one_that_was_over_too() -> None:
    troubles = Troubles()
    logged(troubles, "it is away", 100)
    assert troubles.is_due("its password is wrong", 100)
    assert not troubles.is_due("it is away", 100)
    troubles.are_over()
    assert troubles.is_due("it is away", 100.1)


def test_a_trouble_that_was_away_for_long_begins_anew() -> None:
    troubles = Troubles()
    logged(troubles, "it is away", 100)
    assert [troubles.is_due("it is away", at_s) for at_s in (300, 300.5, 301)] == [True, False, True]


def test_many_troubles_are_all_logged_and_take_no_more_room() -> None:
    troubles = Troubles()
    assert all(troubles.is_due(f"trouble {number}", number) for number in range(10 * TROUBLES_MAX))
    assert len(troubles._next) <= TROUBLES_MAX
