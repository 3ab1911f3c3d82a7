"""The console's share of a consumer: few renders, and none while orders need the loop; and parts made once for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from signalq.ops.console import shed as shed_module
from signalq.ops.console.gate.errors import Busy, Refused
from signalq.ops.console.rendering.shared_parts import KEPT_S, PARTS_MAX, SharedParts
from signalq.ops.console.shed import (
    CALM_S,
    LATE_S,
    LATE_WITHIN_S,
    RENDERS_MAX,
    RENDERS_S,
    SHARE_MAX,
    SHARE_S,
    WAIT_S,
    Shed,
)
from tests.support.waiting import wait_until


class Clock:
    """The time, as it is told."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waits() -> list[float]:
    """The waits for a turn."""
    return []


@pytest_asyncio.fixture
async def shed(clock: Clock, waits: list[float]) -> AsyncIterator[Shed]:
    """One whose waits take no time."""

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    made = Shed(clock=clock, sleep=sleep)
    yield made
    made.close()


# ---- turns ----


async def test_so_many_pages_are_rendered_in_any_second(shed: Shed, clock: Clock, waits: list[float]) -> None:
    begun = []
    for _ in range(RENDERS_MAX * 3):
        before = len(waits)
        await shed.turn()
        begun.append(clock.now_s + sum(waits[before:]))
    assert begun[:RENDERS_MAX] == [clock.now_s] * RENDERS_MAX
    spans = [later - earlier for earlier, later in zip(begun, begun[RENDERS_MAX:], strict=False)]
    assert min(spans) >= RENDERS_S


async def test_a_request_whose_turn_is_far_away_is_told_to_come_again(
    shed: Shed, clock: Clock, waits: list[float]
) -> None:
    for _ in range(RENDERS_MAX * (1 + int(WAIT_S / RENDERS_S))):
        await shed.turn()
    assert max(waits) <= WAIT_S
    with pytest.raises(Busy) as error:
        await shed.turn()
    assert (error.value.status, error.value.headers) == (503, {"Retry-After": "1"})
    clock.now_s += RENDERS_S
    await shed.turn()


# ---- a loop that is late ----


async def test_a_consumer_whose_loop_is_late_twice_is_busy_until_it_was_not_for_a_while(
    shed: Shed, clock: Clock
) -> None:
    shed.was_late(LATE_S * 2)
    shed.admit(is_urgent=False)
    clock.now_s += LATE_WITHIN_S / 2
    shed.was_late(LATE_S * 2)
    with pytest.raises(Busy, match="busy with orders") as error:
        shed.admit(is_urgent=False)
    assert error.value.headers == {"Retry-After": f"{CALM_S:.0f}"}
    shed.admit(is_urgent=True)
    # Late once more: it begins anew.
    clock.now_s += CALM_S - 1
    shed.was_late(LATE_S * 2)
    clock.now_s += CALM_S - 0.001
    with pytest.raises(Busy):
        shed.admit(is_urgent=False)
    clock.now_s += 0.002
    shed.admit(is_urgent=False)


@pytest.mark.parametrize(
    ("first_s", "later_s", "second_s"),
    [(LATE_S, 0.1, LATE_S), (LATE_S * 9, 0.1, LATE_S), (LATE_S * 9, LATE_WITHIN_S + 0.1, LATE_S * 9)],
    ids=["a little, twice", "once", "twice, with time between"],
)
async def test_a_loop_that_is_late_now_and_then_is_not_busy(
    shed: Shed, clock: Clock, first_s: float, later_s: float, second_s: float
) -> None:
    shed.was_late(first_s)
    clock.now_s += later_s
    shed.was_late(second_s)
    shed.admit(is_urgent=False)


@pytest.mark.parametrize(
    ("share", "has_orders", "is_busy"),
    [(SHARE_MAX - 0.01, True, False), (SHARE_MAX + 0.01, True, True), (SHARE_MAX + 0.01, False, False)],
)
async def test_a_consumer_whose_loop_works_nearly_all_the_time_for_orders_is_busy(
    clock: Clock, share: float, has_orders: bool, is_busy: bool
) -> None:
    began_s = clock.now_s
    shed = Shed(lambda: has_orders, clock, worked=lambda: (clock.now_s - began_s) * share)
    shed.admit(is_urgent=False)
    clock.now_s += SHARE_S / 2
    shed.has_worked()
    assert not shed.is_busy, "too short to be told"
    clock.now_s += SHARE_S / 2
    shed.has_worked()
    assert shed.is_busy is is_busy
    clock.now_s += CALM_S
    assert not shed.is_busy
    shed.close()


