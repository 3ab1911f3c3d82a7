"""Makes producers/strategies/candles.csv, the synthetic prices that ma_cross uses by default.

They are of no market: a walk of hourly candles whose drift turns every two or three days. The same seed gives the same
bytes on every machine: `python -m tests.support.make_candles >producers/strategies/candles.csv`.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TextIO

SEED = 7
COLUMNS = ("time", "open", "high", "low", "close", "volume")
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
CANDLES = 480
FIRST_CENTS = 6_000_000
TREND_CANDLES = (48, 72)
DRIFT_CENTS = 8_000
NOISE_CENTS = 25_000


def rows(seed: int = SEED, *, first: datetime = FIRST, candles: int = CANDLES) -> Iterator[tuple[str, ...]]:
    """The rows below the header. In whole cents: sums of floats could differ from machine to machine."""
    chance = Random(seed)
    close, drift, left = FIRST_CENTS, DRIFT_CENTS, 0
    for number in range(candles):
        if left == 0:
            drift, left = -drift, chance.randint(*TREND_CANDLES)
        left -= 1
        opened, close = close, max(close + drift + chance.randint(-NOISE_CENTS, NOISE_CENTS), 1)
        high = max(opened, close) + chance.randint(0, NOISE_CENTS // 2)
        low = max(min(opened, close) - chance.randint(0, NOISE_CENTS // 2), 1)
        at = (first + timedelta(hours=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        prices = (f"{cents // 100}.{cents % 100:02}" for cents in (opened, high, low, close))
        yield (at, *prices, str(chance.randint(10, 500)))


def write(file: TextIO) -> None:
    """Write the bundled file."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows())


if __name__ == "__main__":
    write(sys.stdout)
