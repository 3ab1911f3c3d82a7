"""The watch over a real broker: depths, a consumer at work, a broker that goes away, hangs, and belongs to another."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio
from aio_pika.abc import AbstractConnection
from pamqp.commands import Basic

from signalq import OrderIntent, OrderPublisher
from signalq.amqp.ledger_mark import LedgerMark, replace_mark
from signalq.kinds import Kind
from signalq.names import Names
from signalq.ops.console.moment import depths
from signalq.ops.console.moment import watch as watch_module
from signalq.ops.console.moment.snapshot import Snapshot
from tests.support.amqp import drain, plain_channel, publish_all
from tests.support.broker import Broker, through
from tests.support.consumer import Consumer
from tests.support.proxy import CHUNK_BYTES, Proxy
from tests.support.stores import Store
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.watching import be_brisk, seen, settings_for, told, watching
from tests.support.webhook import Answer, Behaviour, Order, Webhook

CONFIG = "[connectors.main]\n[connectors.busy]\n[connectors.shut]\n"
CONNECTORS = {"main": {}, "busy": {}, "shut": {}}
SETTINGS = {"delivery.retry_after_max_s": 300, "delivery.exit_max_age_s": 3_600, "delivery.open_max_age_s": 3_600}
EXIT = {"action": "closeLong", "percent": "50", "connector_token": "t"}
# The beginning of a frame with Queue.Declare: type 1, a channel, a size, class 50, method 10.
DECLARE = re.compile(rb"\x01..\x00\x00..\x00\x32\x00\x0a", re.DOTALL)


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    be_brisk(monkeypatch)


@pytest_asyncio.fixture
async def file(tmp_path: Path, stack: AsyncExitStack) -> Store:
    """A ledger in a file: what is told of the broker is the same with each kind."""
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/ledger.db", stack)
    await store.ledger()
    return store


def answer(order: Order) -> Behaviour:
    """The webhook: `main` is well, `busy` has to wait, `shut` is refused."""
    answers = {"busy": Answer(429, headers={"Retry-After": "250"}), "shut": Answer(401)}
    return answers.get(order.connector, Answer())


async def put(url: str, queue: str, count: int) -> None:
    """So many messages, straight into a queue."""
    message = b"{}", Basic.Properties(delivery_mode=2)
    await publish_all(url, "", queue, [message] * count)


async def test_the_figures_are_right_while_a_consumer_works(
    broker: Broker, names: Names, webhook: Webhook, store: Store, brisk: None
) -> None:
    webhook.behave(answer)
    chosen = SETTINGS | {"ledger.url": store.url}
    async with (
        Consumer(broker.url, names.prefix, webhook.url, chosen, config=CONFIG) as consumer,
        OrderPublisher(broker.url, strategy="momentum", prefix=names.prefix) as orders,
        watching(settings_for(store.url, broker.url, names.prefix, CONNECTORS)) as watch,
    ):
        await consumer.started()
        for number in range(5):
            await orders.publish(OrderIntent(connector_name="main", log=str(number), **EXIT))
            await orders.publish(OrderIntent(connector_name="stranger", log=str(number), **EXIT))
        for number in range(3):
            await orders.publish(OrderIntent(connector_name="busy", log=str(number), **EXIT))
            await orders.publish(OrderIntent(connector_name="shut", log=str(number), **EXIT))
        await orders.publish(OrderIntent(connector_name="main", delay_seconds=600, **EXIT))

        def is_whole(now: Snapshot) -> bool:
            busy = now.lane("busy")
            waits = busy is not None and busy.backs_off and busy.waiting == 3 and busy.next_ms is not None
            is_told = (sum(now.total.delivered), now.letters.count, now.scheduled) == (10, 3, 1)
            return waits and is_told and not (now.ledger.is_away or now.broker.is_away)

        now = await seen(watch, is_whole, "all of it")
        assert now.other_ledger is None
        by_name = {lane.connector: lane for lane in now.lanes}
        assert [by_name[name].is_consumed for name in ("main", "busy", "shut", None)] == [True] * 4
        assert {by_name[name].consumer for name in ("main", "busy", "shut", None)} == {now.living[0].name}
        assert now.lanes_of(now.living[0]) == 4
        assert (sum(by_name["main"].short.delivered), sum(by_name[None].short.delivered)) == (5, 5)
        assert sum(by_name["shut"].short.dead) == 3
        assert by_name["shut"].last is not None and by_name["shut"].last.http_status == 401  # noqa: PT018
        assert (by_name["busy"].failures, by_name["busy"].why) == (1, "HTTP 429")
        ready = await seen(watch, lambda now: now.letters.ready == 3 and now.posts.count >= 10, "letters and POSTs")
        assert not ready.letters.is_read
        assert now.lanes[0].connector == "busy", "that needs a person first"

        # A lane that nobody consumes, and a letter that the ledger does not know.
        consumer.kill()
        await put(broker.url, names.lane("main"), 7)
        await put(broker.url, names.dead, 1)
        now = await seen(watch, lambda now: now.lane("main").is_unread and not now.living, "that nobody consumes it")
        main = now.lane("main")
        assert main is not None and (main.ready, main.held, main.consumer) == (7, 0, None)  # noqa: PT018
        assert now.last_consumer is not None
        await seen(watch, lambda now: now.letters.ready == 4, "the strange letter")
        notices = await seen(watch, lambda now: "no-consumer" in {one.key for one in now.attention}, "the notice")
        assert notices.waiting >= 7


async def test_a_lane_without_a_queue_and_one_that_no_setting_names_any_more(
    broker: Broker, names: Names, file: Store, leftover_queues: list[str], brisk: None
) -> None:
    retired, gone = names.lane("retired"), names.lane("gone")
    ledger = await file.ledger()
    for queue in (retired, gone):
        await ledger.open_lane(queue)
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(retired, durable=True)
    leftover_queues.append(retired)
    await put(broker.url, retired, 2)
    async with watching(settings_for(file.url, broker.url, names.prefix, {"new": {}})) as watch:
        now = await seen(watch, lambda now: now.lane("retired") and names.lane("new") in watch._broker.depths, "both")
        new, old = now.lane("new"), now.lane("retired")
        assert new is not None and (new.ready, new.is_consumed, new.is_unread) == (None, False, False)  # noqa: PT018
        assert old is not None and (old.ready, old.is_retired, old.is_own) == (2, True, True)  # noqa: PT018
        assert now.lane("gone") is None
        async with plain_channel(broker.url) as channel:
            await channel.queue_delete(retired)
        await seen(watch, lambda now: now.lane("retired") is None, "the retired lane's end")


async def test_a_broker_that_is_cut_off_leaves_the_last_figures_and_comes_back(
    broker: Broker, names: Names, link: Proxy, file: Store, brisk: None
) -> None:
    await put(broker.url, names.orders, 3)
    async with watching(settings_for(file.url, through(link, broker.url), names.prefix)) as watch:
        with watch.listening() as listener:
            now = await seen(watch, lambda now: now.lane(None).ready == 3, "the depth of the shared lane")
            await link.cut(refuse=True)
            away = await seen(watch, lambda now: now.broker.is_away, "the broker that is away")
            shared = away.lane(None)
            assert shared is not None and shared.ready == 3  # noqa: PT018
            assert away.broker.seen_ms is not None and away.broker.seen_ms >= now.now_ms - 10_000  # noqa: PT018
            assert "broker" in {one.key for one in away.attention}
            assert not away.ledger.is_away
            old = await seen(watch, lambda now: now.lane(None).is_old, "that the figure is old")
            assert old.lane(None).ready_ms == shared.ready_ms
            while await asyncio.wait_for(listener.changes(), PATIENCE_S):
                pass  # up to the first look without any change
            await put(broker.url, names.orders, 2)
            link.heal()
            await seen(watch, lambda now: not now.broker.is_away and now.lane(None).ready == 5, "the broker's answer")
            await told(listener, "lanes")


async def test_a_broker_that_hangs_is_told_to_be_away_and_the_ledger_is_read_meanwhile(
    broker: Broker, names: Names, link: Proxy, file: Store, brisk: None
) -> None:
    async with watching(settings_for(file.url, through(link, broker.url), names.prefix)) as watch:
        await seen(watch, lambda now: now.broker.seen_ms and not now.broker.is_away, "the broker's answer")
        link.stall()
        hung = await seen(watch, lambda now: now.broker.is_away, "that it hangs")
        assert hung.broker.kind == Kind.NO_ANSWER
        later = await seen(watch, lambda now: now.number > hung.number + 1, "further snapshots")
        assert later.ledger.seen_ms is not None and hung.ledger.seen_ms is not None  # noqa: PT018
        assert later.ledger.seen_ms > hung.ledger.seen_ms
        link.heal()
        await seen(watch, lambda now: not now.broker.is_away, "the broker's answer")


async def test_a_broker_whose_lanes_belong_to_another_ledger_is_told_in_a_sentence(
    broker: Broker, names: Names, file: Store, connection: AbstractConnection, brisk: None
) -> None:
    await replace_mark(connection, names, LedgerMark("another", "sqlite:///elsewhere.db"))
    async with watching(settings_for(file.url, broker.url, names.prefix)) as watch:
        now = await seen(watch, lambda now: now.other_ledger, "the mark")
        assert "sqlite:///elsewhere.db (another)" in now.other_ledger
        assert "other-ledger" in {one.key for one in now.attention}


async def test_while_nothing_happens_nothing_is_told(broker: Broker, names: Names, file: Store, brisk: None) -> None:
    """Signs of life come and go, ages rise, depths are asked for: no page has to be fetched for that."""
    settings = settings_for(file.url, broker.url, names.prefix, {"main": {}})
    async with watching(settings) as watch:
        await seen(watch, lambda now: now.living and len(watch._broker.depths) == 4, "all answers")
        with watch.listening() as listener:
            await listener.changes()
            told_of = [await asyncio.wait_for(listener.changes(), PATIENCE_S) for _ in range(15)]
    assert told_of == [frozenset()] * 15


class CountsDeclares(Proxy):
    """Notes when a client asks about a queue."""

    def __init__(self, target_port: int) -> None:
        super().__init__(target_port)
        self.asked_s: list[float] = []

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while chunk := await source.read(CHUNK_BYTES):
            self.asked_s += [time.monotonic()] * len(DECLARE.findall(chunk))
            sink.write(chunk)
            await sink.drain()
        raise ConnectionResetError


def most_within(times_s: Sequence[float], span_s: float) -> int:
    """How many of these times lie within any span of so long, at most."""
    return max(sum(began_s <= at_s < began_s + span_s for at_s in times_s) for began_s in times_s)


async def test_of_300_lanes_at_most_50_are_asked_about_in_any_second(broker: Broker, names: Names, file: Store) -> None:
    """Also while people change things, which makes looks of its own. Most of the lanes have no queue: each answer to
    that closes a channel.
    """
    connectors = {f"lane-{number}": {} for number in range(300)}
    port = int(broker.url.rpartition(":")[2].strip("/"))
    async with (
        CountsDeclares(port) as link,
        watching(settings_for(file.url, through(link, broker.url), names.prefix, connectors)) as watch,
    ):
        watch.show(["lane-299"])
        await watch.snapshot()
        for _ in range(4):
            await watch.look_now()
        await wait_until(lambda: len(link.asked_s) > 3 * depths.QUESTIONS_PER_S, what="three seconds' questions")
        lasted_s = link.asked_s[-1] - link.asked_s[0]
        # What is sent a second apart may arrive a little closer.
        assert most_within(link.asked_s, 0.9) <= depths.QUESTIONS_PER_S
        assert len(link.asked_s) <= depths.QUESTIONS_PER_S * (lasted_s + 1)
        assert names.lane("lane-299") in watch._broker.depths
        assert len(watch.latest.lanes) > watch_module.VISIBLE_LANES


async def test_messages_are_counted_and_not_touched(broker: Broker, names: Names, file: Store, brisk: None) -> None:
    """The watch reads a queue's depth, and never a message of it but the ledger's mark, which it gives back."""
    body = json.dumps({"connectorName": "main"}).encode()
    await publish_all(broker.url, "", names.orders, [(body, Basic.Properties(delivery_mode=2))])
    async with watching(settings_for(file.url, broker.url, names.prefix)) as watch:
        await seen(watch, lambda now: now.lane(None).ready == 1, "the message")
        for _ in range(3):
            await watch.look_now()
        (message,) = await drain(broker.url, names.orders)
        assert not message.redelivered
