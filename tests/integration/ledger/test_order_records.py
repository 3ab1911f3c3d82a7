"""What became of each order, in the ledger: the steps that its saves leave, found again, and forgotten with it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from signalq.consumer.ledger import Conflict, Epoch, LedgerEntry, tables
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import events, orders, schedule
from signalq.consumer.ledger.queries.orders import Filter, Happened, Recorded
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import NEVER_CONCLUDED, Attempt
from signalq.ops import scheduled
from signalq.ops.ledger import open_ledger, whole_ids
from signalq.ops.orders import stats
from signalq.ops.orders.records import read_orders, read_timelines
from signalq.ops.terminal.errors import CommandFailed
from signalq.settings.sections import Settings
from tests.support.orders import altered, body, order
from tests.support.stores import Store, file_of
from tests.support.waiting import wait_until

LANE = "signalq.orders"
CREATED_MS, RECEIVED_MS = 1_700_000_000_000, 1_700_000_001_000
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200, duration_s=0.0124)
NOT_TAKEN = Attempt("not taken", sent=False, why="timed out before anything was sent", duration_s=3.0)
REFUSED = Attempt("refused", sent=True, why="HTTP 400", status=400, duration_s=0.01)


def made(name: str, *, strategy: str = "momentum", **fields: object) -> Order:
    return order(
        body(**{"log": name} | fields),
        message_id=name,
        strategy=strategy,
        created_ms=CREATED_MS,
        received_ms=RECEIVED_MS,
    )


async def claim(ledger: Ledger, epoch: Epoch, one: Order) -> LedgerEntry:
    known = await ledger.recall(one, epoch)
    claimed = known.state.claimed(RECEIVED_MS)
    return await ledger.claim(one, claimed, epoch, attempt=known.state.unconcluded)


async def conclude(ledger: Ledger, claimed: LedgerEntry, attempt: Attempt) -> LedgerEntry:
    tried = claimed.state.tried(attempt, was_in_doubt=False)
    concluded = tried.delivered() if attempt.certainty == "accepted" else tried.retrying(0)
    return await ledger.record(claimed.order, concluded, attempt=attempt)


async def deliver(ledger: Ledger, epoch: Epoch, one: Order) -> LedgerEntry:
    return await conclude(ledger, await claim(ledger, epoch, one), ACCEPTED)


async def bury(ledger: Ledger, known: LedgerEntry, reason: Any) -> None:
    dying = await ledger.record(known.order, known.state.dead_lettering(reason, "a sentence: of it"))
    await ledger.record(known.order, dying.state.dead())


async def found(ledger: Ledger, wanted: Filter, rows_max: int = 100) -> list[Recorded]:
    return await ledger._writer.ask(lambda now: orders.page(now.connection, wanted, rows_max))


async def told(ledger: Ledger, intent_id: str) -> tuple[Recorded, list[Happened]]:
    (only,) = await ledger._writer.ask(lambda now: orders.timelines(now.connection, intent_id))
    return only


async def test_every_attempt_leaves_an_event_with_its_outcome_at_the_moment_of_its_save(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    known = await conclude(ledger, await claim(ledger, epoch, made("met")), NOT_TAKEN)
    await deliver(ledger, epoch, known.order)
    one, steps = await told(ledger, "met")
    assert (one.status, one.attempts) == ("delivered", 2)
    assert [replace(step, at_ms=0) for step in steps] == [
        Happened(1, 0, "attempt", "not taken", None, 3_000, "timed out before anything was sent"),
        Happened(1, 0, "attempt", "accepted", 200, 12, "HTTP 200"),
    ]
    assert steps[0].at_ms <= steps[1].at_ms == one.ended_ms == one.updated_ms


async def test_an_outcome_and_its_event_are_of_one_transaction(store: Store) -> None:
    """Many at once, and among them saves that are refused: each outcome has its step, and no refused save has one."""
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    claimed = await asyncio.gather(*(claim(ledger, epoch, made(f"met {number}")) for number in range(30)))
    again = [conclude(ledger, known, attempt) for known in claimed for attempt in (ACCEPTED, REFUSED)]
    answers = await asyncio.gather(*again, return_exceptions=True)
    assert sum(isinstance(answer, Conflict) for answer in answers) == 30
    rows = await store.rows(
        "SELECT i.status, s.certainty, s.at_ms - i.updated_ms FROM intents i JOIN steps s ON s.intent = i.number"
    )
    assert rows == [("delivered", "accepted", 0)] * 30


async def test_a_claim_that_was_never_concluded_is_an_event_of_the_next_consumer(store: Store) -> None:
    dead = await store.ledger()
    one = made("met", action="closeLong", percent="100")
    await claim(dead, await dead.open_lane(LANE), one)
    await store.close(dead)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    row, steps = await told(ledger, "met")
    assert (row.status, row.attempts, steps) == ("sending", 1, [])
    await conclude(ledger, await claim(ledger, epoch, one), REFUSED)
    row, steps = await told(ledger, "met")
    assert row.attempts == len(steps) == 2
    assert [(step.certainty, step.duration_ms, step.detail) for step in steps] == [
        ("unknown", None, NEVER_CONCLUDED.why),
        ("refused", 10, "HTTP 400"),
    ]


async def test_parking_is_an_event_and_so_is_the_cancelation_that_follows_it_in_one_transaction(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    delayed = await ledger.recall(made("delayed", delaySeconds=60), epoch)
    canceler = made("the cancel", action="cancelAll", percent=None)
    canceler = altered(canceler, creation=replace(canceler.timing.creation, delay_ms=RECEIVED_MS))
    known = await ledger.recall(canceler, epoch)
    parked, canceled = await asyncio.gather(
        ledger.record(delayed.order, delayed.state.scheduled()),
        ledger.claim(canceler, known.state.claimed(RECEIVED_MS), epoch),
    )
    assert parked.state.status == "scheduled"
    assert [one.intent_id for one in canceled.canceled] == ["delayed"]
    one, steps = await told(ledger, "delayed")
    assert one.status == "canceled"
    assert [(step.what, step.detail) for step in steps] == [
        ("scheduled", "until 2023-11-14T22:14:20.000Z"),
        ("canceled", "by the cancelAll the cancel"),
    ]


async def test_each_death_is_an_event_with_its_reason_because_a_replay_takes_it_off_the_row(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await bury(ledger, await ledger.recall(made("met"), epoch), "expired")
    one, steps = await told(ledger, "met")
    assert (one.status, one.reason, one.detail) == ("dead", "expired", "a sentence: of it")
    assert [(step.what, step.detail) for step in steps] == [("dead", "expired: a sentence: of it")]


async def test_events_are_forgotten_with_their_intents_and_no_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.ledger()
    epoch = await first.open_lane(LANE)
    await asyncio.gather(*(deliver(first, epoch, made(f"old {number}")) for number in range(15)))
    await asyncio.gather(*(deliver(first, epoch, made(f"new {number}")) for number in range(5)))
    await conclude(first, await claim(first, epoch, made("old and waiting")), NOT_TAKEN)
    await store.close(first)
    await store.run("UPDATE intents SET ended_ms = ended_ms - 8 * 86400000 WHERE intent_id LIKE 'old%'")
    monkeypatch.setattr("signalq.consumer.ledger.pruning.PRUNE_ROWS_MAX", 10)
    ledger = await store.ledger(retention_days=7)

    async def left() -> bool:
        return await ledger._writer.ask(lambda now: orders.count(now.connection, Filter())) == 6

    await wait_until(left, what="pruning")
    assert await store.rows("SELECT count(*) FROM steps") == [(6,)]
    assert await store.rows("SELECT count(*) FROM steps JOIN intents ON intent = intents.number") == [(6,)]


async def test_orders_are_found_by_id_connector_strategy_status_reason_and_time_the_newest_first(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await deliver(ledger, epoch, made("a"))
    await deliver(ledger, epoch, made("b", strategy="value"))
    await bury(ledger, await ledger.recall(made("c", connectorName="other"), epoch), "expired")
    dying = await ledger.recall(made("d"), epoch)
    await ledger.record(dying.order, dying.state.dead_lettering("exhausted", "8 attempts failed"))
    await conclude(ledger, await claim(ledger, epoch, made("e")), NOT_TAKEN)
    await claim(ledger, epoch, made("f"))
    await ledger.recall(made("g", delaySeconds=60), epoch)

    async def ids(wanted: Filter) -> str:
        listed = "".join(one.intent_id for one in await found(ledger, wanted))
        assert await ledger._writer.ask(lambda now: orders.count(now.connection, wanted)) == len(listed)
        return listed

    assert await ids(Filter()) == "gfedcba"
    assert await ids(Filter(["b", "c", "nobody"])) == "cb"
    assert await ids(Filter(connector="other")) == "c"
    assert await ids(Filter(strategy="value")) == "b"
    assert await ids(Filter(status="delivered")) == "ba"
    assert await ids(Filter(status="retrying")) == "ed", "what is about to be dead goes on by itself, too"
    assert await ids(Filter(status="dead")) == "c"
    assert await ids(Filter(status="sending")) == "f"
    assert await ids(Filter(status="received")) == "g"
    assert await ids(Filter(reason="exhausted")) == "d"
    assert await ids(Filter(strategy="momentum", status="delivered")) == "a"
    await store.run("UPDATE intents SET updated_ms = 5000 WHERE intent_id IN ('a', 'g')")
    assert await ids(Filter(since_ms=5_001)) == "fedcb"
    await store.run("UPDATE intents SET updated_ms = 5001 WHERE intent_id = 'g'")
    assert await ids(Filter(since_ms=5_001)) == "gfedcb"


async def test_the_fields_of_an_order_are_kept_as_long_as_the_intent_through_all_its_steps(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await deliver(ledger, epoch, made("a\x00b", percent=None, fixed="0.10", limit="65000", delaySeconds=None))
    await bury(ledger, await ledger.recall(made("late", delaySeconds=0.5), epoch), "expired")
    unkept = made("unkept", delaySeconds=60)
    await ledger.recall(replace(unkept, policy=replace(unkept.policy, keep_orders=False)), epoch)
    listed = {one.connector + one.action + one.intent_id: one.order_fields for one in await found(ledger, Filter())}
    assert {name: fields and json.loads(fields) for name, fields in listed.items()} == {
        "mainopenLonga\\x00b": {"fixed": "0.10", "limit": "65000", "log": "a\x00b"},
        "mainopenLonglate": {"percent": "50", "log": "late", "delaySeconds": 0.5},
        "mainopenLongunkept": None,
    }


async def test_statistics_are_those_of_the_ledger(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "PAGE_ROWS", 2)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for name in "abc":
        await deliver(ledger, epoch, made(name))
    await deliver(ledger, epoch, made("d", connectorName="other", delaySeconds=0.5))
    await bury(ledger, await ledger.recall(made("e"), epoch), "expired")
    settings = Settings.model_validate({"ledger": {"url": store.url}})
    total, main, other, _ = (await stats.read_stats(settings, Filter(), timedelta(hours=1))).rows()
    assert [total[name] for name in ("orders", "delivered", "dead", "open")] == [5, 4, 1, 0]
    assert [main[name] for name in ("connector", "orders", "queued_p50_ms", "post_p99_ms")] == ["main", 4, 1_000, 12]
    assert [other[name] for name in ("connector", "late_p50_ms", "queued_p50_ms")] == ["other", 500, None]
    chosen = await stats.read_stats(settings, Filter(connector="other"), datetime(2026, 1, 31, tzinfo=UTC))
    assert chosen.all.statuses == {"delivered": 1}
    assert chosen.all.post_ms == {12: 1}


async def test_an_id_is_found_by_its_beginning_or_by_its_beginning_and_its_end(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for name in ("momentum-20261129-0042", "momentum-20261130-0042", "momentum-20261130-0043", "mo…42", "我的單-1"):
        await deliver(ledger, epoch, made(name))
    await deliver(ledger, epoch, made("momentum-20261130-0043", strategy="value"))
    settings = Settings.model_validate({"ledger": {"url": store.url}})

    async def meant(given: str) -> str:
        async with open_ledger(settings) as client:
            (found,) = await whole_ids(client, [given])
            return found

    assert await meant("momentum-20261130-0042") == "momentum-20261130-0042"
    assert await meant("moment…9-0042") == "momentum-20261129-0042"
    assert await meant("moment…0043") == "momentum-20261130-0043", "of two strategies, and one id"
    assert await meant("…30-0042") == "momentum-20261130-0042"
    assert await meant("momentum-20261129…") == "momentum-20261129-0042"
    assert await meant("mo…42") == "mo…42", "it is whole"
    assert await meant("我的單…1") == "我的單-1"
    assert await meant("MOMENTUM-20261129") == "MOMENTUM-20261129", "no such id: it stays as it is"
    assert await meant("momentum-20261129-0042-momentum…0042") == "momentum-20261129-0042-momentum…0042"
    for name in ("ord-1", "ord-12"):
        await deliver(ledger, epoch, made(name))
    assert await meant("ord-1") == "ord-1"
    for given in ("moment…0042", "momentum-2026113", "momen…2", "ord-1…"):
        with pytest.raises(CommandFailed, match="is short for several ids"):
            await meant(given)
    assert await meant("m…2") == "m…2", "too short to choose an order"


async def test_a_command_that_acts_takes_no_whole_id_of_an_order_that_is_gone_for_the_beginning_of_another(
    store: Store,
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    random = "3b61a24e3b6743658da38126d25cb526"
    for name in ("order-12", random):
        await ledger.recall(made(name, delaySeconds=60), epoch)
    settings = Settings.model_validate({"ledger": {"url": store.url}})

    async def cancel(given: str) -> list[object]:
        done = await scheduled.cancel(settings, Filter([given]), Actor("ann", "cli", "host"))
        return [row["intent_id"] for row in done.rows]

    with pytest.raises(CommandFailed, match=r"there is no order-1, and order-12 may be another order: .* order-1…"):
        await cancel("order-1")
    (pending, _) = await scheduled.list_pending(settings, Filter(["order-1"]))
    assert [row["intent_id"] for row in pending] == ["order-12"], "to look is harmless"
    assert await cancel("order-1…") == ["order-12"]
    assert await cancel(random[:8]) == [random]


async def test_a_listing_goes_on_after_the_last_row_even_if_intents_came_meanwhile(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for name in "abcde":
        await deliver(ledger, epoch, made(name))
    first = await found(ledger, Filter(), 2)
    await deliver(ledger, epoch, made("newer"))
    second = await found(ledger, Filter(before=first[-1].number), 2)
    last = await found(ledger, Filter(before=second[-1].number), 2)
    assert [[one.intent_id for one in page] for page in (first, second, last)] == [["e", "d"], ["c", "b"], ["a"]]


async def test_one_id_of_two_strategies_is_two_orders_each_with_its_own_events(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await deliver(ledger, epoch, made("met"))
    await conclude(ledger, await claim(ledger, epoch, made("met", strategy="value")), REFUSED)
    both = await ledger._writer.ask(lambda now: orders.timelines(now.connection, "met"))
    assert [(one.strategy, [step.certainty for step in steps]) for one, steps in both] == [
        ("momentum", ["accepted"]),
        ("value", ["refused"]),
    ]
    assert await ledger._writer.ask(lambda now: orders.timelines(now.connection, "nobody")) == []


async def test_ids_with_characters_that_no_database_holds_have_their_events(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await deliver(ledger, epoch, made("nul\x00id", strategy="nul\x00strategy"))
    _, steps = await told(ledger, "nul\\x00id")
    assert [step.what for step in steps] == ["attempt"]


async def test_a_reader_of_a_file_waits_for_no_writer_and_holds_up_none(tmp_path: Path, stack: AsyncExitStack) -> None:
    """A long listing must not keep a claim waiting, nor a busy consumer keep a person waiting."""
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/ledger.db", stack)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await deliver(ledger, epoch, made("before"))
    reader = database_at(store.url, create=False)
    try:
        with closing(sqlite3.connect(file_of(store.url), isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute("DELETE FROM intents")
            rows = await reader.read(lambda connection: orders.page(connection, Filter(), 10))
            writer.execute("ROLLBACK")
        assert [one.intent_id for one in rows] == ["before"]

        loop = asyncio.get_running_loop()

        def while_it_is_read(connection: Any) -> int:
            orders.page(connection, Filter(), 10)
            meanwhile = asyncio.run_coroutine_threadsafe(deliver(ledger, epoch, made("meanwhile")), loop)
            meanwhile.result(timeout=10)
            return schedule.count(connection, Filter()) + orders.count(connection, Filter())

        assert await reader.read(while_it_is_read) == 1
        assert await reader.read(lambda connection: orders.count(connection, Filter())) == 2
    finally:
        await reader.close()


async def test_a_command_reads_any_number_page_by_page_and_says_how_many_more_fit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for name in "abcde":
        await deliver(ledger, epoch, made(name))
    monkeypatch.setattr("signalq.ops.orders.records.PAGE_ROWS", 2)
    settings = Settings(ledger={"url": store.url})

    async def read(**how: Any) -> tuple[list[str], int]:
        pages: list[list[dict[str, object]]] = []
        given, more = await read_orders(settings, Filter(), pages.append, **how)
        assert given == sum(map(len, pages))
        return ["".join(str(row["intent_id"]) for row in page) for page in pages if page], more

    assert await read() == (["ed", "cb", "a"], 0)
    assert await read(rows_max=5) == (["ed", "cb", "a"], 0)
    assert await read(rows_max=4) == (["ed", "cb"], 1)
    assert await read(rows_max=3) == (["ed", "c"], 2)
    assert await read(rows_max=9) == (["ed", "cb", "a"], 0)
    await store.run("UPDATE intents SET updated_ms = updated_ms - 60000 WHERE intent_id IN ('a', 'b')")
    assert await read(since=timedelta(seconds=30)) == (["ed", "c"], 0)
    assert await read(since=timedelta(seconds=90), rows_max=1) == (["e"], 4)
    assert await read(since=datetime.now(UTC) - timedelta(seconds=30)) == (["ed", "c"], 0)
    (only,) = await read_timelines(settings, "a")
    assert [entry["what"] for entry in only["timeline"]] == ["created", "received", "attempt", "delivered"]


async def test_deaths_are_listed_from_a_time_on_the_oldest_first_without_those_that_were_discarded(
    store: Store,
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for name in ("first", "second", "third"):
        await bury(ledger, await conclude(ledger, await claim(ledger, epoch, made(name)), REFUSED), "rejected")
    await deliver(ledger, epoch, made("fourth"))
    (second,) = await found(ledger, Filter(intent_ids=["second"]))
    discarded = {"at_ms": 0, "what": events.DISCARDED}
    rows = [
        {"intent": second.number, "generation": 1, **discarded},
        # Another generation of the one before: its letter is there.
        {"intent": second.number - 1, "generation": 2, **discarded},
    ]
    await ledger._writer.ask(lambda now: now.connection.execute(insert(tables.events), rows))

    async def died(since_ms: int, rows_max: int = 10) -> list[tuple[str, str, str]]:
        deaths = await ledger._writer.ask(lambda now: orders.deaths_since(now.connection, since_ms, rows_max))
        return [(one.intent_id, one.connector, one.reason) for one in deaths]

    assert await died(0) == [("first", "main", "rejected"), ("third", "main", "rejected")]
    assert await died(0, rows_max=1) == [("first", "main", "rejected")]
    (third,) = await found(ledger, Filter(intent_ids=["third"]))
    assert third.ended_ms is not None
    assert ("third", "main", "rejected") in await died(third.ended_ms)
    assert await died(third.ended_ms + 1) == []
