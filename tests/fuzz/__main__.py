"""schemathesis against the gateway, for as long as you like.

    ./run fuzz-gateway                        2,000 examples an operation and mode, a new seed
    ./run fuzz-gateway --examples 20000 --seed 7

A gateway in a process of its own, with a private RabbitMQ behind it. Ends with status 1 where schemathesis finds
something, where an answer is a 5xx, or where the messages in the queue are not exactly the orders answered `ok`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ, ensure_installed
from signalq.names import Names
from tests.support.fuzzing import NOT_SAID, Account, fuzz
from tests.support.gateways import gateway

EXAMPLES = 2_000
SEED_MAX = 2**31

say = Console(soft_wrap=True, highlight=False, markup=False).print


def arguments() -> argparse.Namespace:
    """What was asked for."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="./run fuzz-gateway",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--examples", type=int, default=EXAMPLES, help=f"for each operation (default {EXAMPLES})")
    parser.add_argument("--seed", type=int, default=random.randrange(SEED_MAX), help="to see a run again")
    chosen = parser.parse_args()
    if chosen.examples < 1:
        parser.error("--examples must be at least 1")
    return chosen


async def run(examples: int, seed: int, folder: Path) -> Account:
    """One run, on servers of its own."""
    names = Names("fuzz")
    with PrivateRabbitMQ(ensure_installed(say)) as broker:
        async with await connect(broker.url, name="signalq fuzz") as connection:
            await Topology(names).declare(connection)
        async with gateway(broker.url, names.prefix, GATEWAY__CONNECTORS="any") as front:
            options = ("--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none")
            return await fuzz(front, broker.url, names.orders, folder, *options, *NOT_SAID)


def main() -> int:
    """Run it and print the account."""
    chosen = arguments()
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="signalq-fuzz-") as folder:
        account = asyncio.run(run(chosen.examples, chosen.seed, Path(folder)))
    answers = ", ".join(f"{count:,} x {status}" for status, count in sorted(account.answers.items()))
    say(f"seed {chosen.seed}, {time.monotonic() - began_s:.0f} s: {sum(account.answers.values()):,} answers: {answers}")
    say(f"{account.orders:,} orders, {account.messages:,} messages in the queue, {account.identities:,} identities")
    for fault in account.faults:
        say(f"fault: {fault}")
    return 1 if account.faults else 0


if __name__ == "__main__":
    sys.exit(main())