async def test_a_real_loop_that_is_held_up_is_found_late(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Shed()
    seen: list[float] = []
    monkeypatch.setattr(real, "was_late", seen.append)
    real.admit(is_urgent=False)
    await asyncio.sleep(0)
    time.sleep(LATE_S * 3)  # noqa: ASYNC251 - this is what holds it up
    await wait_until(lambda: seen, what="the next look at the loop")
    assert max(seen) > LATE_S
    real.close()


async def test_nobody_looks_at_the_loop_before_somebody_has_asked_for_a_page_and_long_after(
    shed: Shed, clock: Clock
) -> None:
    assert shed._tick is None
    shed.admit(is_urgent=False)
    assert shed._tick is not None
    shed._tick.cancel()
    clock.now_s += shed_module.WATCHED_S
    shed._look(clock.now_s)
    assert shed._tick is None


# ---- parts that are made once ----


class Maker:
    """Makes parts, when `gate` is open, or fails with `error`."""

    def __init__(self) -> None:
        self.made = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def __call__(self) -> web.StreamResponse:
        self.made += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return web.Response(body=f"part {self.made}".encode(), headers={"ETag": '"x"', "Content-Type": "text/html"})


async def test_a_part_is_made_once_for_all_that_ask_at_once() -> None:
    parts, make = SharedParts(), Maker()
    make.gate.clear()
    asking = [asyncio.create_task(parts.part("/parts/lanes", 7, make)) for _ in range(5)]
    await asyncio.sleep(0)
    make.gate.set()
    got = await asyncio.gather(*asking)
    assert make.made == 1
    assert [one.body for one in got] == [b"part 1"] * 5
    assert len({id(one) for one in got}) == 5
    assert got[4].headers["ETag"] == '"x"'
    assert got[4].content_type == "text/html"


async def test_a_part_is_made_anew_for_the_next_snapshot_and_after_a_while_and_after_a_change(clock: Clock) -> None:
    parts, make = SharedParts(clock), Maker()
    for number, later_s, made in ((1, 0, 1), (1, KEPT_S / 2, 1), (2, 0, 2), (2, KEPT_S, 3), (2, 0, 3)):
        clock.now_s += later_s
        assert (await parts.part("x", number, make)).body == f"part {made}".encode()
    parts.forget()
    assert (await parts.part("x", 2, make)).body == b"part 4"
    assert (await parts.part("y", 2, make)).body == b"part 5"


async def test_an_error_is_told_to_all_that_wait_and_is_not_kept() -> None:
    parts, make = SharedParts(), Maker()
    make.gate.clear()
    make.error = Refused("no such connector")
    asking = [asyncio.create_task(parts.part("x", 1, make)) for _ in range(3)]
    await asyncio.sleep(0)
    make.gate.set()
    got = await asyncio.gather(*asking, return_exceptions=True)
    assert [str(one) for one in got] == ["no such connector"] * 3
    assert make.made == 1
    make.error = None
    assert (await parts.part("x", 1, make)).body == b"part 2"


async def test_a_request_that_is_canceled_takes_no_other_with_it() -> None:
    parts, make = SharedParts(), Maker()
    make.gate.clear()
    first = asyncio.create_task(parts.part("x", 1, make))
    await asyncio.sleep(0)
    second = asyncio.create_task(parts.part("x", 1, make))
    third = asyncio.create_task(parts.part("x", 1, make))
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.sleep(0)
    first.cancel()
    got = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(got[0], asyncio.CancelledError)
    assert isinstance(got[1], Busy)
    assert isinstance(got[2], asyncio.CancelledError)


async def test_parts_are_bounded() -> None:
    parts, make = SharedParts(), Maker()
    for number in range(PARTS_MAX * 2):
        await parts.part(number, 1, make)
    assert len(parts._kept) == PARTS_MAX
