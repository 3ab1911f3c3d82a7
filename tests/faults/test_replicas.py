"""Two replicas and more on one ledger: killed, frozen, cut off, stopped (contract 2, order; contract 3, the law)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Collection

import pytest
from yarl import URL

from consumer.spread import desired
from deploy.local import PrivatePostgres
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.freezing import begun_before_the_freeze, freeze
from tests.support.intents import Intent, make_intents
from tests.support.postgres import connected, fresh_database
from tests.support.proxy import Proxy
from tests.support.scene import SETTINGS, Scene, scene
from tests.support.waiting import elapsed, wait_until

CONNECTORS = 8
TAKEOVER_S = 2.0
# A frozen consumer is noticed by its missing heartbeats (one each second, in these tests), and not before.
FROZEN_TAKEOVER_S = 8.0
# Slow enough that every connector has orders waiting at each fault.
ANSWERS_AFTER_S = (0.02, 0.08)
# LEDGER_LOST_S, and one or two looks; then as after a kill.
CUT_OFF_TAKEOVER_S = 12.0
READY_S = 30.0
NEWCOMERS_MAX = 20


@pytest.mark.parametrize("kills", [2, pytest.param(12, marks=pytest.mark.long)])
async def test_killed_in_turn_the_other_takes_over_every_connector_within_two_seconds_and_in_order(
    broker: Broker, names: Names, any_ledger: str | None, kills: int
) -> None:
    """What each connector had on the wire is in doubt; nothing else is lost, repeated or out of order."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=61) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        await play.consumer()
        await play.consumer()
        intents = _load(play, 150 * kills + 200)
        takeovers = []
        for _ in range(kills):
            await _posting(play, 5)
            takeovers.append(await _takeover_s(play, await _kill_the_active_one(play)))
            await play.consumer()
        _tell(f"first POST of the slowest connector after each kill, in s: {_seconds(takeovers)}")
        assert max(takeovers) < TAKEOVER_S, f"slowest first POST after each kill, in s: {_seconds(takeovers)}"
        account = await play.account()
        assert account.in_doubt["cut off while sending"] <= kills * CONNECTORS, account.table()
        account.check(doubts_max=kills * CONNECTORS + _without_id(intents))


@pytest.mark.parametrize("frozen_s", [10.0, pytest.param(60.0, marks=pytest.mark.long)])
async def test_frozen_and_woken_it_is_fenced_off_and_finds_its_place_again(
    broker: Broker, names: Names, postgres_url: str, frozen_s: float
) -> None:
    """At most the POSTs that were on the wire arrive late; the woken one stands by, and takes over when asked to."""
    async with scene(broker.url, names, ledger_url=postgres_url, seed=62) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        frozen = await play.consumer()
        intents = _load(play, 1000 + round(40 * frozen_s))
        await play.posted(40)
        other = await play.consumer()
        await freeze(play, frozen, in_a_transaction=False)
        takeover_s = await _takeover_s(play, time.time_ns(), FROZEN_TAKEOVER_S)
        _tell(f"first POST of the slowest connector after the freeze: {takeover_s:.2f} s")
        await elapsed(max(0.0, frozen_s - takeover_s))
        frozen.thaw()
        await wait_until(lambda: frozen.events("broker.reconnected"), 30, what="the woken one to connect again")
        await _ready(frozen)
        before = len(frozen.events("delivery.attempted"))
        await asyncio.to_thread(other.kill)
        intents += _load(play, 80)
        await wait_until(lambda: len(frozen.events("delivery.attempted")) > before, 15, what="its POSTs")
        await play.account()
        late = begun_before_the_freeze(play)
        account = play.accountant.account(intents, may_overtake=late)
        assert account.in_doubt["cut off while sending"] <= 2 * CONNECTORS, account.table()
        account.check(doubts_max=2 * CONNECTORS + _without_id(intents))


async def test_a_lane_goes_over_to_the_replica_whose_it_is_and_comes_back_when_that_one_is_stopped(
    broker: Broker, names: Names, postgres_url: str
) -> None:
    """Handed over under load, and drained under load: nothing is cut off, nothing out of order, exit status 0."""
    async with scene(broker.url, names, ledger_url=postgres_url, seed=63) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        first = await play.consumer()
        second = await _whose_lane_it_is(play)
        intents = _load(play, 1200)
        await wait_until(lambda: second.events("delivery.attempted"), 30, what="the second one's POSTs")
        assert first.events("broker.lane_handed_over", queue=names.orders)
        before = len(first.events("delivery.attempted"))
        await _posting(play, 5)
        began_s = time.monotonic()
        assert await second.terminate() == 0
        took_s = time.monotonic() - began_s
        await wait_until(lambda: len(first.events("delivery.attempted")) > before, 10, what="the first one's POSTs")
        account = await play.account()
        _tell(f"the drain took {took_s:.2f} s")
        assert took_s < SETTINGS["delivery.drain_timeout_s"]
        assert not account.in_doubt["cut off while sending"], account.table()
        account.check(doubts_max=_without_id(intents))


