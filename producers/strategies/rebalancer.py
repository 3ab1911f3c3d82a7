"""A scheduled rebalancer: brings a portfolio back to its target weights, once in each slot of time.

Slots begin every --every, --offset after 00:00 UTC (of Monday, if --every is longer than a day). A slot
that is not served within --late of its beginning is missed, and a line says so. With --once it serves the
present slot, however late, and ends: for cron, or by hand.

The plan of a slot is written to disk before its first order goes out. Stopped at any moment and started
again, it publishes the same plan: the same bytes under the same identities, which order nothing twice.

--targets is TOML, a table for each asset: [btc], then connector = "btc-spot" and percent = 60.
--weights is JSON, the percent of each asset now: {"btc": 55.5, "eth": 30}; what is left of 100 is cash.
"""

import argparse
import asyncio
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path

from signalq import OrderPublisher, SignalQError
from signalq.message.field_rules import connector_name
from signalq.producers.strategies.command_line import WrongInput, broker, parser, run, token
from signalq.producers.strategies.rebalancing import PlannedOrder, Target, intent_of, plan_orders, slot_at
from signalq.settings.private_files import replace_private

EXAMPLES = """\
  python -m producers.strategies.rebalancer --targets targets.toml --weights weights.json --plan plan.json --once
  python -m producers.strategies.rebalancer --targets targets.toml --weights weights.json --plan plan.json \\
      --every 4h --offset 5m --settle 30"""
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
# How often the clock is read. Many short sleeps, not a long one: clocks are set, and machines are suspended.
LOOK_EVERY_S = 5.0
# A plan that was left half published is not repeated after this time: the consumer's ledger may have forgotten the
# first half (ledger.retention_days, 7 unless set).
REPEAT_WITHIN = timedelta(days=1)


# ---- the input: put your own source in the place of these files ----


def current_weights(file: Path) -> dict[str, Decimal]:
    """The present weights: a JSON object of assets and their percent. An exchange knows better. Raises WrongInput."""
    try:
        weights = json.loads(file.read_text("utf-8"), parse_float=Decimal, parse_int=Decimal)
    except ValueError:
        raise WrongInput(f"{file} is no JSON") from None
    if not isinstance(weights, dict) or not all(isinstance(percent, Decimal) for percent in weights.values()):
        raise WrongInput(f'{file}: needs the percent of each asset, as in {{"btc": 55.5, "eth": 30}}')
    _check(list(weights.values()), file)
    return weights


