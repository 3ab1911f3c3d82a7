"""The link between consumer and broker cut, stalled and slow: noticed, mended, and nothing sent again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from yarl import URL

from signalq.names import Names
from tests.support.broker import Broker, through
from tests.support.intents import make_intents
from tests.support.proxy import CHUNK_BYTES, Proxy
from tests.support.scene import Scene, scene
from tests.support.waiting import elapsed, wait_until

CONNECTORS = 8
LATENCY_S = 0.02
# The watchdog looks every 10 s and waits as long for an answer; the heartbeat (1 s here) is to be faster than that.
NOTICED_WITHIN_S = 15.0


class SlowProxy(Proxy):
    """Every piece of the conversation arrives late."""

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(512):
            await elapsed(LATENCY_S)
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError


class HalfDeafProxy(Proxy):
    """Of what the broker says on a new connection it passes on the first `heard_bytes`, and nothing more."""

    heard_bytes = sys.maxsize

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self._from_broker: set[asyncio.StreamReader] = set()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await super()._connected()
        self._from_broker.add(reader)
        return reader, writer

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        left = self.heard_bytes if source in self._from_broker else sys.maxsize
        while chunk := await source.read(CHUNK_BYTES):
            sink.write(chunk[:left])
            left -= len(chunk[:left])
            await sink.drain()
        raise ConnectionResetError


@pytest_asyncio.fixture
async def slow_link(broker: Broker) -> AsyncIterator[Proxy]:
    """As `link`, with LATENCY_S in each direction and some 25 kB/s."""
    async with SlowProxy(URL(broker.url).port or 5672) as proxy:
        yield proxy


async def test_a_link_that_is_cut_again_and_again_costs_time_and_repeats_nothing(
    broker: Broker, names: Names, link: Proxy
) -> None:
    """Cut in the middle of deliveries, POSTs, confirms and acknowledgements. An acknowledgement may be lost with the
    link: then only what has no message_id is in doubt, for nobody can tell it from a second order.
    """
    async with scene(broker.url, names, seed=31) as play:
        consumer = await play.consumer(url=through(link, broker.url))
        intents = make_intents(play.rng, 400, connectors=CONNECTORS)
        play.publish(intents)
        for cut in range(6):
            before = len(play.hook.orders)
            await play.posted(before + play.rng.randrange(5, 30))
            await link.cut(refuse=cut % 2 == 1)
            await elapsed(play.rng.uniform(0, 0.3))
            link.heal()
            await _consumes_again(play)
        account = await play.account()
        assert len(consumer.events("broker.lane_lost")) >= 6
        account.check(doubts_max=sum(intent.message_id is None for intent in intents))
        assert set(account.in_doubt) <= {"no message_id, came again"}, account.table()


@pytest.mark.long
async def test_a_link_on_which_nothing_moves_any_more_is_noticed_and_left(
    broker: Broker, names: Names, link: Proxy
) -> None:
    """The zombie: both ends look connected. Neither end sees a heartbeat, and each gives the other up."""
    async with scene(broker.url, names, seed=32) as play:
        consumer = await play.consumer(url=through(link, broker.url))
        intents = make_intents(play.rng, 300, connectors=CONNECTORS)
        play.publish(intents)
        await play.posted(40)
        link.stall()
        await wait_until(lambda: consumer.events("broker.lane_lost"), NOTICED_WITHIN_S, what="the loss to be noticed")
        assert (await consumer.get("/readyz"))[0] == 503
        assert (await consumer.get("/startupz"))[0] == (await consumer.get("/healthz"))[0] == 200, (
            "restarting it would not mend the link"
        )
        await link.cut()
        link.heal()
        account = await play.account()
        account.check(doubts_max=sum(intent.message_id is None for intent in intents))
        assert set(account.in_doubt) <= {"no message_id, came again"}, account.table()


@pytest.mark.long
@pytest.mark.parametrize("heard_bytes", [1500, 2500])
async def test_a_broker_that_falls_silent_while_its_lanes_are_opened_again_ends_no_consumer(
    broker: Broker, names: Names, heard_bytes: int
) -> None:
    """Until its lanes are consumed it hears some 2,900 bytes: the topology is declared, the ledger's mark is read."""
    async with HalfDeafProxy(URL(broker.url).port or 5672) as link, scene(broker.url, names, seed=34) as play:
        consumer = await play.consumer(url=through(link, broker.url))
        link.heard_bytes = heard_bytes
        await link.cut()
        await wait_until(lambda: consumer.events("broker.unreachable"), NOTICED_WITHIN_S, what="the silence noticed")
        link.heard_bytes = sys.maxsize
        await link.cut()
        await _consumes_again(play)
        play.publish(make_intents(play.rng, 50, connectors=CONNECTORS))
        account = await play.account()
        account.check(doubts_max=0)


@pytest.mark.long
async def test_over_a_slow_link_everything_arrives_once_and_in_order(
    broker: Broker, names: Names, slow_link: Proxy
) -> None:
    """Slowness alone is no failure: no connection is given up for it."""
    async with scene(broker.url, names, seed=33) as play:
        consumer = await play.consumer({"broker.heartbeat_s": 4}, url=through(slow_link, broker.url))
        play.publish(make_intents(play.rng, 120, connectors=CONNECTORS))
        account = await play.account()
        assert not consumer.events("broker.lane_lost")
        account.check(doubts_max=0)


async def _consumes_again(play: Scene) -> None:
    async def is_ready() -> bool:
        return (await play.consumers[-1].get("/readyz"))[0] == 200

    await wait_until(is_ready, what="the consumer to be ready again")