async def test_cut_off_from_its_ledger_it_gives_its_lanes_up_and_comes_back_when_the_ledger_answers(
    broker: Broker, names: Names, postgres_url: str
) -> None:
    """It has the broker, and so the broker would never take its lanes away."""
    async with Proxy(URL(postgres_url).port or 5432) as wire, scene(broker.url, names, ledger_url=postgres_url) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        cut_off = await play.consumer({"ledger.url": str(URL(postgres_url).with_port(wire.port))})
        intents = _load(play, 900)
        await play.posted(40)
        other = await play.consumer()
        await elapsed(1.0)  # known to each other by then
        wire.stall()
        takeover_s = await _takeover_s(play, time.time_ns(), CUT_OFF_TAKEOVER_S)
        _tell(f"first POST of the slowest connector after the cut: {takeover_s:.2f} s")
        assert (await cut_off.get("/readyz"))[0] == 503
        wire.heal()
        await _ready(cut_off)
        await asyncio.to_thread(other.kill)
        before = len(cut_off.events("delivery.attempted"))
        intents += _load(play, 80)
        await wait_until(lambda: len(cut_off.events("delivery.attempted")) > before, 15, what="its POSTs")
        account = await play.account()
        assert account.in_doubt["cut off while sending"] <= 2 * CONNECTORS, account.table()
        account.check(doubts_max=2 * CONNECTORS + _without_id(intents))


@pytest.mark.long
async def test_a_single_replica_keeps_its_lanes_for_longer_while_its_ledger_is_away(
    broker: Broker, names: Names, postgres_url: str
) -> None:
    """Nobody else could do better; what it holds is recorded when the ledger is back, and nothing is in doubt."""
    async with Proxy(URL(postgres_url).port or 5432) as wire, scene(broker.url, names, ledger_url=postgres_url) as play:
        consumer = await play.consumer({"ledger.url": str(URL(postgres_url).with_port(wire.port))})
        _load(play, 400)
        await play.posted(40)
        wire.stall()
        await elapsed(15)
        wire.heal()
        account = await play.account()
        assert not consumer.events("broker.lane_lost")
        account.check(doubts_max=0)


@pytest.mark.long
async def test_the_databases_server_killed_again_and_again_under_two_replicas_breaks_no_law(
    broker: Broker, names: Names, mortal_postgres: PrivatePostgres
) -> None:
    """Once shorter, once longer than the replicas keep lanes without a ledger."""
    async with fresh_database(mortal_postgres) as url, scene(broker.url, names, ledger_url=url, seed=65) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        await play.consumer()
        await play.consumer()
        intents = _load(play, 1200)
        for away_s in (1.0, 8.0, 0.1, 12.0):
            await _posting(play, 5)
            await asyncio.to_thread(mortal_postgres.kill)
            await elapsed(away_s)
            await asyncio.to_thread(mortal_postgres.start)
        account = await play.account()
        assert account.in_doubt["cut off while sending"] <= 2 * CONNECTORS, account.table()
        account.check(doubts_max=2 * CONNECTORS + _without_id(intents))


# ---- helpers ----


async def _whose_lane_it_is(play: Scene) -> Consumer:
    """Start a second replica; another one, as long as the shared lane would stay with the first."""
    first = await _owners(play)
    for _ in range(NEWCOMERS_MAX):
        second = await play.consumer()
        owners = await _owners(play)
        if desired(play.names.orders, owners) not in first:
            return second
        await second.end()
    raise AssertionError(f"the lane would stay with the first of {NEWCOMERS_MAX} pairs")


async def _owners(play: Scene) -> set[str]:
    connection = await connected(play.ledger_url)
    try:
        return {row["owner"] for row in await connection.fetch("SELECT owner FROM replicas")}
    finally:
        await connection.close()


def _load(play: Scene, count: int) -> list[Intent]:
    """Undelayed orders, so many that every connector has some waiting."""
    intents = make_intents(play.rng, count, connectors=CONNECTORS, delays_s=None)
    play.publish(intents)
    return intents


def _without_id(intents: Collection[Intent]) -> int:
    return sum(intent.message_id is None for intent in intents)


async def _posting(play: Scene, each: int) -> None:
    """Wait until every connector has had so many more POSTs."""
    before = len(play.hook.orders)

    def all_have() -> bool:
        counts: dict[str, int] = {}
        for order in play.hook.orders[before:]:
            counts[order.connector] = counts.get(order.connector, 0) + 1
        return len(counts) >= CONNECTORS and min(counts.values()) >= each

    await wait_until(all_have, 30, what=f"{each} POSTs of each connector")


async def _active(play: Scene) -> Consumer:
    """Whoever POSTs now."""
    before = {consumer: len(consumer.events("delivery.attempted")) for consumer in play.living}

    def posting() -> Consumer | None:
        return next((one for one, count in before.items() if len(one.events("delivery.attempted")) > count), None)

    active: Consumer = await wait_until(posting, 10, what="somebody's POST")
    return active


async def _kill_the_active_one(play: Scene) -> int:
    """Returns when that was, in ns since the epoch."""
    active = await _active(play)
    killed_ns = time.time_ns()
    await asyncio.to_thread(active.kill)
    return killed_ns


async def _takeover_s(play: Scene, since_ns: int, timeout_s: float = 10.0) -> float:
    """Seconds from then until every connector has had a POST on a connection that somebody has opened since."""
    known = max((order.connection for order in play.hook.orders if order.at_ns <= since_ns), default=0)
    first_ns: dict[str, int] = {}

    def all_went_on() -> bool:
        for order in play.hook.orders:
            if order.connection > known and order.at_ns > since_ns:
                first_ns.setdefault(order.connector, order.at_ns)
        return len(first_ns) == CONNECTORS

    await wait_until(all_went_on, timeout_s, what=f"a POST of every connector after a fault; so far {len(first_ns)}")
    return (max(first_ns.values()) - since_ns) / 1e9


async def _ready(consumer: Consumer) -> None:
    async def is_ready() -> bool:
        return (await consumer.get("/readyz"))[0] == 200

    await wait_until(is_ready, READY_S, what="200 from /readyz")


def _seconds(values: Collection[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _tell(measured: str) -> None:
    sys.stdout.write(f"\n{measured}\n")
