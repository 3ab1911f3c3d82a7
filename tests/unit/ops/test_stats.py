"""Statistics of orders: counts, and percentiles of the times, by connector and by hour."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

import signalq.ops.terminal.render
from signalq.consumer.ledger.queries.measures import Measured
from signalq.ops.orders import stats_view
from signalq.ops.orders.stats import HOUR_MS, Group, Stats, percentile
from signalq.ops.orders.stats_view import BAR_COLUMNS, HOURS_SHOWN_MAX, bar, lasts, print_stats

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
        found = percentile(Counter(times), percent)
        assert found in times
        assert sum(one <= found for one in times) * 100 >= percent * len(times)
        assert sum(one < found for one in times) * 100 < percent * len(times)
    assert percentile(Counter(), 50) is None


def test_the_room_for_a_million_orders_grows_with_their_times_and_not_with_their_number() -> None:
    group = Group()
    one = order(30)
    for number in range(20_000):
        group.add(one, [number % 100])
    assert (len(group.queued_ms), len(group.post_ms), group.post_ms.total()) == (1, 100, 20_000)
    assert (group.row()["queued_p50_ms"], group.row()["post_p50_ms"]) == (30, 49)


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


def test_a_year_of_hours_is_told_by_the_day_and_json_has_every_hour(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats()
    for number in range(24 * 365):
        stats.add(order(number % 7, updated_ms=AT_MS + number * HOUR_MS), [number % 5])
    print_stats(stats, as_json=False)
    blocks = capsys.readouterr().out.split("\n\n")
    head, *days = blocks[1].splitlines()
    assert head.split()[:2] == ["DAY", "ORDERS"]
    first = datetime.fromtimestamp(AT_MS / 1000, UTC).astimezone()
    assert days[0].split()[0] == f"{first:%Y-%m-%d}"
    assert 365 <= len(days) <= 366
    assert sum(int(day.split()[1]) for day in days) == 24 * 365
    assert {day.split()[1] for day in days[1:-1]} == {"24"}
    print_stats(stats, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["by"] for row in rows] == ["all", "connector", *["hour"] * 24 * 365]


def test_two_days_of_hours_are_told_by_the_hour(capsys: pytest.CaptureFixture[str]) -> None:
    stats = Stats()
    for number in range(HOURS_SHOWN_MAX):
        stats.add(order(1, updated_ms=AT_MS + number * HOUR_MS), [])
    print_stats(stats, as_json=False)
    head, *hours = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert (head.split()[0], len(hours)) == ("HOUR", HOURS_SHOWN_MAX)


def test_at_80_columns_each_hour_has_its_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Console(force_terminal=True, width=80, color_system=None, highlight=False, soft_wrap=True)
    monkeypatch.setattr(signalq.ops.terminal.render, "console", lambda **_how: terminal)
    monkeypatch.setattr(stats_view, "console", lambda: terminal)
    stats = Stats()
    for number in range(12_345):
        one = order(number, updated_ms=AT_MS + number % 5 * HOUR_MS, due_ms=AT_MS if number % 2 else None)
        stats.add(one, [number])
    print_stats(stats, as_json=False)
    hours = capsys.readouterr().out.split("\n\n")[1].splitlines()[1:6]
    assert all("█" * BAR_COLUMNS in hour and cell_len(hour) <= 80 for hour in hours)


def test_of_no_order_there_is_a_sentence_and_a_row_of_zeros(capsys: pytest.CaptureFixture[str]) -> None:
    print_stats(Stats(), as_json=False)
    assert capsys.readouterr() == ("", "the ledger knows no intent that fits\n")
    print_stats(Stats(), as_json=True)
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (row["by"], row["orders"], row["post_p99_ms"]) == ("all", 0, None)
