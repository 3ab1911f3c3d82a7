"""The watch over a ledger alone: its figures, its sleep, a ledger that goes away, hangs, and is back."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from yarl import URL

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import audit, switches
from signalq.consumer.orders.switch import ALL
from signalq.kinds import Kind
from signalq.local import PrivatePostgres
from signalq.ops.console.moment import watch as watch_module
from signalq.ops.console.moment.snapshot import REGIONS, Ending
from signalq.ops.ledger import this_user
from tests.support.graveyard import dead, record
from tests.support.ledger_rows import event_row, intent_row, letter_row, plant
from tests.support.proxy import Proxy
from tests.support.stores import Store, file_of, ledger_at
from tests.support.waiting import wait_until
from tests.support.watching import be_brisk, seen, settings_for, told, watching

HOUR_MS, MINUTE_MS, SECOND_MS = 3_600_000, 60_000, 1_000
CONNECTORS = {"main": {}, "beta": {"spot_sell_is_exit": True}}


@pytest.fixture(autouse=True)
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    be_brisk(monkeypatch)


async def test_the_figures_are_those_of_the_ledger(store: Store, ledger: Ledger) -> None:
    """Everything that only the ledger knows, on each of its kinds, of the past and of now."""
    async with LedgerClient(store.url) as client:
        now_ms = await client.read(clock_ms)
        rejected = {"status": "dead", "reason": "rejected", "http_status": 401}
        scheduled = {"status": "scheduled", "connector": "beta"}
        await plant(
            client,
            orders=[
                *(intent_row(ended_ms=now_ms - 5 * HOUR_MS) for _ in range(3)),
                *(intent_row(ended_ms=now_ms - 10 * MINUTE_MS) for _ in range(4)),
                intent_row(ended_ms=now_ms - 10 * MINUTE_MS, connector="stranger"),
                intent_row(ended_ms=now_ms - 3 * SECOND_MS, **rejected),
                intent_row(status="sending", owner="x", lease_until_ms=now_ms + HOUR_MS),
                intent_row(status="retrying", connector="lost", why="HTTP 503", http_status=503, age_from_ms=7),
                intent_row(**scheduled, due_ms=now_ms + MINUTE_MS),
                intent_row(**scheduled, due_ms=now_ms + MINUTE_MS, action="sell"),
                intent_row(**scheduled, due_ms=now_ms + 2 * HOUR_MS),
                intent_row(status="delivered", due_ms=now_ms - 12, first_post_ms=now_ms, ended_ms=now_ms),
            ],
            steps=[event_row(at_ms=now_ms, intent=15), event_row(at_ms=now_ms, intent=1, duration_ms=410)],
            dead=[letter_row(since_ms=now_ms - SECOND_MS, reason="outcome-unknown", messages=2)],
        )
        await client.transact(
            lambda now: switches.change(now, now_ms, "beta", "close-only", who="bob", why="only exits") and None
        )
    epoch = await ledger.open_lane("signalq.orders.main")
    async with watching(settings_for(store.url, connectors=CONNECTORS)) as watch:
        now = await seen(watch, lambda now: now.posts.count and now.living and sum(now.total.dead), "all figures")
        assert abs(now.now_ms - now_ms) < HOUR_MS
        main, beta, shared = now.lane("main"), now.lane("beta"), now.lane(None)
        assert main is not None and beta is not None and shared is not None  # noqa: PT018
        assert (sum(main.short.delivered), sum(main.short.dead), main.out) == (5, 1, 1)
        assert dict(main.short.reasons) == {"rejected": main.short.dead}
        assert main.last == Ending("delivered", now_ms)
        assert (main.consumer, main.doubts, main.state) == (now.living[0].name, 1, "open")
        assert sum(watch.history("main").long.until(now.now_ms).delivered) == 8
        assert (beta.state, beta.opens_due, beta.change and beta.change.who) == ("close-only", 1, "bob")
        assert (sum(shared.short.delivered), shared.retrying, shared.is_own) == (1, 1, True)
        lost = now.lane("lost")
        assert lost is not None and not lost.is_own  # noqa: PT018
        assert (lost.retrying, lost.why, lost.waiting) == (1, "HTTP 503", None)
        assert sum(now.total.delivered) == 6
        assert (now.scheduled, now.next_due_ms) == (3, now_ms + MINUTE_MS)
        assert (now.letters.count, now.letters.messages, now.letters.ready) == (1, 2, None)
        assert (now.posts.p50_ms, now.posts.p99_ms, now.posts.count) == (80, 410, 2)
        assert (now.late.p50_ms, now.late.count) == (12, 1)
        assert epoch.lane == main.queue
        notices = {notice.key.partition(":")[0] for notice in now.attention}
        assert {"doubt", "due", "broker"} <= notices
        assert "no-consumer" not in notices


async def test_a_watch_that_may_not_look_looks_only_for_those_who_ask(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_brisk(monkeypatch)
    may_look = True
    async with watching(settings_for(store.url), may_look=lambda: may_look) as watch:
        with watch.listening():
            await seen(watch, lambda now: now.living, "a first look")
            may_look = False
            await asyncio.sleep(0)
            before = watch.latest.number
            asked = await watch.snapshot()
            assert watch.latest.number <= before + 1
            await asyncio.sleep(3 * watch_module.EVERY_S)
            assert watch.latest.number <= asked.number + 1
            asked = await watch.look_now()
            assert asked.number > before
            may_look = True
            await wait_until(lambda: watch.latest.number > asked.number + 1, what="further looks")


async def test_a_change_while_somebody_looks_is_told_and_counted(store: Store, ledger: Ledger) -> None:
    async with watching(settings_for(store.url)) as watch:
        with watch.listening() as listener:
            assert await listener.changes() == REGIONS
            before = await seen(watch, lambda now: not now.ledger.is_away, "the ledger")
            await record(store.url, [dead(number) for number in range(3)])
            await watch.look_now()
            now = await seen(watch, lambda now: now.letters.count == 3, "the letters")
            regions = await listener.changes()
            while (more := await listener.changes()) is not None and not {"letters", "orders"} <= regions:
                regions |= more
            assert {"letters", "orders", "status", "attention", "throughput", "lanes"} <= regions
            assert (before.letters.count, now.letters.count) == (0, 3)
            assert sum(now.total.dead) == 3

            async with LedgerClient(store.url) as client:
                act = audit.Act("switch", {"connector": "main"}, done=1)
                await client.transact(lambda now: audit.note(now, clock_ms(now), this_user(), act))
                await told(listener, "activity")
                await client.transact(
                    lambda now: switches.change(now, clock_ms(now), ALL, "paused", who="al", why="odd") and None
                )
            now = await seen(watch, lambda now: now.all_state == "paused", "the switch")
            assert now.changes[ALL].who == "al"
            watch.tell("jobs")
            await told(listener, "jobs")
    del ledger


async def test_a_consumer_that_ended_is_remembered_by_name(store: Store) -> None:
    ledger = await store.ledger()
    await ledger.open_lane("signalq.orders")
    async with watching(settings_for(store.url)) as watch:
        now = await seen(watch, lambda now: now.living, "the consumer")
        (consumer,) = now.living
        await store.close(ledger)
        now = await seen(watch, lambda now: not now.living, "the consumer's end")
        assert now.last_consumer is not None
        assert now.last_consumer[0] == consumer.name
        found = await seen(watch, lambda now: [one for one in now.attention if one.key == "no-consumer"], "its notice")
        (notice,) = [one for one in found.attention if one.key == "no-consumer"]
        assert (notice.on, notice.since_ms) == (consumer.name, now.last_consumer[1])


async def test_the_watch_sleeps_once_nobody_looks_and_wakes_for_the_next_one(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    del ledger
    monkeypatch.setattr(watch_module, "IDLE_S", 0.2)
    monkeypatch.setattr(watch_module, "FRESH_S", 0.5)
    async with watching(settings_for(store.url)) as watch:
        assert not watch.is_awake
        first = await watch.snapshot()
        with watch.listening() as listener:
            for _ in range(8):
                await listener.changes()
            assert watch.is_awake, "somebody listens"
        await wait_until(lambda: not watch.is_awake, what="its sleep")
        asleep = watch.latest.number
        assert asleep > first.number
        await record(store.url, [dead(1)])
        await wait_until(lambda: time.monotonic() - watch._told_s > watch_module.FRESH_S, what="a snapshot that is old")
        assert watch.latest.number == asleep
        await seen(watch, lambda now: now.letters.count == 1, "the letter that came meanwhile")
        assert watch.is_awake


async def test_a_long_sleep_leaves_no_gap_in_the_histories(store: Store, ledger: Ledger) -> None:
    """Counted anew, as what lies between is no longer recent; each ending once."""
    del ledger
    async with watching(settings_for(store.url)) as watch, LedgerClient(store.url) as client:
        await plant(client, orders=[intent_row(ended_ms=await client.read(clock_ms))])
        now = await seen(watch, lambda now: sum(now.total.delivered) == 1, "the first ending")
        watch._ledger._counted_until_ms = now.now_ms - 10 * MINUTE_MS
        await plant(client, orders=[intent_row(ended_ms=now.now_ms - 5 * MINUTE_MS)])
        now = await seen(watch, lambda now: sum(now.total.delivered) == 2, "the second one")
        assert sum(watch.history(ALL).long.until(now.now_ms).delivered) == 2


async def test_without_a_ledger_and_a_broker_a_page_is_answered_and_told_so(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/none.db"
    async with watching(settings_for(url, connectors={"main": {}})) as watch:
        kinds = Kind.NO_LEDGER, Kind.CONNECTION_REFUSED
        now = await seen(watch, lambda now: (now.ledger.kind, now.broker.kind) == kinds, "both away")
        assert [lane.connector for lane in now.lanes] == ["main", None]
        assert {one.key for one in now.attention} == {"ledger", "broker"}
        async with ledger_at(url) as ledger:
            await ledger.open_lane("signalq.orders")
            await seen(watch, lambda now: not now.ledger.is_away and now.living, "the new ledger")


async def test_another_ledger_in_its_place_is_read_from_its_beginning(tmp_path: Path) -> None:
    first, second = (f"sqlite+aiosqlite:///{tmp_path}/{name}.db" for name in ("first", "second"))
    await record(first, [dead(number) for number in range(3)])
    await record(second, [dead(1)])
    settings = [settings_for(first)]
    watch = watch_module.Watch(lambda: settings[0])
    try:
        await seen(watch, lambda now: now.letters.count == 3, "the first one's letters")
        settings[0] = settings_for(second)
        await watch._ledger._source.close()
        await seen(watch, lambda now: (now.letters.count, sum(now.total.dead)) == (1, 1), "those of the second one")
    finally:
        await watch.close()


async def test_a_ledger_that_is_cut_off_leaves_the_last_figures_and_comes_back(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack
) -> None:
    store = Store(postgres_url, stack)
    ledger = await store.ledger()
    await ledger.open_lane("signalq.orders")
    await record(store.url, [dead(1)])
    async with Proxy(postgres.port) as link:
        through = str(URL(postgres_url).with_port(link.port))
        async with watching(settings_for(through)) as watch:
            with watch.listening() as listener:
                assert await listener.changes() == REGIONS
                await seen(watch, lambda now: now.letters.count == 1, "the letter")
                await link.cut(refuse=True)
                away = await seen(watch, lambda now: now.ledger.is_away, "the ledger that is away")
                await told(listener, "attention")
                assert away.ledger.away_since_ms is not None
                assert (away.letters.count, len(away.replicas)) == (1, 1), "the last figures"
                assert away.ledger.seen_ms is not None and away.ledger.seen_ms <= away.ledger.away_since_ms  # noqa: PT018
                assert "ledger" in {one.key for one in away.attention}
                await record(store.url, [dead(2)])
                link.heal()
                await seen(
                    watch, lambda now: not now.ledger.is_away and now.letters.count == 2, "the ledger that is back"
                )
                await told(listener, "letters")


async def test_a_ledger_that_hangs_is_told_to_be_away_and_blocks_nobody(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack
) -> None:
    store = Store(postgres_url, stack)
    await (await store.ledger()).open_lane("signalq.orders")
    async with Proxy(postgres.port) as link:
        through = str(URL(postgres_url).with_port(link.port))
        link.stall()
        async with watching(settings_for(through)) as watch:
            hung = await watch.snapshot()
            assert (hung.ledger.kind, hung.ledger.seen_ms) == (Kind.NO_ANSWER, None)
            link.heal()
            well = await seen(watch, lambda now: not now.ledger.is_away, "the ledger's answer")
            link.stall()
            hung = await seen(watch, lambda now: now.ledger.is_away, "that it hangs")
            assert hung.ledger.kind == Kind.NO_ANSWER
            assert hung.replicas
            assert hung.number > well.number
            await seen(watch, lambda now: now.number > hung.number + 1, "further snapshots meanwhile")
            link.heal()
            await seen(watch, lambda now: not now.ledger.is_away, "the ledger's answer")


async def test_a_closed_watch_ends_what_listens_and_answers_with_what_it_knew(store: Store, ledger: Ledger) -> None:
    del ledger
    watch = watch_module.Watch(lambda: settings_for(store.url))
    with watch.listening() as listener:
        await listener.changes()
        known = watch.latest
        asked = asyncio.create_task(watch.look_now(), name="asked")
        await asyncio.sleep(0)
        await watch.close()
        assert (await asked).number >= known.number
        while await listener.changes() is not None:
            pass
    assert watch.listeners == 0
    assert (await watch.snapshot()) == watch.latest
    assert not watch.is_awake


async def test_a_ledger_file_that_is_gone_and_back_is_found_again(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/ledger.db"
    await record(url, [dead(1)])
    file = file_of(url)
    aside = file.with_name("aside.db")
    file.rename(aside)
    async with watching(settings_for(url)) as watch:
        await seen(watch, lambda now: now.ledger.kind == Kind.NO_LEDGER, "that it is gone")
        aside.rename(file)
        await seen(watch, lambda now: not now.ledger.is_away and now.letters.count == 1, "the file that is back")
