"""Statistics of orders: counts, and percentiles of the times, by connector and by hour."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.consumer.ledger.queries.measures import Measured
from signalq.ops.orders.stats import HOUR_MS, Stats, percentile
from signalq.ops.orders.stats_view import BAR_COLUMNS, bar, lasts, print_stats

AT_MS = 494_444 * HOUR_MS


def order(number: int, *, connector: str = "main", status: str = "delivered", **times: int | None) -> Measured:
    usual = {"age_from_ms": AT_MS, "due_ms": None, "replayed_ms": None, "first_post_ms": AT_MS + number}
    return Measured(number, connector, status, **{"updated_ms": AT_MS} | usual | times)  # type: ignore[arg-type]


def test_orders_are_counted_by_ending_and_their_times_by_percentile() -> None:
    stats = Stats()
    for number in range(1, 101):
        stats.add(order(number), [number * 10])
    stats.add(order(200, connector="other", status="dead", due_ms=AT_MS + 50), [5, 7])
    stats.add(order(300, status="scheduled", first_post_ms=None, updated_ms=AT_MS + HOUR_MS), [])
    stats.add(order(400, status="canceled", first_post_ms=None), [])
    stats.add(order(500, replayed_ms=AT_MS), [1])
    total, main, other, first_hour, second_hour = stats.rows()
    counts = ("orders", "delivered", "dead", "canceled", "open")
    assert [total[name] for name in counts] == [104, 101, 1, 1, 1]
    assert [main["connector"], *(main[name] for name in counts)] == ["main", 103, 101, 0, 1, 1]
    assert [first_hour["by"], first_hour["orders"], second_hour["orders"]] == ["hour", 103, 1]
    assert str(first_hour["hour"]).endswith("00:00.000Z")
    assert (main["queued_p50_ms"], main["queued_p99_ms"]) == (50, 99), "what was replayed waited for a person"
    assert (main["post_p50_ms"], main["late_p50_ms"]) == (500, None)
    assert (other["queued_p50_ms"], other["late_p50_ms"], other["late_p99_ms"]) == (None, 150, 150)
    assert (other["post_p50_ms"], other["post_p99_ms"]) == (5, 7)


@given(st.lists(st.integers(0, 10**9), min_size=1))
def test_a_percentile_is_one_of_the_values_and_so_many_are_not_above_it(times: list[int]) -> None:
    for percent in (1, 50, 99, 100):
        found = percentile(times, percent)
        assert found in times
        assert sum(one <= found for one in times) * 100 >= percent * len(times)
    assert percentile([], 50) is None


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    assert order(1, first_post_ms=AT_MS - 5).queued_ms == 0
    assert order(1, due_ms=AT_MS, first_post_ms=AT_MS - 5).late_ms == 0


@given(st.floats(0, 1))
def test_a_bar_is_never_longer_than_its_room_and_never_nothing_for_something(part: float) -> None:
    assert len(bar(part)) <= BAR_COLUMNS
    assert bool(bar(part)) == bool(part)


@pytest.mark.parametrize(("ms", "told"), [(0, "0ms"), (999, "999ms"), (1_500, "1.5s"), (75_000, "75s"), (None, "-")])
def test_durations_are_short(ms: int | None, told: str) -> None:
    assert lasts(ms) == told


def test_in_a_pipe_there_is_a_line_a_connector_and_a_line_an_hour(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats()
    for number in range(4):
        stats.add(order(number, connector=f"c{number % 2}", updated_ms=AT_MS + number * HOUR_MS), [3])
    print_stats(stats, as_json=False)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if line][:4] == ["CONNECTOR", "c0", "c1", "(all)"]
    assert len(lines) == 4 + 1 + 1 + 4
    assert lines[-1].endswith("█" * BAR_COLUMNS)
    assert "creation to first POST" in err
