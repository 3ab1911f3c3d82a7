"""Candles from a CSV file, and the closed ones among them. Put your own feed in the place of `read_candles`."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path

from signalq.producers.strategies.command_line import WrongInput

# Synthetic: see make_candles.
BUNDLED = Path(__file__).with_name("candles.csv")


@dataclass(frozen=True, slots=True)
class Candle:
    """The time at which a candle opened, in UTC, and the price at which it closed."""

    opened_at: datetime
    close: Decimal


def read_candles(file: Path) -> list[Candle]:
    """The candles of a file with the columns `time` (of opening, ISO 8601 with its zone) and `close`.

    Further columns may be there. Raises WrongInput, naming the line, if one can't be read or is out of order.
    """
    candles: list[Candle] = []
    with file.open(encoding="utf-8-sig", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            try:
                candle = _candle(row)
            except (KeyError, TypeError, ValueError, InvalidOperation):
                raise WrongInput(
                    f"{file}, line {number}: needs a time with its zone (2025-01-01T00:00:00Z) and a close above 0"
                ) from None
            if candles and candle.opened_at <= candles[-1].opened_at:
                raise WrongInput(f"{file}, line {number}: each time must be later than the one before")
            candles.append(candle)
    if len(candles) < 2:
        raise WrongInput(f"{file} holds fewer than two candles")
    return candles


def closed(candles: Sequence[Candle], now: datetime) -> list[Candle]:
    """The candles that have closed by now: the last line of a feed is often the candle that is still open."""
    length = _length(candles)
    return [candle for candle in candles if candle.opened_at + length <= now]


def newest(candles: Sequence[Candle], count: int, now: datetime) -> set[datetime]:
    """The opening times of the last `count` candles that have closed.

    Raises WrongInput if a newer one has closed meanwhile: a feed that stands still must not be traded on.
    """
    last = closed(candles, now)[-count:]
    if not last or last[-1].opened_at + 2 * _length(candles) <= now:
        raise WrongInput("the candle that closed last is missing: bring the file up to date, then run this again")
    return {candle.opened_at for candle in last}


def _length(candles: Sequence[Candle]) -> timedelta:
    """The length of a candle: the shortest step, for a feed may have gaps."""
    return min(later.opened_at - earlier.opened_at for earlier, later in pairwise(candles))


def _candle(row: dict[str, str]) -> Candle:
    opened_at, close = datetime.fromisoformat(row["time"]), Decimal(row["close"])
    if opened_at.tzinfo is None or not close.is_finite() or close <= 0:
        raise ValueError
    return Candle(opened_at.astimezone(UTC), close)
