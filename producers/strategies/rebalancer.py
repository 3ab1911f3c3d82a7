"""A scheduled rebalancer: brings a portfolio back to its target weights, once in each slot of time.

Slots begin every --every, --offset after 00:00 UTC (of Monday, if --every is longer than a day). A slot
that is not served within --late of its beginning is missed, and a line says so. With --once it serves the
present slot, however late, and ends: for cron, or by hand.

The plan of a slot is written to disk before its first order goes out. Stopped at any moment and started
again, it publishes the same plan: the same bytes under the same identities, which order nothing twice.

--targets is TOML, a table for each asset: [btc], then connector = "btc-spot" and percent = 60.
--weights is JSON, the percent of each asset now: {"btc": 55.5, "eth": 30}; what is left of 100 is cash.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from signalq import OrderPublisher, SignalQError
from signalq.producers.strategies.command_line import WrongInput, broker, parser, run, token
from signalq.producers.strategies.plan_file import SlotPlan, read_plan, write_plan
from signalq.producers.strategies.portfolio import current_weights, read_targets
from signalq.producers.strategies.rebalancing import intent_of, plan_orders, slot_at

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
    """Serve one slot after the other. After a failure it prints it, and tries the slot again until it is too late."""
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
    for name, says in (
        ("targets", "the target weights"),
        ("weights", "the present weights"),
        ("plan", "where to keep the plan"),
    ):
        flags.add_argument(f"--{name}", required=True, type=Path, metavar="FILE", help=says)
    flags.add_argument("--once", action="store_true", help="serve the present slot and end")
    for name, default, says in (
        ("every", "1d", "the length of a slot, as in 15m, 4h, 7d"),
        ("offset", "0s", "when it begins after the full --every"),
        ("late", "15m", "how late a slot may be served"),
    ):
        flags.add_argument(
            f"--{name}", default=default, type=duration, metavar="TIME", help=f"{says} (default: {default})"
        )
    flags.add_argument(
        "--drift",
        default=1.0,
        type=float,
        metavar="POINTS",
        help="leave assets alone that are off by less (default: 1)",
    )
    flags.add_argument(
        "--settle",
        default=30,
        type=int,
        metavar="SECONDS",
        help="between the sells and the first buy, and between buys (default: 30)",
    )
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
