"""Whoever floods a queue takes nothing from the lanes of others: not with many messages, nor with large ones.

Times are ratios to the quiet ones, measured just before by the same means.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import aiormq
import pytest
from pamqp.commands import Basic

from signalq.names import Names
from tests.support import prefixes
from tests.support.amqp import drain, plain_channel
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.flood import DELAY_S, flood
from tests.support.pace import slowness
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

CONFIG = "[connectors.calm]\n[connectors.loud]\n"
EVERY_S = 0.04
QUIET_S = 2.0
RATIO_MAX = 3.0
P99_S_MAX = 1.0
HEALTHZ_S_MAX = 1.0


@dataclass
class Watch:
    """Exits of the connector `calm`, one each EVERY_S, and how long each took to its POST; /healthz beside them."""

    hook: Webhook
    latencies_s: list[float] = field(default_factory=list)
    healthz_s: list[float] = field(default_factory=list)

    @property
    def p50_s(self) -> float:
        return statistics.median(self.latencies_s)

    @property
    def p99_s(self) -> float:
        return sorted(self.latencies_s)[int(len(self.latencies_s) * 0.99)]


@asynccontextmanager
async def watching(
    url: str, names: Names, consumer: Consumer, hook: Webhook, *, one_by_one: bool = False
) -> AsyncIterator[Watch]:
    """Watch within the block. `one_by_one`: each exit goes when the one before has come. Else, on a machine that is too
    slow for one each EVERY_S, they queue up, and the times are those of the queue.
    """
    watch = Watch(hook)
    went_ns: dict[str, int] = {}
    came_ns: dict[str, int] = {}
    seen = 0
    port = consumer.ops_port
    ended = asyncio.Event()

    def all_came() -> bool:
        nonlocal seen
        came_ns.update({order.json["log"]: order.at_ns for order in hook.orders[seen:] if order.connector == "calm"})
        seen = len(hook.orders)
        return went_ns.keys() <= came_ns.keys()

    async def send(channel: aiormq.abc.AbstractChannel) -> None:
        while not ended.is_set():
            message_id = f"exit-{time.time_ns()}"
            body = {"connectorName": "calm", "connectorToken": "t", "action": "closeLong", "log": message_id}
            went_ns[message_id] = time.time_ns()
            properties = Basic.Properties(
                message_id=message_id, delivery_mode=2, headers={"signalq-created-ms": time.time_ns() // 1_000_000}
            )
            await channel.basic_publish(
                json.dumps(body).encode(), exchange=names.orders, routing_key="calm", properties=properties
            )
            if one_by_one:
                await wait_until(all_came, what="an exit's POST")
            await asyncio.sleep(EVERY_S)

    async def probe() -> None:
        while not ended.is_set():
            began_s = time.monotonic()
            status, _ = await consumer.get("/healthz", port)
            assert status == 200
            watch.healthz_s.append(time.monotonic() - began_s)
            await asyncio.sleep(0.1)

    async with plain_channel(url) as channel:
        tasks = [asyncio.create_task(send(channel)), asyncio.create_task(probe())]
        try:
            yield watch
        finally:
            ended.set()  # not canceled: what is noted as sent has been sent
            await asyncio.gather(*tasks)
    await wait_until(all_came, what="every exit's POST")
    watch.latencies_s = [(came_ns[name] - at_ns) / 1e9 for name, at_ns in went_ns.items()]


async def judged(consumer: Consumer, count: int, timeout_s: float, **labels: str) -> None:
    """Wait until so many intents have ended so, by the consumer's own count."""
    port = consumer.ops_port

    async def ended() -> float:
        _, text = await consumer.get("/metrics", port)
        lines = [line for line in text.splitlines() if line.startswith("signalq_intents_total{")]
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in lines if all(f'{k}="{v}"' in line for k, v in labels.items())
        )

    async with asyncio.timeout(timeout_s):
        while await ended() < count:  # noqa: ASYNC110 - it is asked of another process
            await asyncio.sleep(0.3)


async def flooded(
    broker: Broker,
    names: Names,
    hook: Webhook,
    count: int,
    kind: str,
    *queues: str,
    ending: str = "dead",
) -> tuple[Watch, Watch]:
    """Two watches, before and during a flood of each queue that goes on until all of it is judged."""
    async with Consumer(broker.url, names.prefix, hook.url, config=CONFIG) as consumer:
        await consumer.started()
        async with watching(broker.url, names, consumer, hook):
            await asyncio.sleep(QUIET_S / 2)  # it warms up
        async with watching(broker.url, names, consumer, hook) as quiet:
            await asyncio.sleep(QUIET_S)
        async with watching(broker.url, names, consumer, hook) as loud:
            for queue in queues:
                await flood(broker.url, "", f"{names.prefix}.{queue}", count, kind)
            await judged(consumer, count * len(queues), 300, status=ending)
        check_lanes(consumer)
    return quiet, loud


