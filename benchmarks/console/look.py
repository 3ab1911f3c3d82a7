"""What one look of the console's watch takes: over a large ledger, with very many lanes.

    python -m benchmarks.console.look                                        700,000 orders, 10,000 letters, 1,900 lanes
    python -m benchmarks.console.look --orders 100000 --lanes 20             another size
    python -m benchmarks.console.look --postgres                             on PostgreSQL

Nobody is at the broker's address. `first` counts the past; the others are the looks of each second, of which each
fifth also looks at the rest, and each fifteenth counts all recent endings. CPU is this process's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from sqlalchemy import Connection, insert

from benchmarks.console import past
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms, database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.tables import lanes, replicas
from signalq.local import PrivatePostgres
from signalq.names import Names
from signalq.ops.console.moment.watch import Watch
from signalq.settings.sections import OWN_LANES_MAX, Settings

NOBODY = "amqp://guest:guest@127.0.0.1:1/"
OWNER, CONSUMERS = "owner", 2
LOOKS = 40
# A hundredth of the lanes have messages.
BUSY_EVERY = 100


async def measure(url: str, orders: int, letters: int, lanes_count: int) -> dict[str, object]:
    """Make the ledger, look at it, and return the times in ms."""
    names = [f"connector-{number}" for number in range(lanes_count)]
    async with Ledger(database_at(url, create=True), retention_days=7, observe_commit_s=lambda _seconds: None):
        pass  # its tables are made
    await past.write(url, past.Past(orders, letters, names, past.now_ms()))
    settings = Settings.model_validate(
        {"ledger": {"url": url}, "broker": {"url": NOBODY}, "connectors": {name: {} for name in names}}
    )
    async with LedgerClient(url) as ledger:
        await ledger.transact(lambda connection: _begin(connection, Names(), names))
        watch = Watch(lambda: settings)
        try:
            first_ms = await _took_ms(watch)
            cpu_s, looks = time.process_time(), []
            for _ in range(LOOKS):
                await ledger.transact(_live)
                looks.append(await _took_ms(watch))
                watch._ledger._rest_s -= 1.0  # as if the second between two looks had gone by
                watch._ledger._wide_s -= 1.0
            cpu_ms = (time.process_time() - cpu_s) * 1000 / LOOKS
            return {
                "first_ms": round(first_ms, 1),
                "median_ms": round(sorted(looks)[LOOKS // 2], 1),
                "max_ms": round(max(looks), 1),
                "cpu_ms": round(cpu_ms, 1),
                "delivered": sum(watch.latest.total.delivered),
                "letters": watch.latest.letters.count,
                "lanes": len(watch.latest.lanes),
            }
        finally:
            await watch.close()


async def _took_ms(watch: Watch) -> float:
    """One look, and putting the moment together."""
    began_s = time.perf_counter()
    await watch._ledger.look()
    urgent, _others = watch._queues()
    watch._tell_of(watch._composer.compose(watch.latest.number + 1, frozenset(urgent)))
    return (time.perf_counter() - began_s) * 1000


def _begin(connection: Connection, names: Names, connectors: list[str]) -> None:
    """Let there be CONSUMERS that have all lanes."""
    now_ms = clock_ms(connection)
    rows = [{"lane": names.lane(name), "epoch": 1, "owner": f"{OWNER}-0", "alive_ms": now_ms} for name in connectors]
    connection.execute(insert(lanes), rows)
    busy = {names.lane(name): (3, 1, now_ms, None) for name in connectors[::BUSY_EVERY]}
    for number in range(CONSUMERS):
        row = {"owner": f"{OWNER}-{number}", "name": f"host:{number}", "started_ms": now_ms, "alive_ms": now_ms}
        row |= {"switch_seen": 0, "unacked": "{}", "lanes": json.dumps(busy)}
        connection.execute(insert(replicas), [row])


def _live(connection: Connection) -> None:
    """Let them give a sign of life."""
    connection.execute(replicas.update().values(alive_ms=clock_ms(connection)))


def main() -> None:
    """Measure, and print one JSON object."""
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.console.look",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--orders", type=int, default=700_000)
    parser.add_argument("--letters", type=int, default=10_000)
    parser.add_argument("--lanes", type=int, default=OWN_LANES_MAX)
    parser.add_argument("--postgres", action="store_true")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        if chosen.postgres:
            url = stack.enter_context(PrivatePostgres()).url
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="signalq-look-"))
            url = f"sqlite+aiosqlite:///{Path(folder) / 'ledger.db'}"
        found = asyncio.run(measure(url, chosen.orders, chosen.letters, chosen.lanes))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
