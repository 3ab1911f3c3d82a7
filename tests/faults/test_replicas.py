"""Two replicas and more on one ledger: killed, frozen, cut off, stopped (contract 2, order; contract 3, the law)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import pytest
from yarl import URL

from signalq.consumer.ledger import ALIVE_PERIOD_S
from signalq.local import PrivatePostgres
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.freezing import begun_before_the_freeze, freeze
from tests.support.intents import Intent, make_intents
from tests.support.postgres import connected, fresh_database
from tests.support.proxy import Proxy
from tests.support.scene import SETTINGS, Scene, scene
from tests.support.waiting import PATIENCE_S, elapsed, wait_until

CONNECTORS = 8
TAKEOVER_S = 2.0
# Beside other tests. What a takeover must not wait for takes longer: three heartbeats, or a look of the watchdog.
BUSY_TAKEOVER_S = 5.0
# A frozen consumer is noticed by its missing heartbeats (one each second, in these tests), and not before.
FROZEN_TAKEOVER_S = 8.0
# Slow enough that every connector has orders waiting at each fault.
ANSWERS_AFTER_S = (0.02, 0.08)
READY_S = 30.0
OWN_LANES = 12
# Between two orders of a connector: some are always on their way while lanes go over.
PACE_S = 0.4


@dataclass(frozen=True)
class Haste:
    """A consumer's program; within how many seconds it has settled whose lanes are whose (SETTLE_S, REBALANCE_PERIOD_S
    and HOLD_S), and is replaced once it can't write its ledger (LEDGER_LOST_S, one or two looks, and then as after a
    kill).
    """

    is_hasty: bool
    spread_s: float
    takeover_s: float

    def command(self, what: str) -> tuple[str, ...]:
        """Runs it."""
        return ("-m", "tests.support.hasty", what) if self.is_hasty else ("-m", "signalq.consumer")


HASTY = pytest.param(Haste(True, 4.0, 9.0), id="hasty")
AS_EVER = pytest.param(Haste(False, 11.0, 12.0), marks=pytest.mark.long, id="as ever")


@pytest.mark.parametrize(
    ("kills", "takeover_s"), [(2, BUSY_TAKEOVER_S), pytest.param(12, TAKEOVER_S, marks=pytest.mark.long)]
)
async def test_killed_in_turn_the_other_takes_over_every_connector_within_seconds_and_in_order(
    broker: Broker, names: Names, any_ledger: str | None, kills: int, takeover_s: float
) -> None:
    """What each connector had on the wire is in doubt; nothing else is lost, repeated or out of order."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=61) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        await play.consumer()
        await play.consumer()
        intents, takeovers = list[Intent](), list[float]()
        for _ in range(kills):
            load = _load(play, 300)
            await _posting(play, load, 3)
            takeovers.append(await _takeover_s(play, load, await _kill_the_active_one(play)))
            await play.consumer()
            intents += load
        _tell(f"first POST of the slowest connector after each kill, in s: {_seconds(takeovers)}")
        assert max(takeovers) < takeover_s, f"slowest first POST after each kill, in s: {_seconds(takeovers)}"
        account = await play.account()
        # Each load has connectors of its own, and those before it may still be at work when the next kill comes.
        on_the_wire_max = CONNECTORS * kills * (kills + 1) // 2
        assert account.in_doubt["cut off while sending"] <= on_the_wire_max, account.table()
        account.check(doubts_max=on_the_wire_max + _without_id(intents))


@pytest.mark.parametrize("frozen_s", [5.0, pytest.param(60.0, marks=pytest.mark.long)])
async def test_frozen_and_woken_it_is_fenced_off_and_finds_its_place_again(
    broker: Broker, names: Names, postgres_url: str, frozen_s: float
) -> None:
    """At most the POSTs that were on the wire arrive late; the woken one stands by, and takes over when asked to."""
    async with scene(broker.url, names, ledger_url=postgres_url, seed=62) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        both = [await play.consumer(), await play.consumer()]
        intents = _load(play, 1000)
        await _posting(play, intents, 3)
        frozen = await _active(play)
        (other,) = (consumer for consumer in both if consumer is not frozen)
        await freeze(play, frozen, in_a_transaction=False)
        takeover_s = await _takeover_s(play, intents, time.time_ns(), FROZEN_TAKEOVER_S)
        _tell(f"first POST of the slowest connector after the freeze: {takeover_s:.2f} s")
        await elapsed(max(0.0, frozen_s - takeover_s))
        frozen.thaw()
        await wait_until(lambda: frozen.events("broker.reconnected"), what="the woken one to connect again")
        await _ready(frozen)
        before = len(frozen.events("delivery.attempted"))
        await asyncio.to_thread(other.kill)
        intents += _load(play, 80)
        await wait_until(lambda: len(frozen.events("delivery.attempted")) > before, what="its POSTs")
        await play.account()
        late = begun_before_the_freeze(play)
        account = play.accountant.account(intents, may_overtake=late)
        assert account.in_doubt["cut off while sending"] <= 2 * CONNECTORS, account.table()
        account.check(doubts_max=2 * CONNECTORS + _without_id(intents))


