"""`python -m tests.chaos`: see --help. Exits 1 where the law is broken."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.chaos.arguments import one_or_more, zero_or_more
from tests.chaos.storm import Plan, Storm, storm
from tests.support.accountant import Account

LINE_PERIOD_S = 10.0
BAR_PERIOD_S = 0.2
PLAIN_WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one storm; 0 where the law held, else 1."""
    plan = _plan(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=PLAIN_WIDTH)
    logging.disable()  # what the libraries say of broken connections, which are the point here
    console.print(
        f"{plan.intents:,} intents over {plan.connectors} connectors, consumers {plan.consumers}, "
        f"ledger {plan.ledger}; kills: consumer {plan.consumer_kills}, broker {plan.broker_kills}; seed {plan.seed}",
        highlight=False,
    )
    folder = Path(tempfile.mkdtemp(prefix="signalq-chaos-"))
    began_s = time.monotonic()
    try:
        is_lawful = asyncio.run(_run(plan, folder, console))
    except BaseException:
        console.print(f"seed {plan.seed}; it did not come to an account; logs and ledger: {folder}", soft_wrap=True)
        raise
    console.print(f"seed {plan.seed}, {time.monotonic() - began_s:.0f} s", highlight=False)
    if is_lawful:
        shutil.rmtree(folder)
        console.print("the law held")
        return 0
    console.print(f"the law is broken; logs and ledger: {folder}", soft_wrap=True)
    return 1


def _plan(arguments: Sequence[str] | None) -> Plan:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--intents", type=one_or_more, default=10_000, help="default: %(default)s")
    parser.add_argument("--consumer-kills", type=zero_or_more, default=20, help="default: %(default)s")
    parser.add_argument("--broker-kills", type=zero_or_more, default=5, help="default: %(default)s")
    parser.add_argument("--connectors", type=one_or_more, default=20, help="default: %(default)s")
    parser.add_argument(
        "--consumers",
        type=one_or_more,
        default=1,
        help="with more than one some are frozen, too; default: %(default)s",
    )
    parser.add_argument("--ledger", choices=("sqlite", "postgresql"), default="sqlite", help="default: %(default)s")
    parser.add_argument("--seed", type=int, help="the same again: intents, kills, moods; default: a random one")
    given = parser.parse_args(arguments)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    return Plan(
        given.intents,
        given.consumer_kills,
        given.broker_kills,
        given.connectors,
        seed,
        given.ledger,
        consumers=given.consumers,
    )


async def _run(plan: Plan, folder: Path, console: Console) -> bool:
    async with storm(plan, folder) as running:
        watching = asyncio.create_task(_watch(running, console), name="progress")
        try:
            account = await running.run()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        _show(account, running, console)
        return account.is_lawful and not running.unfinished and not running.without_a_row


def _show(account: Account, running: Storm, console: Console) -> None:
    table = Table(title="the account", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for name, count, note in account.rows():
        table.add_row(name, f"{count:,}", note, style="bold red" if name.isupper() and count else None)
    table.add_section()
    left_open = running.play.accountant.unknown_answers
    table.add_row("POSTs that the webhook left open", f"{left_open:,}", "")
    for status, count in sorted(running.ledger_statuses.items()):
        table.add_row(f"ledger: {status}", f"{count:,}", "")
    table.add_row("ledger: ROWS WITHOUT AN ENDING", f"{running.unfinished:,}", "")
    table.add_row(
        "ledger: INTENTS WITHOUT A ROW", f"{len(running.without_a_row):,}", " ".join(running.without_a_row[:8])
    )
    table.add_row("kills of the consumer", f"{running.consumer_kills:,}", "")
    if running.plan.consumers > 1:
        table.add_row("  of them only frozen, and woken", f"{running.freezes:,}", "")
        table.add_row("lanes handed over", f"{running.handovers:,}", "")
    table.add_row("kills of the broker", f"{running.broker_kills:,}", "")
    console.print(table)


async def _watch(running: Storm, console: Console) -> None:
    if console.is_terminal:
        await _bars(running, console)
    while True:
        await asyncio.sleep(LINE_PERIOD_S)
        console.print(
            f"published {running.published:,}, POSTs {running.posted:,}, kills: consumer {running.consumer_kills}, "
            f"broker {running.broker_kills}",
            highlight=False,
        )


async def _bars(running: Storm, console: Console) -> None:
    plan = running.plan
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=plan.intents)
        posted = progress.add_task("POSTs", total=plan.intents)
        consumers = progress.add_task("kills of the consumer", total=plan.consumer_kills)
        brokers = progress.add_task("kills of the broker", total=plan.broker_kills)
        while True:
            progress.update(published, completed=running.published)
            progress.update(posted, completed=running.posted)
            progress.update(consumers, completed=running.consumer_kills)
            progress.update(brokers, completed=running.broker_kills)
            await asyncio.sleep(BAR_PERIOD_S)


if __name__ == "__main__":
    sys.exit(main())
