"""How late: signalq and kombu take turns on one broker, with the same delays at the same rate.

Lateness is the time from an order's due moment to the first byte of its POST at the webhook. kombu knows whole seconds
only, and counts twice: from the moment that was asked for, which is what its user sees, and from its own rounded one,
which is kindest to it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contender import consuming, lanes, python, told
from benchmarks.delays import course
from benchmarks.delays.course import Course, Progress
from benchmarks.delays.plan import Plan, whole_seconds
from benchmarks.endpoint import Endpoint
from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.names import Names


@dataclass(frozen=True, slots=True)
class Lateness:
    """Of one contender, in ms. `early` counts the orders that came before they were due, `lost` those that never came,
    `repeated` the POSTs beyond the first of an order.

    `p50_at_end_ms` is that of the orders due in the last quarter of the publishing, when parking and delivering go on
    side by side. Where it is far above `p50_ms`, the rate was too high for this machine: what is measured then is a
    queue that grows.
    """

    p50_ms: float
    p99_ms: float
    max_ms: float
    early: int
    lost: int
    repeated: int
    p50_at_end_ms: float


def from_asked(course: Course) -> Lateness:
    """Counted from the due times that were asked for."""
    return lateness_of(course, course.plan.delays_ms())


def from_rounded(course: Course) -> Lateness:
    """Counted from the due times that kombu was given."""
    return lateness_of(course, [whole_seconds(delay_ms) * 1000 for delay_ms in course.plan.delays_ms()])


def lateness_of(course: Course, delays_ms: Sequence[int]) -> Lateness:
    """The figures of a course by the delays that count."""
    due_ms = [created + delay for created, delay in zip(course.created_ms, delays_ms, strict=True)]
    came = [(due, arrived - due) for due, arrived in zip(due_ms, course.arrived_ms, strict=True) if arrived is not None]
    late_ms = [late for _, late in came]
    began_ms, ended_ms = min(course.created_ms), max(course.created_ms)
    at_end_ms = [late for due, late in came if ended_ms - (ended_ms - began_ms) / 4 <= due <= ended_ms]
    percentiles = statistics.quantiles(late_ms, n=100, method="inclusive")
    return Lateness(
        p50_ms=percentiles[49],
        p99_ms=percentiles[98],
        max_ms=max(late_ms),
        early=sum(late < 0 for late in late_ms),
        lost=len(delays_ms) - len(late_ms),
        repeated=course.repeated,
        p50_at_end_ms=statistics.median(at_end_ms or late_ms),
    )


@dataclass(frozen=True, slots=True)
class Contender:
    """The modules of its consumer and of its publisher, and the queues that it consumes, once it is ready."""

    consumer: str
    publisher: str
    queues: tuple[str, ...]


NAMES = Names("bench-delays")
SIGNALQ = Contender("signalq.consumer", "benchmarks.delays.publish", lanes(NAMES))
KOMBU = Contender("benchmarks.delays.kombu_consume", "benchmarks.delays.kombu_publish", ("bench-kombu",))


async def turn(contender: Contender, broker_url: str, plan: Plan, folder: Path, progress: Progress) -> Course:
    """Start the contender's consumer, and run the plan against it."""
    endpoint = Endpoint(time.time)
    environment = told(broker_url, contender.queues[0], NAMES.prefix, await endpoint.start(), folder)
    connection = await connect(broker_url, name="signalq benchmark")
    try:
        await Topology(NAMES).declare(connection)
        async with consuming(python(contender.consumer), environment, connection, *contender.queues):
            return await course.run(contender.publisher, plan, environment, endpoint, progress)
    finally:
        await connection.close()
        await endpoint.stop()
