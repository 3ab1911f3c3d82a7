"""The moving-average cross: candles become signals, signals become orders; and the candles that come with it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signalq.producers.strategies.command_line import WrongInput, run
from signalq.producers.strategies.ma_cross import (
    BUNDLED,
    Candle,
    Cross,
    closed,
    crosses,
    main,
    newest,
    orders_of,
    read_candles,
)
from tests.support import make_candles

HOUR = timedelta(hours=1)
MIDNIGHT = datetime(2025, 1, 1, tzinfo=UTC)
PRICES = st.lists(st.decimals("0.01", "200", places=2), min_size=2, max_size=60)


def candles_of(*closes: str | int | Decimal) -> list[Candle]:
    return [Candle(MIDNIGHT + number * HOUR, Decimal(close)) for number, close in enumerate(closes)]


@pytest.mark.parametrize(
    ("closes", "expected"),
    [
        ((3, 3, 3, 3, 3), []),
        ((5, 4, 3, 2, 1), []),
        ((5, 4, 3, 9, 9), [(3, "long")]),
        ((1, 2, 3, 1, 1), [(4, "short")]),
        ((5, 4, 3, 9, 9, 1, 1), [(3, "long"), (5, "short")]),
        # The averages touch, and part again on the side that they came from: nothing was crossed.
        ((1, 2, 3, 1, 9), []),
    ],
)
def test_a_cross_is_where_the_fast_average_comes_to_the_other_side(
    closes: tuple[int, ...], expected: list[tuple[int, str]]
) -> None:
    found = crosses(candles_of(*closes), fast=2, slow=3)
    assert [((cross.candle_at - MIDNIGHT) // HOUR, cross.side) for cross in found] == expected


@given(PRICES, st.integers(1, 4), st.integers(1, 6))
def test_sides_alternate_and_no_cross_looks_into_the_future(prices: list[Decimal], fast: int, more: int) -> None:
    candles = candles_of(*prices)
    found = crosses(candles, fast=fast, slow=fast + more)
    assert all(earlier.side != later.side for earlier, later in pairwise(found))
    for seen in range(len(candles)):
        known = {candle.opened_at for candle in candles[:seen]}
        so_far = crosses(candles[:seen], fast=fast, slow=fast + more)
        assert so_far == [cross for cross in found if cross.candle_at in known]


@given(PRICES, st.integers(1, 4), st.integers(1, 6))
def test_after_each_cross_the_averages_stand_as_it_says(prices: list[Decimal], fast: int, more: int) -> None:
    slow, exact = fast + more, [Fraction(price) for price in prices]
    for cross in crosses(candles_of(*prices), fast=fast, slow=slow):
        end = (cross.candle_at - MIDNIGHT) // HOUR + 1
        lead = mean(exact[end - fast : end]) - mean(exact[end - slow : end])
        assert lead > 0 if cross.side == "long" else lead < 0


def test_a_cross_closes_the_old_side_and_then_opens_the_new_one() -> None:
    found = [Cross(MIDNIGHT, "long"), Cross(MIDNIGHT + HOUR, "short")]
    orders = list(orders_of(found, strategy="ma-cross", connector="main", percent="25"))
    assert [(message_id, intent.action, intent.percent) for message_id, intent in orders] == [
        ("ma-cross/main/2025-01-01T00:00:00Z/closeShort", "closeShort", "100"),
        ("ma-cross/main/2025-01-01T00:00:00Z/openLong", "openLong", "25"),
        ("ma-cross/main/2025-01-01T01:00:00Z/closeLong", "closeLong", "100"),
        ("ma-cross/main/2025-01-01T01:00:00Z/openShort", "openShort", "25"),
    ]


def test_the_same_candles_give_the_same_identities_and_the_same_bytes() -> None:
    def published() -> list[tuple[str, bytes]]:
        found = crosses(read_candles(BUNDLED), fast=10, slow=30)
        orders = orders_of(found, strategy="ma-cross", connector="main", percent="25")
        return [(message_id, intent.to_message()) for message_id, intent in orders]

    assert published() == published()
    assert len({message_id for message_id, _ in published()}) == len(published()) > 4


def test_a_candle_that_is_still_open_is_not_looked_at() -> None:
    candles = candles_of(1, 2, 3)
    assert closed(candles, MIDNIGHT + 2.5 * HOUR) == candles[:2]
    assert newest(candles, 1, MIDNIGHT + 2.5 * HOUR) == {MIDNIGHT + HOUR}
    assert newest(candles, 2, MIDNIGHT + 3 * HOUR) == {MIDNIGHT + HOUR, MIDNIGHT + 2 * HOUR}


@pytest.mark.parametrize("hours", [0.5, 4, 400], ids=["none has closed", "the last is missing", "stands still"])
def test_a_file_without_the_candle_that_closed_last_is_not_traded_on(hours: float) -> None:
    with pytest.raises(WrongInput, match="bring the file up to date"):
        newest(candles_of(1, 2, 3), 1, MIDNIGHT + hours * HOUR)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("time,open\n2025-01-01T00:00:00Z,1\n", "line 2: needs a time with its zone"),
        ("time,close\n2025-01-01T00:00:00,1\n", "line 2: needs a time with its zone"),
        ("time,close\n2025-01-01T00:00:00Z,NaN\n", "line 2: needs a time with its zone"),
        ("time,close\n2025-01-01T00:00:00Z,0\n", "line 2: needs a time with its zone"),
        ("time,close\n2025-01-01T00:00:00Z\n", "line 2: needs a time with its zone"),
        ("time,close\n2025-01-01T01:00:00Z,1\n2025-01-01T01:00:00Z,1\n", "line 3: each time must be later"),
        ("time,close\n2025-01-01T01:00:00Z,1\n", "fewer than two candles"),
        ("", "fewer than two candles"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_with_the_line(text: str, wrong: str, tmp_path: Path) -> None:
    file = tmp_path / "candles.csv"
    file.write_text(text, "utf-8")
    with pytest.raises(WrongInput, match=wrong):
        read_candles(file)


def test_the_bundled_candles_come_from_the_documented_seed() -> None:
    made = io.StringIO()
    make_candles.write(made)
    assert BUNDLED.read_text("utf-8") == made.getvalue()


def test_the_bundled_candles_hold_candles_within_their_highs_and_lows() -> None:
    for row in make_candles.rows():
        opened, high, low, close = map(Decimal, row[1:5])
        assert 0 < low <= min(opened, close) <= max(opened, close) <= high


@pytest.mark.parametrize(
    ("flags", "status", "wrong"),
    [
        (["--last"], 2, "bring the file up to date"),
        (["--replay", "--fast", "30"], 2, "--fast must be at least 1 and below --slow"),
        (["--last", "0"], 2, "--fast must be at least 1 and below --slow"),
        (["--replay", "--percent", "500"], 2, "percent: must be at most 100"),
        (["--replay", "--token-env", "NO_SUCH_TOKEN"], 2, "NO_SUCH_TOKEN, which is not set or empty"),
        (["--replay", "--candles", "/nowhere.csv"], 1, "/nowhere.csv: No such file or directory"),
    ],
)
def test_a_mistake_is_one_sentence_and_orders_nothing(
    flags: list[str], status: int, wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(main, flags) == status
    out, err = capsys.readouterr()
    assert wrong in err
    assert len(err.splitlines()) == 1
    assert out == ""


def test_a_dry_run_names_the_orders_that_would_be_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(main, ["--replay", "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("would publish ma-cross/main/2025-01-") for line in lines[:-1])
    assert lines[-1].endswith(f"{len(lines) - 1} orders")