@pytest.mark.parametrize("haste", [HASTY, AS_EVER])
async def test_lanes_go_over_to_the_replica_whose_they_are_and_come_back_when_that_one_is_stopped(
    broker: Broker, names: Names, any_ledger: str | None, leftover_queues: list[str], haste: Haste
) -> None:
    """Handed over under load, and drained under load: nothing is cut off, nothing out of order, exit status 0."""
    async with scene(broker.url, names, ledger_url=any_ledger, seed=63) as play:
        play.command = haste.command("spread")
        intents = make_intents(play.rng, 60 * OWN_LANES, connectors=OWN_LANES, delays_s=None)
        connectors = sorted({intent.connector for intent in intents})
        leftover_queues += [names.lane(connector) for connector in connectors]
        config = "".join(f'[connectors.{connector}]\ntoken = "a-token"\n' for connector in connectors)
        first = await play.consumer(config=config)
        play.producer.pause = lambda: elapsed(PACE_S)
        play.publish(intents)
        # Before there is a second one: lanes without a message go over in silence.
        await wait_until(lambda: _posts_of(first) == set(connectors), what="a POST on each lane")
        second = await play.consumer(config=config)
        await elapsed(haste.spread_s)
        await wait_until(lambda: _handed_over(first, names, connectors), what="lanes to go over")
        went = _handed_over(first, names, connectors)
        assert not _handed_over(second, names, connectors), "what went over stays there"
        await wait_until(lambda: went <= _posts_of(second), what="the second one's POSTs on the lanes it got")
        assert 0 < len(went) < OWN_LANES, went
        began_s, taken = time.monotonic(), len(first.events("delivery.attempted"))
        assert await second.terminate() == 0
        took_s = time.monotonic() - began_s
        play.producer.pause = None
        assert took_s < SETTINGS["delivery.drain_timeout_s"]
        await wait_until(lambda: went <= _posts_of(first, taken), what="the first one's POSTs on those lanes")
        assert not first.events("ledger.not_writable"), "two that work on one ledger don't stop each other"
        account = await play.account()
        _tell(f"{len(went)} of {OWN_LANES} lanes went over; the drain took {took_s:.2f} s")
        assert not account.in_doubt["cut off while sending"], account.table()
        account.check(doubts_max=_without_id(intents))


@pytest.mark.parametrize("haste", [HASTY, AS_EVER])
async def test_cut_off_from_its_ledger_it_gives_its_lanes_up_and_comes_back_when_the_ledger_answers(
    broker: Broker, names: Names, postgres_url: str, haste: Haste
) -> None:
    """It has the broker, and so the broker would never take its lanes away."""
    port = URL(postgres_url).port or 5432
    async with Proxy(port) as one, Proxy(port) as two, scene(broker.url, names, ledger_url=postgres_url) as play:
        play.answers_after_s = ANSWERS_AFTER_S
        play.command = haste.command("lifeline")
        wires = {await play.consumer({"ledger.url": _through(wire, postgres_url)}): wire for wire in (one, two)}
        await _know_each_other(postgres_url)
        intents = _load(play, 600)
        await _posting(play, intents, 3)
        cut_off = await _active(play)
        (other,) = (consumer for consumer in wires if consumer is not cut_off)
        wire = wires[cut_off]
        wire.stall()
        takeover_s = await _takeover_s(play, intents, time.time_ns(), haste.takeover_s)
        _tell(f"first POST of the slowest connector after the cut: {takeover_s:.2f} s")
        assert (await cut_off.get("/readyz"))[0] == 503
        wire.heal()
        await _ready(cut_off)
        await asyncio.to_thread(other.kill)
        before = len(cut_off.events("delivery.attempted"))
        intents += _load(play, 80)
        await wait_until(lambda: len(cut_off.events("delivery.attempted")) > before, what="its POSTs")
        account = await play.account()
        assert account.in_doubt["cut off while sending"] <= 2 * CONNECTORS, account.table()
        account.check(doubts_max=2 * CONNECTORS + _without_id(intents))