async def flooded_beside_a_calm_one(
    broker: Broker, names: Names, hook: Webhook, count: int, kind: str, *queues: str, ending: str = "dead"
) -> tuple[Watch, Watch]:
    """Two watches during a flood of each queue: of another consumer, whose queues nobody floods, and of this one.

    Machine and broker are the same: what both suffer is not the flood's doing in the consumer.
    """
    calm_prefix = await prefixes.lend(broker.url)
    try:
        async with (
            Consumer(broker.url, names.prefix, hook.url, config=CONFIG) as flooded_one,
            Consumer(broker.url, calm_prefix, hook.url, config=CONFIG) as calm_one,
        ):
            await asyncio.gather(flooded_one.started(), calm_one.started())
            async with (
                watching(broker.url, Names(calm_prefix), calm_one, hook, one_by_one=True) as calm,
                watching(broker.url, names, flooded_one, hook, one_by_one=True) as loud,
            ):
                for queue in queues:
                    await flood(broker.url, "", f"{names.prefix}.{queue}", count, kind)
                await judged(flooded_one, count * len(queues), 300, status=ending)
            check_lanes(flooded_one)
    finally:
        await prefixes.give_back(broker.url, calm_prefix, [])
    return calm, loud


def check_lanes(consumer: Consumer) -> None:
    """A flooded own lane is taken onto a connection of its own, once; no other is lost."""
    lost = [event["queue"] for event in consumer.events("broker.lane_lost")]
    assert lost == [event["queue"] for event in consumer.events("broker.lane_secluded")]


def check(quiet: Watch, loud: Watch) -> None:
    assert loud.p50_s <= RATIO_MAX * quiet.p50_s, f"p50 {quiet.p50_s * 1000:.1f} ms, then {loud.p50_s * 1000:.1f}"
    assert loud.p99_s < P99_S_MAX
    assert max(loud.healthz_s) < HEALTHZ_S_MAX


QUEUES = ["orders", "orders.loud", "due"]
MANY_ORDERS = "orders of many connectors"


