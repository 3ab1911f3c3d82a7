"""A stranger floods the gateway, and honest alerts go on; the long form is tests/faults/test_gateway_flood.py."""

from __future__ import annotations

import asyncio
import json

import pytest

from signalq.amqp.topology import Topology
from signalq.producers.gateway.answers import WEBHOOK_PATH
from signalq.producers.gateway.refusals import GUESSES_MAX
from tests.support.amqp import depth
from tests.support.broker import Broker
from tests.support.gateway_flood import honest_ms, request, stranger
from tests.support.gateways import ALERT, Front, gateway
from tests.support.waiting import wait_until


def alert(number: int) -> bytes:
    return json.dumps(ALERT | {"log": str(number)}).encode()


@pytest.fixture
def queue(topology: Topology) -> str:
    """Where what has no lane of its own arrives."""
    return topology.names.orders


async def test_a_stranger_with_the_worst_bodies_holds_no_honest_alert_up_and_orders_nothing(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix) as front:
        async with stranger(front.port, "unknown", 300):
            took = await honest_ms(front.url, alert, 30, 0.05)
        async with stranger(front.port, "duplicates", 60, 43):
            took += await honest_ms(front.url, alert, 30, 0.05)
        assert await depth(broker.url, queue) == 60
        # 0.5 s is what the long form holds on a machine of its own; here others run beside it.
        assert sorted(took)[-2] < 1500, took
        assert len(front.events("alert.refused")) < 50


async def test_many_guesses_are_429_and_a_right_token_at_the_same_address_is_ok(
    broker: Broker, queue: str, prefix: str
) -> None:
    async with gateway(broker.url, prefix) as front:
        guesses = [(await front.post(ALERT | {"connectorToken": f"guess-{n}"}))[0] for n in range(GUESSES_MAX + 20)]
        assert guesses.count(401) >= GUESSES_MAX
        assert guesses.count(429) >= 10
        assert await front.post(ALERT) == (200, "ok")
        wrong = [(await front.post(ALERT, f"/secret-{number}{WEBHOOK_PATH}"))[0] for number in range(10)]
        assert 429 in wrong
        large = json.dumps(ALERT | {"connectorToken": "guess", "log": "x" * 5000}).encode()
        assert (await front.post(large))[0] == 429
        assert len(front.events("alert.refused")) < 50
    assert await depth(broker.url, queue) == 1
    assert sum(line["count"] for line in front.events("alert.refused_unlogged")) > 40


async def test_slow_senders_and_bodies_in_crumbs_occupy_nothing(broker: Broker, queue: str, prefix: str) -> None:
    async with gateway(broker.url, prefix) as front:
        slow = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(300)]
        try:
            for number, (_, writer) in enumerate(slow):
                head, _, body = request("unknown").partition(b"\r\n\r\n")
                writer.write(head[:40] if number % 2 else head + b"\r\n\r\n" + body[:100])
            assert await front.post(alert(0)) == (200, "ok")
            async with stranger(front.port, "crumbs", 20):
                assert max(await honest_ms(front.url, alert, 10, 0.05)) < 1500
            statuses = [await _status(reader) for reader, _ in slow[::2]]
        finally:
            for _, writer in slow:
                writer.transport.abort()
        assert set(statuses) <= {408, 429}, "a body that never ends is given up after 2.5 s"
        await wait_until(lambda: _connections(front), what="the connections to be gone")
    assert await depth(broker.url, queue) == 11


async def _status(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(10):
        return int((await reader.readuntil(b"\r\n")).split()[1])


async def _connections(front: Front) -> bool:
    return "signalq_gateway_connections 1.0" in (await front.get("/metrics"))[1]
