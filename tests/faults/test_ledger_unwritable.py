"""A ledger that can't be written: no POST begins, the consumer says so, and goes on by itself when it can again."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from signalq.local import PrivatePostgres
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.consumer import Consumer, ledger_file
from tests.support.intents import make_intents
from tests.support.postgres import END_OTHER_SESSIONS, execute, fresh_database
from tests.support.scene import Scene, scene
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import elapsed, wait_until

CONNECTORS = 8
INTENTS = 200
# Room for the ledger of a test and its write-ahead log, which grows to 4 MB before it is written back.
SMALL_DISK_BYTES = 32 * 1024 * 1024


async def test_while_another_process_locks_the_ledger_no_post_begins(broker: Broker, names: Names) -> None:
    """As a backup tool or a forgotten shell would."""
    async with scene(broker.url, names, seed=41) as play:
        consumer = await play.consumer()
        play.publish(make_intents(play.rng, INTENTS, connectors=CONNECTORS))
        await play.posted(30)
        with closing(sqlite3.connect(ledger_file(names.prefix), isolation_level=None)) as other:
            other.execute("PRAGMA busy_timeout = 5000")
            other.execute("BEGIN IMMEDIATE")
            await _stands_still(play, consumer)
            other.execute("ROLLBACK")
        await _goes_on(consumer)
        (await play.account()).check(doubts_max=0)


async def test_when_the_ledgers_file_can_grow_no_more_no_post_begins(broker: Broker, names: Names) -> None:
    """A quota: every write past the size that it has now fails (RLIMIT_FSIZE, EFBIG)."""
    async with scene(broker.url, names, seed=42) as play:
        consumer = await play.consumer({"log.level": "info"})
        play.publish(make_intents(play.rng, INTENTS, connectors=CONNECTORS))
        await play.posted(30)
        _, hard = resource.prlimit(consumer.pid, resource.RLIMIT_FSIZE)
        size = _wal_bytes(names)
        assert size > 2 * len(consumer.log), "the limit is to strike the ledger, not the log"
        resource.prlimit(consumer.pid, resource.RLIMIT_FSIZE, (size, hard))
        await _stands_still(play, consumer)
        resource.prlimit(consumer.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await _goes_on(consumer)
        (await play.account()).check(doubts_max=0)


@pytest.mark.long
async def test_when_the_ledgers_disk_is_full_no_post_begins(broker: Broker, names: Names, small_disk: Path) -> None:
    """A real file system without a free byte; then somebody makes room."""
    url = f"sqlite+aiosqlite:///{small_disk / 'ledger.db'}"
    async with scene(broker.url, names, ledger_url=url, seed=43) as play:
        consumer = await play.consumer()
        play.publish(make_intents(play.rng, INTENTS, connectors=CONNECTORS))
        await play.posted(30)
        with (small_disk / "ballast").open("wb", buffering=0) as ballast:
            _fill(ballast.write)
        await _stands_still(play, consumer)
        (small_disk / "ballast").unlink()
        await _goes_on(consumer)
        (await play.account()).check(doubts_max=0)


@pytest.mark.long
async def test_a_consumer_killed_while_its_disk_is_full_loses_nothing(
    broker: Broker, names: Names, small_disk: Path
) -> None:
    """Whatever half a transaction it left behind."""
    url = f"sqlite+aiosqlite:///{small_disk / 'ledger.db'}"
    async with scene(broker.url, names, ledger_url=url, seed=44) as play:
        consumer = await play.consumer()
        intents = make_intents(play.rng, INTENTS, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(30)
        with (small_disk / "ballast").open("wb", buffering=0) as ballast:
            _fill(ballast.write)
        await _stands_still(play, consumer)
        await asyncio.to_thread(consumer.kill)
        (small_disk / "ballast").unlink()
        await play.consumer()
        account = await play.account()
        account.check(doubts_max=CONNECTORS + sum(intent.message_id is None for intent in intents) // 4)


async def test_while_postgresql_takes_no_writes_no_post_begins(broker: Broker, names: Names, postgres_url: str) -> None:
    """A database that was switched to read-only, as a failover does, with every session ended."""
    async with scene(broker.url, names, ledger_url=postgres_url, seed=45) as play:
        consumer = await play.consumer()
        play.publish(make_intents(play.rng, INTENTS, connectors=CONNECTORS))
        await play.posted(30)
        async with _read_only(postgres_url):
            await _stands_still(play, consumer)
        await _goes_on(consumer)
        (await play.account()).check(doubts_max=0)


@pytest.mark.long
async def test_a_postgresql_that_ends_every_session_under_load_costs_nothing(
    broker: Broker, names: Names, postgres_url: str
) -> None:
    """A commit whose answer was lost may have happened: it is tried again, and recognised as our own."""
    async with scene(broker.url, names, ledger_url=postgres_url, seed=46) as play:
        await play.consumer()
        intents = make_intents(play.rng, 2 * INTENTS, connectors=CONNECTORS)
        play.publish(intents)
        for _ in range(8):
            before = len(play.hook.orders)
            await play.posted(before + play.rng.randrange(5, 25))
            await execute(postgres_url, END_OTHER_SESSIONS)
        (await play.account()).check(doubts_max=0)


@pytest.mark.long
async def test_a_postgresql_that_is_killed_under_load_costs_nothing(
    broker: Broker, names: Names, mortal_postgres: PrivatePostgres
) -> None:
    """SIGKILL, and a second later it is there again: what it had committed is there, what it had not is tried again."""
    async with (
        fresh_database(mortal_postgres) as url,
        scene(broker.url, names, ledger_url=url, seed=47) as play,
    ):
        consumer = await play.consumer()
        play.publish(make_intents(play.rng, INTENTS, connectors=CONNECTORS))
        await play.posted(30)
        await asyncio.to_thread(mortal_postgres.kill)
        await _stands_still(play, consumer)
        await asyncio.to_thread(mortal_postgres.start)
        await _goes_on(consumer)
        (await play.account()).check(doubts_max=0)


async def _stands_still(play: Scene, consumer: Consumer) -> None:
    """It says why it is not ready; what is on the wire ends, and after that no POST begins."""

    async def is_not_ready() -> bool:
        status, text = await consumer.get("/readyz")
        return status == 503 and "ledger" in text

    await wait_until(is_not_ready, what="503 from /readyz")
    await wait_until(lambda: play.hook.in_flight == 0)
    seen = len(play.hook.orders)
    await elapsed(1.0)
    assert len(play.hook.orders) == seen, "a POST began although the ledger could not be written"
    assert consumer.events("ledger.not_writable")
    assert (await consumer.get("/healthz"))[0] == 200, "a restart would not mend the ledger"


async def _goes_on(consumer: Consumer) -> None:
    async def is_ready() -> bool:
        return (await consumer.get("/readyz"))[0] == 200

    await wait_until(is_ready, what="200 from /readyz")


def _wal_bytes(names: Names) -> int:
    return Path(f"{ledger_file(names.prefix)}-wal").stat().st_size


def _fill(write: Callable[[bytes], object]) -> None:
    """Write until not even a byte fits."""
    for size in (65_536, 4096, 1):
        try:
            while True:
                write(b"\0" * size)
        except OSError:
            continue


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of SMALL_DISK_BYTES; needs the right to mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "signalq-test", str(folder)]
    try:
        mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603
    except FileNotFoundError:
        mounted = False
    if not mounted:
        skip_outside_ci("mounts a small file system, which only root may, and not in every container")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S603, S607


@asynccontextmanager
async def _read_only(url: str) -> AsyncIterator[None]:
    name = url.rpartition("/")[2].partition("?")[0]
    reset = f"ALTER DATABASE {name} RESET default_transaction_read_only"
    await execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await execute(url, END_OTHER_SESSIONS)
    try:
        yield
    finally:
        await execute(url, f"BEGIN READ WRITE; {reset}; COMMIT")
        await execute(url, END_OTHER_SESSIONS)
