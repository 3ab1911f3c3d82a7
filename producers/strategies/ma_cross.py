"""A moving-average cross: candles in, orders out.

When the fast average of the closes crosses above the slow one, the short side is closed and the long one
opened; when it crosses below, the other way round. --last is for cron: it acts on the candle that closed
last. --replay goes through the whole file at once: it orders today what the past would have ordered, so
give it a sandbox.

It keeps no state. An order's identity names its signal, so running it again orders nothing twice, for as
long as the consumer's ledger remembers (ledger.retention_days).
"""

import argparse
import asyncio
import csv
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Literal

from signalq import OrderIntent, OrderPublisher
from signalq.producers.strategies.command_line import BrokerAddress, WrongInput, broker, parser, run, token

EXAMPLES = """\
  python -m producers.strategies.ma_cross --replay --dry-run
  python -m producers.strategies.ma_cross --replay --connector main
  python -m producers.strategies.ma_cross --last 2 --candles btc-1h.csv --connector main --percent 25
  1 * * * *  cd /srv/bot && python -m producers.strategies.ma_cross --last 2 --candles btc-1h.csv"""

# Synthetic: a walk of prices that are of no market.
BUNDLED = Path(__file__).with_name("candles.csv")

Side = Literal["long", "short"]
# The actions that close the old side and open the new one. The close is always sent: without a memory of its own this
# program can't know whether a side is open, and a short that stays open beside a long would be worse.
ACTIONS: dict[Side, tuple[Literal["closeShort", "closeLong"], Literal["openLong", "openShort"]]] = {
    "long": ("closeShort", "openLong"),
    "short": ("closeLong", "openShort"),
}


# ---- candles: put your own feed in the place of `read_candles` ----


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


# ---- decisions: no clock, no file, no broker ----


@dataclass(frozen=True, slots=True)
class Cross:
    """A change of sides: the side to take when the candle that opened at `candle_at` closes."""

    candle_at: datetime
    side: Side


def crosses(candles: Sequence[Candle], *, fast: int, slow: int) -> list[Cross]:
    """The crosses: the mean of the last `fast` closes goes from one side of the mean of the last `slow` to the other.

    Touching is not crossing, so sides alternate. No cross depends on a later candle.
    """
    totals = list(accumulate((candle.close for candle in candles), initial=Decimal(0)))
    found: list[Cross] = []
    before: Side | None = None
    for end in range(slow, len(totals)):
        # Means compared without a division: nothing is rounded.
        lead = (totals[end] - totals[end - fast]) * slow - (totals[end] - totals[end - slow]) * fast
        side: Side | None = "long" if lead > 0 else "short" if lead < 0 else before
        if before is not None and side is not None and side != before:
            found.append(Cross(candles[end - 1].opened_at, side))
        before = side
    return found


def orders_of(
    found: Iterable[Cross], *, strategy: str, connector: str, percent: str, token: str | None = None
) -> Iterator[tuple[str, OrderIntent]]:
    """The orders, each with its identity. The same cross gives the same identity and the same bytes: neither holds a
    price or a time of today. Other bytes under an identity that is known would be dead, `invalid`.
    """
    for cross in found:
        at = f"{cross.candle_at:%Y-%m-%dT%H:%M:%SZ}"
        for action, size in zip(ACTIONS[cross.side], ("100", percent), strict=True):
            intent = OrderIntent(
                connector_name=connector, connector_token=token, action=action, percent=size, log=f"{strategy} {at}"
            )
            yield f"{strategy}/{connector}/{at}/{action}", intent


# ---- effects ----


async def publish(orders: Collection[tuple[str, OrderIntent]], to: BrokerAddress, *, strategy: str) -> None:
    """Publish in this order, each confirmed before the next. After any error, running the program again is safe."""
    async with OrderPublisher(to.url, strategy=strategy, prefix=to.prefix, outcomes=False) as publisher:
        for message_id, intent in orders:
            await publisher.publish(intent, message_id=message_id)
            print("published", message_id)


def main(arguments: Sequence[str]) -> int:
    """The command: read, decide, publish."""
    given = read_flags(arguments)
    if not 0 < given.fast < given.slow or (given.last is not None and given.last < 1):
        raise WrongInput("--fast must be at least 1 and below --slow, and N of --last at least 1")
    now = datetime.now(UTC)
    candles = read_candles(given.candles)
    found = crosses(closed(candles, now), fast=given.fast, slow=given.slow)
    if not given.replay:
        recent = newest(candles, given.last, now)
        found = [cross for cross in found if cross.candle_at in recent]
    orders = list(
        orders_of(found, strategy=given.strategy, connector=given.connector, percent=given.percent, token=token(given))
    )
    if given.dry_run:
        for message_id, _ in orders:
            print("would publish", message_id)
    elif orders:
        asyncio.run(publish(orders, broker(), strategy=given.strategy))
    print(f"{len(found)} crosses, {len(orders)} orders")
    return 0


def read_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; wrong usage ends the program."""
    flags = parser("ma_cross", __doc__ or "", examples=EXAMPLES, strategy="ma-cross")
    mode = flags.add_mutually_exclusive_group(required=True)
    mode.add_argument("--last", nargs="?", type=int, const=1, metavar="N", help="act on the candle that "
                      "closed last, or on the last N: that makes up for a run that was missed")  # fmt: skip
    mode.add_argument("--replay", action="store_true", help="act on every cross of the file, at once")
    flags.add_argument("--candles", type=Path, default=BUNDLED, metavar="FILE", help="CSV; default: synthetic ones")
    flags.add_argument("--connector", default="main", help="the connector to trade by (default: %(default)s)")
    flags.add_argument("--percent", default="50", help="how much to open with (default: %(default)s)")
    flags.add_argument("--fast", type=int, default=10, help="candles in the fast average (default: %(default)s)")
    flags.add_argument("--slow", type=int, default=30, help="candles in the slow average (default: %(default)s)")
    flags.add_argument("--dry-run", action="store_true", help="only say what would be published")
    return flags.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run(main))
