"""What the benchmarks count with: a figure that is wrong would be believed."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Sequence

import pytest

from benchmarks.delays.course import Course
from benchmarks.delays.lateness import from_asked, from_rounded
from benchmarks.delays.plan import Plan, whole_seconds
from benchmarks.endpoint import Endpoint
from tests.support.waiting import wait_until

REQUEST = b'POST / HTTP/1.1\r\nContent-Length: 13\r\n\r\n{"log":"one"}'
TIMEOUT_S = 5.0


class Ticks:
    """A clock that says how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def __call__(self) -> float:
        self.reads += 1
        return float(self.reads)


Client = tuple[Endpoint, asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """An endpoint that counts the reads of its clock, and a connection to it."""
    endpoint = Endpoint(Ticks())
    url = await endpoint.start()
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    yield endpoint, reader, writer
    writer.close()
    await writer.wait_closed()
    await endpoint.stop()


async def test_a_post_arrives_with_its_first_byte(client: Client) -> None:
    endpoint, _, writer = client
    clock = endpoint.clock
    assert isinstance(clock, Ticks)
    for piece in (REQUEST[:3], REQUEST[3:50], REQUEST[50:]):
        reads_before = clock.reads
        writer.write(piece)
        await wait_until(lambda before=reads_before: clock.reads > before, TIMEOUT_S)
    async with asyncio.timeout(TIMEOUT_S):
        await endpoint.reached(1)
    assert endpoint.arrived_s == {"one": 1.0}


async def test_posts_in_one_packet_are_each_counted_and_answered(client: Client) -> None:
    endpoint, reader, writer = client
    writer.write(REQUEST + REQUEST.replace(b"one", b"two"))
    async with asyncio.timeout(TIMEOUT_S):
        await endpoint.reached(2)
        for _ in range(2):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")
            assert await reader.readexactly(2) == b"ok"
    assert set(endpoint.arrived_s) == {"one", "two"}


async def test_a_post_that_comes_again_is_counted_and_keeps_its_first_time(client: Client) -> None:
    endpoint, _, writer = client
    writer.write(REQUEST)
    async with asyncio.timeout(TIMEOUT_S):
        await endpoint.reached(1)
        first_s = endpoint.arrived_s["one"]
        writer.write(REQUEST)
        await endpoint.reached(2)
    assert endpoint.arrived_s == {"one": first_s}
    assert endpoint.logs == ["one", "one"]


PLAN = Plan(orders=100, rate_per_s=10, delay_s_min=1, delay_s_max=12, seed=7)


def test_a_seed_gives_the_same_delays_again_and_another_gives_others() -> None:
    assert PLAN.delays_ms() == PLAN.delays_ms()
    assert PLAN.delays_ms() != Plan(100, 10, 1, 12, seed=8).delays_ms()
    assert all(1000 <= delay_ms <= 12000 for delay_ms in PLAN.delays_ms())


@pytest.mark.parametrize(("delay_ms", "seconds"), [(1000, 1), (1001, 2), (1999, 2), (12000, 12)])
def test_kombu_is_never_given_less_than_was_asked(delay_ms: int, seconds: int) -> None:
    assert whole_seconds(delay_ms) == seconds


def course(late_ms: Sequence[float | None]) -> Course:
    """A course whose orders were all created at 1 s, and came so late."""
    delays_ms = PLAN.delays_ms()
    arrived_ms = [None if late is None else 1000 + delay + late for delay, late in zip(delays_ms, late_ms, strict=True)]
    return Course(PLAN, [1000.0] * PLAN.orders, arrived_ms, repeated=0)


def test_lateness_counts_from_the_due_time() -> None:
    late = from_asked(course([*range(1, 101)]))
    assert (late.p50_ms, late.max_ms, late.early, late.lost) == (50.5, 100, 0, 0)


def test_a_queue_that_grows_shows_in_the_orders_due_at_the_end_of_the_publishing() -> None:
    plan = Plan(orders=101, rate_per_s=10, delay_s_min=1, delay_s_max=1)
    created_ms = [100.0 * number for number in range(plan.orders)]
    arrived_ms = [created + 1000 + created / 10 for created in created_ms]
    late = from_asked(Course(plan, created_ms, arrived_ms, repeated=0))
    assert late.p50_ms == 500
    assert late.p50_at_end_ms == statistics.median((due_ms - 1000) / 10 for due_ms in range(7500, 10001, 100))


def test_orders_that_come_early_and_orders_that_never_come_are_counted() -> None:
    late = from_asked(course([-0.5, None, None, *[2.0] * 97]))
    assert (late.p50_ms, late.early, late.lost) == (2.0, 1, 2)


def test_from_the_rounded_time_kombu_is_late_only_by_its_own_fault() -> None:
    rounding_ms = [whole_seconds(delay_ms) * 1000 - delay_ms for delay_ms in PLAN.delays_ms()]
    late = from_rounded(course([rounding + 3.0 for rounding in rounding_ms]))
    assert (late.p50_ms, late.p99_ms, late.max_ms, late.early) == (3.0, 3.0, 3.0, 0)