def read_targets(file: Path) -> dict[str, Target]:
    """The target weights: a TOML table for each asset, with its `connector` and its `percent`. Raises WrongInput."""
    try:
        tables = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
        targets = {
            asset: Target(connector_name(table["connector"]), Decimal(table["percent"]))
            for asset, table in tables.items()
        }
    except tomllib.TOMLDecodeError as error:
        raise WrongInput(f"{file} is no TOML: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, InvalidOperation):
        raise WrongInput(f"{file}: each asset needs a table with a connector and a percent") from None
    if len({target.connector for target in targets.values()}) < len(targets):
        raise WrongInput(f"{file}: each asset needs a connector of its own")
    _check([target.percent for target in targets.values()], file)
    return targets


def _check(percents: list[Decimal], file: Path) -> None:
    is_share = all(percent.is_finite() and 0 <= percent <= 100 for percent in percents)
    if not is_share or sum(percents) > 100:
        raise WrongInput(f"{file}: weights are from 0 to 100 percent each, and at most 100 together")


# ---- the plan, on the disk: weights change with the first order that is filled, and a second look makes another ----


@dataclass(frozen=True, slots=True)
class SlotPlan:
    """The orders of a slot, and when they were planned (ISO 8601, UTC); `published`: all were confirmed. No token."""

    slot: str
    made_at: str
    orders: tuple[PlannedOrder, ...]
    published: bool = False


def read_plan(file: Path) -> SlotPlan | None:
    """The plan that was written last, None if there is none yet. Raises WrongInput."""
    try:
        kept = json.loads(file.read_text("utf-8"))
        return SlotPlan(**kept | {"orders": tuple(PlannedOrder(**order) for order in kept["orders"])})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise WrongInput(f"{file} holds no plan: name another file, or see what is in it and delete it") from None


def write_plan(file: Path, plan: SlotPlan) -> None:
    """Replace the plan, whole or not at all; it is on the disk when this returns."""
    replace_private(file, json.dumps(asdict(plan), indent=1))


# ---- effects ----


async def serve(slot: datetime, now: datetime, given: argparse.Namespace) -> None:
    """Publish all orders of the slot, unless that is done. After any error, it can be called again."""
    plan = read_plan(given.plan)
    if plan is None or plan.slot < _utc(slot):
        weights, targets = current_weights(given.weights), read_targets(given.targets)
        orders = plan_orders(weights, targets, drift_min=Decimal(str(given.drift)), settle_s=given.settle)
        plan = SlotPlan(_utc(slot), _utc(now), orders)
        write_plan(given.plan, plan)
    if plan.published:
        return
    if now - datetime.fromisoformat(plan.made_at) > REPEAT_WITHIN:
        raise WrongInput(f"{given.plan} was published in part long ago: see what was ordered, then delete it")
    to = broker()
    async with OrderPublisher(to.url, strategy=given.strategy, prefix=to.prefix, outcomes=False) as publisher:
        for order in plan.orders:
            message_id, intent = intent_of(order, slot=plan.slot, strategy=given.strategy, token=token(given))
            await publisher.publish(intent, message_id=message_id)
            _say(f"published {message_id}: {order.action} {order.percent} %, after {order.delay_s} s")
    write_plan(given.plan, replace(plan, published=True))
    _say(f"{plan.slot}: {len(plan.orders)} orders")


async def keep_serving(given: argparse.Namespace) -> None:
    """Serve one slot after the other. A failure is printed, and its slot tried again until it is too late."""
    missed_shown: datetime | None = None
    while True:
        now = datetime.now(UTC)
        slot = slot_at(now, every=given.every, offset=given.offset)
        try:
            plan = read_plan(given.plan)
            is_done = plan is not None and (plan.slot, plan.published) >= (_utc(slot), True)
            if not is_done and now - slot <= given.late:
                await serve(slot, now, given)
            elif not is_done and slot != missed_shown:
                _say(f"{_utc(slot)}: missed, --once would serve it now; the next is {_utc(slot + given.every)}")
                missed_shown = slot
        except (SignalQError, WrongInput, OSError) as error:
            print(error, file=sys.stderr, flush=True)
        await asyncio.sleep(LOOK_EVERY_S)


def main(arguments: Sequence[str]) -> int:
    """The command."""
    given = read_flags(arguments)
    if given.every <= timedelta(0) or not given.drift > 0 or given.settle < 0 or given.late > REPEAT_WITHIN:
        raise WrongInput("--every and --drift must be above 0, --settle not below 0, --late at most 1d")
    now = datetime.now(UTC)
    if given.once:
        asyncio.run(serve(slot_at(now, every=given.every, offset=given.offset), now, given))
    else:
        read_targets(given.targets)  # a mistake in it ends the program now, not at the first slot
        asyncio.run(keep_serving(given))
    return 0


def read_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; wrong usage ends the program."""
    flags = parser("rebalancer", __doc__ or "", examples=EXAMPLES, strategy="rebalancer")
    add_file = partial(flags.add_argument, required=True, type=Path, metavar="FILE")
    add_file("--targets", help="the target weights")
    add_file("--weights", help="the present weights")
    add_file("--plan", help="where to keep the plan")
    flags.add_argument("--once", action="store_true", help="serve the present slot and end")
    add_time = partial(flags.add_argument, type=duration, metavar="TIME")
    add_time("--every", default="1d", help="the length of a slot, as in 15m, 4h, 7d (default: %(default)s)")
    add_time("--offset", default="0s", help="when it begins after the full --every (default: %(default)s)")
    add_time("--late", default="15m", help="how late a slot may be served (default: %(default)s)")
    least = "leave assets alone that are off by less (default: 1)"
    flags.add_argument("--drift", default=1.0, type=float, metavar="POINTS", help=least)
    apart = "between the sells and the first buy, and between buys (default: 30)"
    flags.add_argument("--settle", default=30, type=int, metavar="SECONDS", help=apart)
    return flags.parse_args(arguments)


def duration(text: str) -> timedelta:
    """The length of 90s, 15m, 4h or 7d. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text, re.ASCII)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text} is no time such as 15m, 4h or 7d")
    return timedelta(**{UNITS[found[2]]: int(found[1])})


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