@pytest.mark.long
async def test_a_single_replica_keeps_its_lanes_for_longer_while_its_ledger_is_away(
    broker: Broker, names: Names, postgres_url: str
) -> None:
    """Nobody else could do better; what it holds is recorded when the ledger is back, and nothing is in doubt."""
    async with Proxy(URL(postgres_url).port or 5432) as wire, scene(broker.url, names, ledger_url=postgres_url) as play:
        consumer = await play.consumer({"ledger.url": _through(wire, postgres_url)})
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
        intents = list[Intent]()
        for away_s in (1.0, 8.0, 0.1, 12.0):
            load = _load(play, 300)
            intents += load
            await _posting(play, load, 5)
            await asyncio.to_thread(mortal_postgres.kill)
            await elapsed(away_s)
            await asyncio.to_thread(mortal_postgres.start)
        account = await play.account()
        assert account.in_doubt["cut off while sending"] <= 2 * CONNECTORS, account.table()
        account.check(doubts_max=2 * CONNECTORS + _without_id(intents))


# ---- helpers ----


def _handed_over(consumer: Consumer, names: Names, connectors: list[str]) -> set[str]:
    """The connectors whose lanes it has handed over so far."""
    gone = {line["queue"] for line in consumer.events("broker.lane_handed_over")}
    return {connector for connector in connectors if names.lane(connector) in gone}


def _posts_of(consumer: Consumer, since: int = 0) -> set[str]:
    return {line["connector"] for line in consumer.events("delivery.attempted")[since:]}


def _load(play: Scene, count: int) -> list[Intent]:
    """Undelayed orders, so many that every connector has some waiting."""
    intents = make_intents(play.rng, count, connectors=CONNECTORS, delays_s=None)
    play.publish(intents)
    return intents


def _without_id(intents: Collection[Intent]) -> int:
    return sum(intent.message_id is None for intent in intents)


def _through(wire: Proxy, ledger_url: str) -> str:
    return str(URL(ledger_url).with_port(wire.port))


async def _know_each_other(ledger_url: str) -> None:
    """Wait until each replica has given a sign of life, and another one, since the last of them came: it has read then
    who else lives. One that is alone would keep its lanes.
    """

    async def they_do() -> bool:
        connection = await connected(ledger_url)
        try:
            row = await connection.fetchrow("SELECT min(alive_ms) - max(started_ms) AS since_ms FROM replicas")
        finally:
            await connection.close()
        return bool(row["since_ms"] > ALIVE_PERIOD_S * 1000)

    await wait_until(they_do, what="replicas that know each other")


async def _posting(play: Scene, load: Collection[Intent], each: int) -> None:
    """Wait until every connector of a load has had so many POSTs more."""
    before, connectors = len(play.hook.orders), {intent.connector for intent in load}

    def all_have() -> bool:
        counts = Counter(order.connector for order in play.hook.orders[before:])
        return all(counts[connector] >= each for connector in connectors)

    await wait_until(all_have, what=f"{each} POSTs of each connector")


async def _active(play: Scene) -> Consumer:
    """Whoever POSTs now."""
    before = {consumer: len(consumer.events("delivery.attempted")) for consumer in play.living}

    def posting() -> Consumer | None:
        return next((one for one, count in before.items() if len(one.events("delivery.attempted")) > count), None)

    active: Consumer = await wait_until(posting, what="somebody's POST")
    return active


async def _kill_the_active_one(play: Scene) -> int:
    """Returns when that was, in ns since the epoch."""
    active = await _active(play)
    killed_ns = time.time_ns()
    await asyncio.to_thread(active.kill)
    return killed_ns


async def _takeover_s(play: Scene, load: Collection[Intent], since_ns: int, timeout_s: float = PATIENCE_S) -> float:
    """Seconds from then until every connector of a load has had a POST on a connection that was opened since."""
    known = max((order.connection for order in play.hook.orders if order.at_ns <= since_ns), default=0)
    waiting = {intent.connector for intent in load}
    firsts_ns: list[int] = []
    seen = 0

    def all_went_on() -> bool:
        nonlocal seen
        for order in play.hook.orders[seen:]:
            if order.connection > known and order.at_ns > since_ns and order.connector in waiting:
                waiting.discard(order.connector)
                firsts_ns.append(order.at_ns)
        seen = len(play.hook.orders)
        return not waiting

    await wait_until(all_went_on, timeout_s, what="a POST of every connector after a fault")
    return (max(firsts_ns) - since_ns) / 1e9


async def _ready(consumer: Consumer) -> None:
    async def is_ready() -> bool:
        return (await consumer.get("/readyz"))[0] == 200

    await wait_until(is_ready, READY_S, what="200 from /readyz")


def _seconds(values: Collection[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values)


def _tell(measured: str) -> None:
    sys.stdout.write(f"\n{measured}\n")
