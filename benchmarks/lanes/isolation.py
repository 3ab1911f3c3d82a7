"""Does a webhook that hangs for one connector delay the orders of another?

In one run: both halves with the same load on those that are measured, the first with all webhooks healthy, the second
with one of them hanging. Latency is from the start of publish to the first byte of the POST.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endpoint import Endpoint
from benchmarks.lanes.running import running
from signalq.amqp.publisher import ConfirmedPublisher
from signalq.message.envelope import publish_properties
from signalq.names import Names

SHARED_CONNECTORS = 20
HANGING_WAIT = 300
# Of each own lane: well below what one connector can do, an order a round trip, on a machine that has other work too.
OWN_RATE_PER_S = 20.0
# Of all connectors of the shared lane together.
SHARED_RATE_PER_S = 100.0
WARM_UP_ORDERS = 100
ARRIVE_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Half:
    """Latency in ms of those that don't hang."""

    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Isolation:
    """Both halves of one run."""

    healthy: Half
    beside_hanging: Half

    @property
    def p99_ratio(self) -> float:
        """What the hanging one costs the others."""
        return self.beside_hanging.p99_ms / self.healthy.p99_ms


class Producer:
    """Publishes orders at a steady rate, and knows when each was begun."""

    def __init__(self, broker_url: str, names: Names, endpoint: Endpoint) -> None:
        self._publisher = ConfirmedPublisher(broker_url, name="signalq benchmark")
        self._names = names
        self._endpoint = endpoint
        self._began_s: dict[str, float] = {}

    async def publish(self, connector: str) -> str:
        """One order; returns what tells it apart."""
        key = uuid.uuid4().hex
        body = {"connectorName": connector, "connectorToken": "t", "action": "buy", "percent": "1", "log": key}
        properties = publish_properties(message_id=key, strategy_name="bench", created_ms=time.time_ns() // 1_000_000)
        self._began_s[key] = self._endpoint.clock()
        await self._publisher.publish(self._names.orders, connector, json.dumps(body).encode(), properties)
        return key

    async def steadily(self, connectors: Sequence[str], orders: int, rate_per_s: float) -> list[str]:
        """So many orders, the connectors in turn."""
        began_s = time.monotonic()
        tasks: list[asyncio.Task[str]] = []
        for number in range(orders):
            await asyncio.sleep(max(0.0, began_s + number / rate_per_s - time.monotonic()))
            tasks.append(asyncio.create_task(self.publish(connectors[number % len(connectors)])))
        return await asyncio.gather(*tasks)

    async def latency(self, keys: Sequence[str]) -> Half:
        """Of these orders, once all have come."""
        arrived_s = self._endpoint.arrived_s
        async with asyncio.timeout(ARRIVE_TIMEOUT_S):
            while not all(key in arrived_s for key in keys):  # noqa: ASYNC110 - a moment more is no matter
                await asyncio.sleep(0.02)
        late_ms = [(arrived_s[key] - self._began_s[key]) * 1000 for key in keys]
        percentiles = statistics.quantiles(late_ms, n=100, method="inclusive")
        return Half(percentiles[49], percentiles[98])

    async def close(self) -> None:
        """Close its connection."""
        await self._publisher.close()


async def own_lanes(broker_url: str, orders: int, folder: Path, progress: Callable[[str], None]) -> Isolation:
    """Connectors `a` and `b`, each with its own lane, under the same load; then the webhook of `a` hangs."""
    endpoint = Endpoint()
    names, url = Names("bench-own"), await endpoint.start()
    async with running(broker_url, names.prefix, url, ["a", "b"], folder):
        producer = Producer(broker_url, names, endpoint)
        await producer.latency(await producer.steadily(["a", "b"], WARM_UP_ORDERS, OWN_RATE_PER_S * 2))

        async def half() -> Half:
            _, measured = await asyncio.gather(
                producer.steadily(["a"], orders, OWN_RATE_PER_S), producer.steadily(["b"], orders, OWN_RATE_PER_S)
            )
            return await producer.latency(measured)

        progress("own lanes: both healthy")
        healthy = await half()
        endpoint.hang("a")
        progress("own lanes: a hangs")
        hanging = await half()
        endpoint.release()
        await producer.close()
    await endpoint.stop()
    return Isolation(healthy, hanging)


async def shared_lane(broker_url: str, orders: int, folder: Path, progress: Callable[[str], None]) -> Isolation:
    """SHARED_CONNECTORS in the shared lane; then one more hangs there, with HANGING_WAIT orders waiting."""
    endpoint = Endpoint()
    names, url = Names("bench-shared"), await endpoint.start()
    others = [f"c{number}" for number in range(SHARED_CONNECTORS)]
    async with running(broker_url, names.prefix, url, [], folder):
        producer = Producer(broker_url, names, endpoint)
        await producer.latency(await producer.steadily(others, WARM_UP_ORDERS, SHARED_RATE_PER_S))
        progress("shared lane: all healthy")
        healthy = await producer.latency(await producer.steadily(others, orders, SHARED_RATE_PER_S))
        endpoint.hang("hanging")
        await producer.steadily(["hanging"], HANGING_WAIT, SHARED_RATE_PER_S)
        progress("shared lane: one hangs")
        hanging = await producer.latency(await producer.steadily(others, orders, SHARED_RATE_PER_S))
        endpoint.release()
        await producer.close()
    await endpoint.stop()
    return Isolation(healthy, hanging)
