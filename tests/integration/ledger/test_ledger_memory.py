"""What the ledger keeps for a lane's next consumer, whatever the clock says by then; and who may read it."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pytest
from sqlalchemy import Connection
from structlog.testing import capture_logs

import signalq.consumer.ledger.writer
from signalq.consumer import kept_going
from signalq.consumer.ledger import LEASE_MS, LIVE_MS, Epoch, LaneMemory, LedgerEntry, database, pruning
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import intents, replicas
from signalq.consumer.ledger.queries.look import Look
from signalq.consumer.orders.delays import DAY_MS, KnownSkew, Segment
from signalq.consumer.orders.limits import MINUTE_MS, Rate, RateExceeded
from signalq.consumer.orders.state import Attempt
from signalq.consumer.orders.switch import SwitchedOff
from signalq.ops.check import ledger as check
from signalq.settings.private_files import make_private_folder
from tests.support.orders import altered, body, new_id, order, unknown
from tests.support.stores import Store, file_of, ledger_at
from tests.support.waiting import PATIENCE_S, wait_until

LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="200", status=200)
HOUR_MS = 3_600_000


@contextmanager
def clock_set_by(step_ms: int) -> Iterator[None]:
    """The ledger's clock, so much further than it is."""
    real = signalq.consumer.ledger.writer.look

    def stepped(connection: Connection, wanted: Collection[str]) -> Look:
        looked = real(connection, wanted)
        return replace(looked, now_ms=looked.now_ms + step_ms)

    with patch.object(signalq.consumer.ledger.writer, "look", stepped):
        yield