async def test_bursts_of_the_worst_bodies_leave_an_own_lane_its_latency(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    """The short form: other tests run beside it, so its bounds are those of the worst case, at the machine's pace."""
    calm, loud = await flooded_beside_a_calm_one(broker, names, webhook, 60, "escapes and signs", *QUEUES)
    assert loud.p50_s < max(P99_S_MAX * slowness(), RATIO_MAX * calm.p50_s)
    assert max(loud.healthz_s) < max(HEALTHZ_S_MAX * slowness(), RATIO_MAX * max(calm.healthz_s))


async def test_a_burst_of_orders_in_the_shared_lane_leaves_an_own_lane_its_latency(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    """The short form; they are orders, and are POSTed, as many at a time as the shared lane may."""
    calm, loud = await flooded_beside_a_calm_one(broker, names, webhook, 500, MANY_ORDERS, "orders", ending="delivered")
    assert loud.p50_s < max(P99_S_MAX * slowness(), RATIO_MAX * calm.p50_s)


@pytest.mark.long
async def test_five_thousand_orders_in_the_shared_lane_leave_an_own_lane_its_latency(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    check(*await flooded(broker, names, webhook, 5_000, MANY_ORDERS, "orders", ending="delivered"))


INTERIM = """
import asyncio, sys

async def serve(reader, writer):
    try:
        await reader.readuntil(b"}")
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\\r\\n\\r\\n" * 10000)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        writer.transport.abort()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_a_webhook_that_floods_interim_answers_leaves_other_lanes_alone(
    broker: Broker, names: Names, webhook: Webhook
) -> None:
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", INTERIM, stdout=asyncio.subprocess.PIPE)
    try:
        assert server.stdout is not None
        port = int(await server.stdout.readline())
        config = f'[connectors.calm]\n[connectors.loud]\nurl = "http://127.0.0.1:{port}/"\n'
        settings = {"delivery.backoff_base_s": 0.05, "delivery.backoff_max_s": 0.1}
        async with Consumer(broker.url, names.prefix, webhook.url, settings, config=config) as consumer:
            await consumer.started()
            async with watching(broker.url, names, consumer, webhook) as loud:
                await flood(broker.url, "", names.lane("loud"), 30, "small loud orders")
                await judged(consumer, 30, 30, status="dead", reason="outcome-unknown")
    finally:
        server.kill()
        await server.wait()
    assert loud.p50_s < P99_S_MAX


@pytest.mark.long
@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize("kind", ["unknown fields", "escapes and signs"])
async def test_fifteen_hundred_of_the_worst_bodies_leave_an_own_lane_its_latency(
    broker: Broker, names: Names, webhook: Webhook, queue: str, kind: str
) -> None:
    check(*await flooded(broker, names, webhook, 1_500, kind, queue))


@pytest.mark.long
@pytest.mark.parametrize("queue", QUEUES)
@pytest.mark.parametrize(("kind", "count"), [("small junk", 20_000), ("a mebibyte", 200)])
async def test_very_many_and_very_large_bodies_leave_an_own_lane_its_latency(
    broker: Broker, names: Names, webhook: Webhook, queue: str, kind: str, count: int
) -> None:
    quiet, loud = await flooded(broker, names, webhook, count, kind, queue)
    check(quiet, loud)


# --- memory ----------------------------------------------------------------------------------------------------------

RSS_BYTES_MAX = 300_000_000


def peak_bytes(consumer: Consumer) -> int:
    """The most memory that it has had."""
    status = Path(f"/proc/{consumer.pid}/status").read_text("ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize(
    ("kind", "count", "size"),
    [
        ("10 MiB", 3, 10 * 1_048_576),
        pytest.param("50 MiB", 12, 50 * 1_048_576, marks=pytest.mark.long),
    ],
)
async def test_a_letter_keeps_the_beginning_of_a_body_without_measure_and_the_consumer_no_more(
    broker: Broker, names: Names, webhook: Webhook, kind: str, count: int, size: int
) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url, config=CONFIG) as consumer:
        await consumer.started()
        await flood(broker.url, "", names.orders, count, kind)
        await judged(consumer, count, 60, status="dead", reason="invalid")
        assert peak_bytes(consumer) < RSS_BYTES_MAX
    letters = await drain(broker.url, names.dead, count)
    assert {(len(letter.body), letter.headers["signalq-body-bytes"]) for letter in letters} == {(65_536, size)}
    assert f"the body has {size} bytes" in str(letters[0].headers["signalq-detail"])


async def test_a_body_of_up_to_a_mebibyte_is_kept_whole(broker: Broker, names: Names, webhook: Webhook) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url, config=CONFIG) as consumer:
        await consumer.started()
        await flood(broker.url, "", names.lane("loud"), 30, "a mebibyte")
        await judged(consumer, 30, 60, status="dead", reason="invalid")
    letters = await drain(broker.url, names.dead, 30)
    assert {letter.body for letter in letters} == {b"x" * 1_048_576}
    assert not any("signalq-body-bytes" in letter.headers for letter in letters)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_ten_thousand_large_orders_due_in_one_second_fit(broker: Broker, names: Names) -> None:
    """None is lost, and none is early."""
    began_ms, count = time.time_ns() // 1_000_000, 10_000
    settings = {"delivery.open_max_age_s": 3600}
    async with Recorder() as hook, Consumer(broker.url, names.prefix, hook.url, settings, config=CONFIG) as consumer:
        await consumer.started()
        await flood(broker.url, names.orders, "any", count, "delayed orders")
        await judged(consumer, count, 300, status="scheduled")
        await judged(consumer, count, 300, status="delivered")
        assert sorted(hook.came_ms) == sorted(map(str, range(count)))
        early = [name for name, at_ms in hook.came_ms.items() if at_ms < began_ms + DELAY_S * 1000 + int(name) % 1000]
        assert not early
        assert peak_bytes(consumer) < RSS_BYTES_MAX


class Recorder:
    """A webhook that keeps of each order its clientOrderId, and when it came."""

    def __init__(self) -> None:
        self.came_ms: dict[str, float] = {}
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where to POST."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_exc: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                at_ms = time.time_ns() / 1e6
                length = int(head.lower().partition(b"content-length:")[2].split()[0])
                name = json.loads(await reader.readexactly(length))["clientOrderId"]
                assert name not in self.came_ms
                self.came_ms[name] = at_ms
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()
