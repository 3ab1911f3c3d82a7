"""What many own lanes cost: from start to ready, in memory, and in CPU while nothing happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import cpu_seconds, resident_mb
from benchmarks.endpoint import Endpoint
from benchmarks.lanes.running import running

IDLE_S = 20.0
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one start; `idle_cpu_percent` is of one core, over IDLE_S."""

    ready_after_s: float
    rss_mb: float
    idle_cpu_percent: float


async def cost(broker_url: str, lanes: int, folder: Path, progress: Callable[[str], None], label: str) -> Cost:
    """Start a consumer with so many own lanes, and look at it."""
    endpoint = Endpoint()
    names = [f"c{number}" for number in range(lanes)]
    progress(f"{label}: starting")
    async with running(broker_url, f"bench-many-{lanes}", await endpoint.start(), names, folder) as consumer:
        await asyncio.sleep(SETTLE_S)
        progress(f"{label}: idle for {IDLE_S:g} s")
        before_s = cpu_seconds(consumer.pid)
        await asyncio.sleep(IDLE_S)
        idle = (cpu_seconds(consumer.pid) - before_s) / IDLE_S * 100
        found = Cost(consumer.ready_after_s, resident_mb(consumer.pid), idle)
    await endpoint.stop()
    return found
