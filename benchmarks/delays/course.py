"""One course: a plan is published by a process of its own, and its orders arrive at the webhook here."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from benchmarks.delays.plan import Plan
from benchmarks.endpoint import Endpoint

# What comes this long after the longest delay is still waited for, and counts as late; what does not is lost.
ARRIVAL_SLACK_S = 30.0
# What a publisher may need beyond the plan's own time: to start, to connect, and for the last confirms.
PUBLISHER_SLACK_S = 60.0
PROGRESS_PERIOD_S = 0.5

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Course:
    """When each order of a plan was created, and when the first byte of its POST came: ms since the epoch.

    None stands for one that never came; `repeated` counts POSTs beyond the first of an order.
    """

    plan: Plan
    created_ms: Sequence[float]
    arrived_ms: Sequence[float | None]
    repeated: int

    @property
    def published_per_s(self) -> float:
        """The rate that was kept."""
        return (self.plan.orders - 1) / (max(self.created_ms) - min(self.created_ms)) * 1000


async def run(
    publisher: str, plan: Plan, environment: dict[str, str], endpoint: Endpoint, progress: Progress
) -> Course:
    """Publish the plan and wait until every order of it has come to the endpoint, whose clock is time.time."""
    before = endpoint.count
    async with _shown(endpoint, before, plan, progress):
        created_ms = await publish(publisher, plan, environment)
        with suppress(TimeoutError):
            async with asyncio.timeout(plan.delay_s_max + ARRIVAL_SLACK_S):
                await endpoint.reached(before + plan.orders)
    arrived_s = [endpoint.arrived_s.get(plan.log(number)) for number in range(plan.orders)]
    arrived_ms = [at_s and at_s * 1000 for at_s in arrived_s]
    return Course(plan, created_ms, arrived_ms, repeated=endpoint.count - before - plan.orders + arrived_ms.count(None))


async def publish(publisher: str, plan: Plan, environment: dict[str, str]) -> Sequence[float]:
    """Publish the plan; return when each order was created, in ms since the epoch."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", publisher, plan.as_argument()],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
        timeout=plan.takes_s + PUBLISHER_SLACK_S,
    )
    created_ms: list[float] = json.loads(done.stdout)
    return created_ms


@asynccontextmanager
async def _shown(endpoint: Endpoint, before: int, plan: Plan, progress: Progress) -> AsyncIterator[None]:
    """Say twice a second how many have come."""

    async def show() -> None:
        while True:
            progress(f"{plan.label.strip()}: {endpoint.count - before:,} of {plan.orders:,}")
            await asyncio.sleep(PROGRESS_PERIOD_S)

    task = asyncio.create_task(show(), name="progress")
    try:
        yield
    finally:
        task.cancel()
