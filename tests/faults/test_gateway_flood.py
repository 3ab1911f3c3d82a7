"""1,500 bodies of each worst kind at once, and then 43 a second, from a stranger: honest alerts stay under 0.5 s."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from signalq.amqp.topology import Topology
from tests.support.amqp import depth
from tests.support.broker import Broker
from tests.support.gateway_flood import BODIES, honest_ms, request, stranger
from tests.support.gateways import ALERT, gateway

BURST, STEADY, STEADY_PER_S = 1500, 430, 43.0
HONEST, EVERY_S = 400, 0.025
P99_MS = 500.0
RSS_MAX_MB = 240


def alert(number: int) -> bytes:
    return json.dumps(ALERT | {"log": str(number)}).encode()


def peak_mb(pid: int) -> int:
    """The most memory that the process has had."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", [*BODIES, "crumbs"])
async def test_honest_alerts_stay_under_half_a_second_in_a_flood_of_the_worst_bodies(
    kind: str, broker: Broker, topology: Topology, prefix: str
) -> None:
    async with gateway(broker.url, prefix) as front:
        for count, rate_per_s in ((BURST, None), (STEADY, STEADY_PER_S)):
            async with stranger(front.port, kind, count, rate_per_s):
                took = await honest_ms(front.url, alert, HONEST, EVERY_S)
            assert took[round(HONEST * 0.99) - 1] < P99_MS, (count, took[-10:])
        assert await depth(broker.url, topology.names.orders) == 2 * HONEST
        assert len(front.events("alert.refused")) < 300
        assert peak_mb(front.process.pid) < RSS_MAX_MB


@pytest.mark.long
@pytest.mark.timeout(120)
async def test_two_thousand_slow_senders_keep_nobody_out(broker: Broker, topology: Topology, prefix: str) -> None:
    async with gateway(broker.url, prefix) as front:
        begun = request("unknown")[:120]
        slow = [await asyncio.open_connection("127.0.0.1", front.port) for _ in range(2_100)]
        try:
            for _, writer in slow:
                writer.write(begun[:40])
            assert (await honest_ms(front.url, alert, 100, 0.02))[98] < P99_MS
            for _, writer in slow:
                writer.write(begun[40:])
            assert (await honest_ms(front.url, alert, 100, 0.02))[98] < P99_MS
        finally:
            for _, writer in slow:
                writer.transport.abort()
    assert await depth(broker.url, topology.names.orders) == 200