async def deliver(ledger: Ledger, message_body: bytes, epoch: Epoch) -> None:
    """One without an id is POSTed, and taken."""
    first = order(message_body)
    claimed = await ledger.claim(first, (await ledger.recall(first, epoch)).state.claimed(1), epoch)
    await ledger.record(first, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    ledger.release(first)


@pytest.mark.parametrize(
    ("step_ms", "is_seen"), [(0, True), (HOUR_MS, False), (-HOUR_MS, False), (HOUR_MS, True), (-HOUR_MS, True)]
)
async def test_a_lanes_waits_are_remembered_and_no_clock_makes_them_longer(
    store: Store, step_ms: int, is_seen: bool
) -> None:
    """Nor shorter, where the ledger's clock is this machine's, and is seen to have been set."""
    first = await store.ledger()
    await first.open_lane(LANE)
    first.remember(LANE, LaneMemory("main", 3, 20_000))
    first.remember(LANE, LaneMemory("paced", 0, 0, posted_ago_ms=0))
    first.remember(LANE, LaneMemory("paced", 1, 7_000))
    first.remember("another.lane", LaneMemory("other", 9, 9_000))
    await store.close(first)
    second = await store.ledger()
    if is_seen:
        second._skew._wall_ms = lambda: database.machine_ms() + step_ms
    with clock_set_by(step_ms):
        found = {one.connector: one for one in (await second.open_lane(LANE)).remembered}
    assert set(found) == {"main", "paced"}
    assert found["main"].failures == 3
    wait_ms, posted_ago_ms = found["main"].wait_ms, found["paced"].posted_ago_ms
    assert posted_ago_ms is not None
    if step_ms > 0 and not (is_seen and store.url.startswith("sqlite")):
        assert (wait_ms, posted_ago_ms >= step_ms) == (0, True)
    else:
        assert 10_000 < wait_ms <= 20_000
        assert 0 <= posted_ago_ms < 10_000
    second.remember(LANE, LaneMemory("main", 0, 0))
    await second.known_lanes()
    again = {one.connector: one for one in (await second.open_lane(LANE)).remembered}
    assert set(again) == {"paced"}, "it waits for nothing any more"


async def test_an_attempt_is_kept_with_its_wait_and_its_answer(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    met = order(message_id=new_id())
    claimed = await ledger.claim(met, unknown(met).claimed(1_000), epoch)
    busy = Attempt("not taken", sent=True, why="HTTP 429", status=429, answer="slow down")
    concluded = claimed.state.tried(busy, was_in_doubt=False).retrying(5_000, 4_000)
    await ledger.record(met, concluded, attempt=busy)
    state = (await ledger.recall(met, epoch)).state
    assert (state.next_attempt_ms, state.wait_ms, state.answer) == (5_000, 4_000, "slow down")
    assert await store.rows("SELECT answer FROM steps") == [("slow down",)]


async def test_after_a_lane_was_left_settled_nobody_is_in_doubt_and_after_a_crash_everybody_is(store: Store) -> None:
    first = await store.ledger()
    epoch = await first.open_lane(LANE)
    await deliver(first, body(), epoch)
    await first.leave_settled(epoch)
    again = order(body(), redelivered=True)
    epoch = await first.open_lane(LANE)
    assert not (await first.recall(again, epoch)).state.maybe_second_delivery
    await deliver(first, body(log="2"), epoch)
    await first.leave_settled(epoch)
    epoch = await first.open_lane(LANE)
    for message in (body(), body(log="2")):
        known = await first.recall(order(message, redelivered=True), epoch)
        assert not known.state.maybe_second_delivery, "also after two such"
    await deliver(first, body(log="3"), epoch)
    crashed = await first.open_lane(LANE)
    for message in (body(), body(log="2"), body(log="3")):
        assert (await first.recall(order(message, redelivered=True), crashed)).state.maybe_second_delivery
    await first.leave_settled(epoch)
    late = await first.open_lane(LANE)
    known = await first.recall(order(body(log="3"), redelivered=True), late)
    assert known.state.maybe_second_delivery, "who is not its consumer any more can't say so"
    await first.leave_settled(late)
    epoch = await first.open_lane(LANE)
    known = await first.recall(order(body(log="3"), redelivered=True), epoch)
    assert known.state.maybe_second_delivery, "it may have waited in that epoch unseen, since the crash"


async def test_an_order_that_ended_just_before_a_crash_is_in_doubt_though_the_clock_was_set_forward_before_it(
    store: Store,
) -> None:
    """By that clock it ended an hour before its consumer was last seen alive."""
    ledger = await store.ledger()
    await deliver(ledger, body(), await ledger.open_lane(LANE))
    now_ms = database.machine_ms()
    epoch = replace(await ledger.open_lane(LANE), alive_before_ms=now_ms + HOUR_MS)
    again = order(body(), redelivered=True)
    assert not (await ledger.recall(again, epoch)).state.maybe_second_delivery, "an hour ago"
    set_forth = KnownSkew((Segment(0, now_ms - HOUR_MS), Segment(HOUR_MS, now_ms + HOUR_MS)))
    assert (await ledger.recall(altered(again, skew=set_forth), epoch)).state.maybe_second_delivery


async def test_a_lane_that_was_seen_alive_by_a_clock_that_was_set_back_since_is_noted_as_alive_by_the_new_one(
    store: Store,
) -> None:
    ledger = await store.ledger()
    with clock_set_by(HOUR_MS):
        await ledger.join_lane(LANE)
    ahead_ms = HOUR_MS
    async with asyncio.timeout(5):
        while ahead_ms > HOUR_MS // 2:
            await asyncio.sleep(0.05)
            ahead_ms = (await store.rows("SELECT alive_ms FROM lanes"))[0][0] - database.machine_ms()


async def test_a_post_by_a_clock_that_was_set_back_since_counts_for_a_rate_for_a_minute_and_no_longer(
    store: Store,
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    rate = Rate("connector:main", "connector", 1, enforced=True)

    async def claim() -> LedgerEntry | SwitchedOff | RateExceeded:
        of = order(message_id=new_id())
        return await ledger.claim(of, unknown(of).claimed(1), epoch, rates=[rate])

    with clock_set_by(HOUR_MS):
        assert isinstance(await claim(), LedgerEntry)
    assert await claim() == RateExceeded(rate)
    with clock_set_by(MINUTE_MS + 1_000):
        assert isinstance(await claim(), LedgerEntry)


async def test_pruning_forgets_waits_and_other_machines_clocks_after_the_retention_and_never_this_ones(
    store: Store,
) -> None:
    ledger = await store.ledger()
    ledger.remember(LANE, LaneMemory("main", 1, 1_000))
    others = [Segment(0, database.machine_ms())]
    await ledger._writer.ask(lambda now: replicas.note_clock(now.connection, "another machine", others))
    await ledger._writer.ask(lambda now: replicas.note_clock(now.connection, ledger._skew.machine, others))
    for days, machines, waits in ((6, {"another machine", ledger._skew.machine}, 1), (8, {ledger._skew.machine}, 0)):
        with clock_set_by(days * DAY_MS):
            await ledger._writer.ask(ledger._pruning.prune_some)
        assert {machine for (machine,) in await store.rows("SELECT machine FROM clock_steps")} == machines
        assert len(await store.rows("SELECT connector FROM paces")) == waits


def test_a_replica_whose_sign_of_life_lies_ahead_does_not_count_as_living() -> None:
    for silent_ms, lives in ((0, True), (-LIVE_MS + 1, True), (LIVE_MS, False), (-HOUR_MS, False)):
        assert replicas.Replica("o", "n", 0, silent_ms, 0, {}).lives == lives


async def test_one_that_is_dated_ahead_counts_as_created_once_with_an_id_or_without(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    now_ms = 1_700_000_000_000
    for message_id in (new_id(), None):
        ahead = {"created_ms": now_ms + HOUR_MS, "message_id": message_id}
        message = body(log=str(message_id))
        first = await ledger.recall(order(message, received_ms=now_ms, **ahead), epoch)
        ledger.release(first.order)
        later = order(message, received_ms=now_ms + 50_000, redelivered=True, **ahead)
        again = await ledger.recall(later, epoch)
        assert again.order.timing.creation.age_ms == now_ms, "not again when it comes again"
        assert again.order.intent_id == first.order.intent_id


async def test_a_lease_and_signs_of_life_that_lie_ahead_are_from_before_the_clock_was_set_back(store: Store) -> None:
    gone, other = await store.ledger(), await store.ledger()
    with clock_set_by(HOUR_MS):
        epoch = await gone.open_lane(LANE)
        met = order(message_id=new_id())
        await gone.claim(met, unknown(met).claimed(1_000), epoch)
        await asyncio.sleep(0.5)  # a sign of life
    for task in gone._tasks:
        task.cancel()  # it is gone without a word
    epoch = await other.open_lane(LANE)
    assert 0 < (await other.recall(met, epoch)).state.leased_for_ms <= LEASE_MS
    async with asyncio.timeout(PATIENCE_S):
        while (await other.recall(met, epoch)).state.leased_for_ms:  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(0.1)
    live = other.live
    assert live is not None
    assert live.owners == {live.me}


async def test_check_says_how_far_the_clock_is_from_the_ledgers_and_how_it_was_set(store: Store) -> None:
    ledger = await store.ledger()
    visit = await store.stack.enter_async_context(LedgerClient(store.url))
    async with asyncio.timeout(PATIENCE_S):
        while ledger._skew.unsaved():  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(0.05)
    assert (await check.check_by_ledger(visit, "clock")).state == "ok"
    machine_ms = check.machine_ms
    if store.url.startswith("postgresql"):
        async with asyncio.timeout(PATIENCE_S):
            while ledger._skew.known().ahead_ms != 0:  # noqa: ASYNC110 - the ledger tells nobody
                await asyncio.sleep(0.05)
        with patch.object(check, "machine_ms", lambda: machine_ms() - HOUR_MS):
            behind = await check.check_by_ledger(visit, "clock")
        assert behind.state == "wrong"
        said = re.fullmatch(r"(\d+\.\d) s behind the ledger's server's", behind.found)
        assert said is not None
        # The two clocks are not read at once, and a busy machine may take its time in between.
        assert float(said[1]) == pytest.approx(3600, abs=10)
    await store.run(f"UPDATE clock_steps SET offset_ms = offset_ms + {HOUR_MS}")  # noqa: S608 - our own number
    await store.close(ledger)
    again = await store.ledger()
    async with asyncio.timeout(PATIENCE_S):
        while again._skew.unsaved():  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(0.05)
    was_set = await check.check_by_ledger(visit, "clock")
    assert (was_set.state, was_set.found) == ("note", "within a day this machine's clock was set 3600.0 s back")


# --- files -----------------------------------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def careless() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("careless")
async def test_the_ledgers_files_and_folders_are_its_users_alone_also_those_of_an_earlier_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    tmp_path.chmod(0o755)  # noqa: ASYNC240 - a test of it
    folder = tmp_path / "state" / "signalq"
    make_private_folder(folder / "publish")
    assert [mode(one) for one in (folder.parent, folder, folder / "publish")] == [0o700] * 3
    folder.chmod(0o755)
    url = f"sqlite+aiosqlite:///{folder}/signalq.db"
    for loosened in (False, True):
        async with ledger_at(url) as ledger:
            await ledger.open_lane(LANE)
            files = [folder / f"signalq.db{suffix}" for suffix in ("", "-wal", "-shm")]
            assert [mode(one) for one in files] == [0o600] * 3, loosened
            assert mode(folder) == 0o700
            for one in (folder, *files):
                one.chmod(0o755)
    assert mode(tmp_path) == 0o755, "what is not ours is left alone"


async def test_a_log_that_a_reader_has_made_grow_is_cut_once_the_reader_is_gone(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/signalq.db"
    file = database_at(url, create=True)

    def grow(connection: Connection) -> None:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS big (x)")
        connection.exec_driver_sql("INSERT INTO big VALUES (zeroblob(?))", (database.WAL_BYTES_KEPT,))

    await file.transact(grow)
    limit = await file.read(lambda connection: connection.exec_driver_sql("PRAGMA journal_size_limit").scalar())
    assert limit == database.WAL_BYTES_KEPT
    reader = sqlite3.connect(file_of(url), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM big").fetchone()
    for _ in range(3):
        await file.transact(grow)
    assert file.wal_bytes > 2 * database.WAL_BYTES_KEPT
    async with asyncio.timeout(1):
        await file.tidy()  # gives up at once
    assert file.wal_bytes > 2 * database.WAL_BYTES_KEPT
    reader.close()
    await file.tidy()
    assert file.wal_bytes == 0
    await file.transact(grow)
    await file.close()


def test_a_log_that_can_not_be_cut_leaves_the_connection_as_it_was() -> None:
    """With no patience for other writers left on it, each of them would be an error to us."""
    asked: list[str] = []

    class Connection:
        def cursor(self) -> Connection:
            return self

        def execute(self, statement: str) -> None:
            asked.append(statement)
            if "wal_checkpoint" in statement:
                raise sqlite3.OperationalError("disk I/O error")

        def close(self) -> None:
            asked.append("close")

    with pytest.raises(sqlite3.OperationalError):
        database._empty_wal(cast("Any", SimpleNamespace(connection=Connection())))
    assert asked[-2:] == [f"PRAGMA busy_timeout = {database.SQLITE_BUSY_TIMEOUT_MS}", "close"]


async def test_the_work_of_the_ledger_beside_the_orders_goes_on_after_any_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_going, "PAUSE_S", 0.01)
    monkeypatch.setattr(pruning, "PRUNE_PERIOD_S", 0.01)
    began: Counter[str] = Counter()

    def failing_at_first(name: str, error: Exception, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            began[name] += 1
            if began[name] <= 2:  # with others in one transaction, and alone
                raise error
            return work(*arguments)

        return call

    foreign = sqlite3.OperationalError("disk I/O error")
    monkeypatch.setattr(intents, "prune", failing_at_first("prune", RuntimeError(), intents.prune))
    monkeypatch.setattr(replicas, "note_alive", failing_at_first("alive", RuntimeError(), replicas.note_alive))
    tidy = failing_at_first("tidy", foreign, database.SqliteDatabase.tidy)
    monkeypatch.setattr(database.SqliteDatabase, "tidy", tidy)
    url = f"sqlite+aiosqlite:///{tmp_path}/signalq.db"
    with capture_logs() as logs:
        async with ledger_at(url) as ledger:
            await wait_until(lambda: min(began["prune"], began["tidy"]) > 3 and ledger.live)
    failed = [(line["task"], line["exc_info"]) for line in logs if "task" in line]
    assert sorted(failed) == [("ledger alive", True), ("ledger pruning", True)], "a log that can't be cut is cut later"
