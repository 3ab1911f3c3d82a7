"""`python -m tests.chaos.cluster`: see --help. Exits 1 where the law is broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from signalq.local import RELEASES, Installation, PrivateBrokerError, ensure_installed, ensure_version
from tests.chaos.arguments import one_or_more, zero_or_more
from tests.chaos.cluster import stillness
from tests.chaos.cluster.storm import CONNECTORS, CONSUMERS, DRAIN_TIMEOUT_S, Plan, Storm, storm
from tests.chaos.cluster.strikes import KINDS, Kind
from tests.support.accountant import Account

SYSTEMS_OWN = "3.10"
LINE_PERIOD_S = 10.0
BAR_PERIOD_S = 0.2
PLAIN_WIDTH = 120
NAMES: dict[str, str] = {
    "node": "the node that leads the lanes killed",
    "consumer": "an active consumer killed",
    "database": "the database's sessions ended",
    "drain": "an active consumer stopped (SIGTERM)",
    "calm": "nothing",
}
EXAMPLES = """\
examples:
  ./run chaos-cluster
  ./run chaos-cluster --version 4.3 --seed 4711
  ./run chaos-cluster --apart --strikes 6 --intents 8000
  ./run chaos-cluster --strikes 10 --intents 15000 --json

It starts a RabbitMQ cluster of three nodes, a PostgreSQL, a webhook and three consumers, all of them private, publishes
with the SDK by way of one address, and strikes at random moments. Exit status: 0 the law held, 1 it is broken or a
server failed, 2 wrong usage. Ctrl-C ends all that it started.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one storm; 0 where the law held, else 1."""
    options = _parser().parse_args(arguments)
    console = _console(to_stderr=options.json)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    try:
        installation = _installation(options.version, console)
        plan = Plan(options.intents, options.strikes, seed, installation, options.version, options.apart)
    except PrivateBrokerError as error:
        console.print(str(error), highlight=False, soft_wrap=True)
        return 1
    logging.disable()  # what the libraries say of broken connections, which are the point here
    console.print(
        f"{plan.intents:,} intents over {CONNECTORS} connectors, {CONSUMERS} consumers, RabbitMQ "
        f"{options.version or 'of this system'}; {plan.strikes} strikes of each kind; seed {seed}",
        highlight=False,
    )
    return _watched(plan, console, as_json=options.json)


def _watched(plan: Plan, console: Console, *, as_json: bool) -> int:
    """Run it, and keep the logs unless all was well."""
    folder = Path(tempfile.mkdtemp(prefix="signalq-chaos-"))
    began_s = time.monotonic()
    try:
        is_lawful = asyncio.run(_run(plan, folder, console, as_json=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print(f"seed {plan.seed}; interrupted, nothing is left running; logs: {folder}", soft_wrap=True)
        return 1
    except BaseException:
        console.print(f"seed {plan.seed}; it did not come to an account; logs: {folder}", soft_wrap=True)
        raise
    console.print(f"seed {plan.seed}, {time.monotonic() - began_s:.0f} s", highlight=False)
    if is_lawful:
        shutil.rmtree(folder)
        console.print("the law held")
        return 0
    console.print(f"the law is broken; logs: {folder}", soft_wrap=True)
    return 1


def _installation(version: str | None, console: Console) -> Installation:
    def say(words: str) -> None:
        console.print(words, highlight=False, soft_wrap=True)

    return ensure_version(version, say) if version in RELEASES else ensure_installed(say)


def _console(*, to_stderr: bool) -> Console:
    console = Console(stderr=to_stderr)
    return console if console.is_terminal else Console(stderr=to_stderr, width=PLAIN_WIDTH)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./run chaos-cluster",
        description="Strikes at a RabbitMQ cluster, its consumers and their database under load, and draws an account.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--intents", type=one_or_more, default=5_000, help="default: %(default)s")
    parser.add_argument("--strikes", type=zero_or_more, default=3, help="so many of each kind; default: %(default)s")
    parser.add_argument(
        "--version",
        choices=(SYSTEMS_OWN, *RELEASES),
        help="of RabbitMQ, fetched where it is not there; default: this system's own (3.10, on Debian 12)",
    )
    parser.add_argument("--seed", type=int, help="the same again: intents, strikes, moods; default: a random one")
    parser.add_argument("--apart", action="store_true", help="one strike at a time, to see what each costs in time")
    parser.add_argument("--json", action="store_true", help="print one JSON object; all else goes to standard error")
    return parser


async def _run(plan: Plan, folder: Path, console: Console, *, as_json: bool) -> bool:
    here = asyncio.current_task()
    assert here is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)
    async with storm(plan, folder) as running:
        watching = asyncio.create_task(_watch(running, console), name="progress")
        try:
            account = await running.run()
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        is_lawful = _is_lawful(account, running)
        if as_json:
            sys.stdout.write(f"{json.dumps(_as_json(account, running, is_lawful=is_lawful))}\n")
        else:
            _show(account, running, console)
        return is_lawful


def _is_lawful(account: Account, running: Storm) -> bool:
    others = (running.without_an_ending, running.bad_drains, running.unforeseen)
    return account.is_lawful and not any(others) and _cut_off(account) <= running.doubts_max


def _cut_off(account: Account) -> int:
    return account.in_doubt["cut off while sending"]


def _show(account: Account, running: Storm, console: Console) -> None:
    table = Table(title="the account", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    rows = account.rows()
    rows += [
        (
            "ledger: CONFIRMED WITHOUT AN ENDING",
            len(running.without_an_ending),
            " ".join(running.without_an_ending[:8]),
        ),
        ("DRAINS THAT WERE TOO SLOW OR FAILED", len(running.bad_drains), "; ".join(running.bad_drains[:3])),
        ("UNFORESEEN", len(running.unforeseen), "; ".join(running.unforeseen[:3])),
        ("IN DOUBT BEYOND WHAT WAS ON THE WIRE", max(0, _cut_off(account) - running.doubts_max), ""),
    ]
    for name, count, note in rows:
        table.add_row(name, f"{count:,}", note, style="bold red" if name.isupper() and count else None)
    table.add_section()
    table.add_row("  cut off while sending, at most", f"{running.doubts_max:,}", "a connector's one at each kill")
    table.add_row("POSTs that the webhook left open", f"{running.play.accountant.unknown_answers:,}", "")
    drains = [f"{strike.took_s:.1f}" for strike in running.struck if strike.kind == "drain"]
    table.add_row("SIGTERM to exit, s", f"{DRAIN_TIMEOUT_S:g}", f"at most; {', '.join(drains)}")
    for name, waited_s in (
        ("from publish to POST, s", running.waited_s(delayed=False)),
        ("from due time to POST, s", running.waited_s(delayed=True)),
    ):
        table.add_row(name, f"{waited_s[-1]:.1f}", f"at most; p50 {waited_s[len(waited_s) // 2]:.3f}")
    console.print(table)
    console.print(_stillness(running))


def _stillness(running: Storm) -> Table:
    table = Table(title="s without a POST")
    for name in ("after", "times", "all, p50", "max", "slowest connector, p50", "max"):
        table.add_column(name, justify="left" if name == "after" else "right")
    for row in stillness.table(running.play.accountant.posts, running.struck):
        times = (row.all_p50_s, row.all_max_s, row.slowest_p50_s, row.slowest_max_s)
        table.add_row(NAMES[row.kind], str(row.count), *(f"{seconds:.2f}" for seconds in times))
    return table


def _as_json(account: Account, running: Storm, *, is_lawful: bool) -> dict[str, object]:
    return {
        "lawful": is_lawful,
        "seed": running.plan.seed,
        # Not by asdict: it makes a Counter of pairs out of a Counter.
        "account": {each.name: getattr(account, each.name) for each in fields(account)},
        "ledger": dict(running.ledger_statuses),
        "without_an_ending": running.without_an_ending,
        "unforeseen": running.unforeseen,
        "bad_drains": running.bad_drains,
        "publish_to_post_s_max": running.waited_s(delayed=False)[-1],
        "due_to_post_s_max": running.waited_s(delayed=True)[-1],
        "doubts_max": running.doubts_max,
        "drain_timeout_s": DRAIN_TIMEOUT_S,
        "strikes": [asdict(strike) for strike in running.struck],
        "without_a_post": [asdict(row) for row in stillness.table(running.play.accountant.posts, running.struck)],
    }


async def _watch(running: Storm, console: Console) -> None:
    if console.is_terminal:
        await _bars(running, console)
    while True:
        await asyncio.sleep(LINE_PERIOD_S)
        struck = ", ".join(f"{kind} {running.count(kind)}" for kind in KINDS)
        console.print(f"published {running.published:,}, POSTs {running.posted:,}; struck: {struck}", highlight=False)


async def _bars(running: Storm, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        published = progress.add_task("published", total=running.plan.intents)
        posted = progress.add_task("POSTs", total=running.plan.intents)
        bars: dict[Kind, TaskID] = {kind: progress.add_task(NAMES[kind], total=running.plan.strikes) for kind in KINDS}
        while True:
            progress.update(published, completed=running.published)
            progress.update(posted, completed=running.posted)
            for kind, bar in bars.items():
                progress.update(bar, completed=running.count(kind))
            await asyncio.sleep(BAR_PERIOD_S)


if __name__ == "__main__":
    sys.exit(main())
