"""The last second of a delay: never early, in order of due time, equal ones in the order of publishing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from signalq.consumer.clocks.clock import Clock
from signalq.consumer.lanes.due_times import MAKE_ROOM_MS_MIN, MAKE_ROOM_PART, QUIET_S, STEP_MAX, DueTimes
from tests.support.waiting import elapsed, wait_until

NOW_MS = 1_000_000
PLACES = 64
BYTES = 64_000


class SetClock(Clock):
    """Shows the time that the test sets."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms

    def slice_until(self, at_ms: int) -> float:
        return 0.001 if at_ms > self.ms else 0.0


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def due_times(clock: SetClock) -> AsyncIterator[DueTimes]:
    times = DueTimes(clock, places_max=PLACES, bytes_max=BYTES)
    yield times
    times.close()


@dataclass(eq=False)
class Session:
    """One that still brings what waited before it began."""

    backlog_left: int = 0


class Waiters:
    """Notes who was let go, in order."""

    def __init__(self, due_times: DueTimes) -> None:
        self.gone: list[str] = []
        self.sent_away: list[str] = []
        self._due_times = due_times
        self._tasks: set[asyncio.Task[None]] = set()

    async def add(
        self, name: str, due_ms: int, rank: int = 0, session: Session | None = None, held_bytes: int = 0
    ) -> asyncio.Task[None]:
        """Begin to wait."""
        task = asyncio.create_task(self._wait(name, due_ms, rank, session, held_bytes), name=name)
        self._tasks.add(task)
        await asyncio.sleep(0)
        return task

    async def have_gone(self, count: int) -> list[str]:
        await wait_until(lambda: len(self.gone) >= count, what=f"{count} to be let go")
        return self.gone

    async def _wait(self, name: str, due_ms: int, rank: int, session: Session | None, held_bytes: int) -> None:
        if await self._due_times.wait_until(due_ms, rank=rank, session=session, held_bytes=held_bytes):
            self.gone.append(name)
        else:
            self.sent_away.append(name)


@pytest.fixture
async def waiters(due_times: DueTimes) -> AsyncIterator[Waiters]:
    people = Waiters(due_times)
    yield people
    for task in people._tasks:
        task.cancel()
    await asyncio.gather(*people._tasks, return_exceptions=True)


async def test_waiters_leave_in_order_of_due_time_whatever_the_order_of_arrival(
    waiters: Waiters, clock: SetClock
) -> None:
    for due_ms in (500, 100, 400, 300, 200):
        await waiters.add(str(due_ms), NOW_MS + due_ms)
    clock.ms += 500
    assert await waiters.have_gone(5) == ["100", "200", "300", "400", "500"]


async def test_equal_due_times_leave_in_the_order_of_publishing(waiters: Waiters, clock: SetClock) -> None:
    for rank in (3, 1, 2):
        await waiters.add(f"rank {rank}", NOW_MS + 100, rank)
    clock.ms += 100
    assert await waiters.have_gone(3) == ["rank 1", "rank 2", "rank 3"]


async def test_without_a_rank_equal_due_times_leave_first_come_first_served(waiters: Waiters, clock: SetClock) -> None:
    names = [str(number) for number in range(50)]
    for name in names:
        await waiters.add(name, NOW_MS + 100)
    clock.ms += 100
    assert await waiters.have_gone(50) == names


async def test_a_few_of_many_due_messages_leave_in_one_step_of_the_loop(waiters: Waiters, clock: SetClock) -> None:
    for number in range(5 * STEP_MAX):
        await waiters.add(str(number), NOW_MS + 100)
    clock.ms += 100
    gone_before, most = 0, 0
    while gone_before < 5 * STEP_MAX:
        await asyncio.sleep(0)
        most, gone_before = max(most, len(waiters.gone) - gone_before), len(waiters.gone)
    assert most <= STEP_MAX


async def test_none_leaves_before_its_time(waiters: Waiters, clock: SetClock) -> None:
    await waiters.add("first", NOW_MS + 100)
    await waiters.add("second", NOW_MS + 101)
    clock.ms += 99
    await waiters.add("already due", NOW_MS)
    assert await waiters.have_gone(1) == ["already due"]
    clock.ms += 1
    assert await waiters.have_gone(2) == ["already due", "first"]


async def test_one_that_is_due_sooner_overtakes_one_that_is_waited_for(waiters: Waiters, clock: SetClock) -> None:
    await waiters.add("later", NOW_MS + 1_000)
    await waiters.add("sooner", NOW_MS + 10)
    clock.ms += 10
    assert await waiters.have_gone(1) == ["sooner"]


async def test_one_that_is_due_sooner_is_not_kept_waiting_by_a_long_sleep() -> None:
    """With the real clock, which sleeps for up to a second at a time."""
    clock = Clock()
    times = DueTimes(clock, places_max=PLACES, bytes_max=BYTES)
    far = asyncio.create_task(times.wait_until(clock.now_ms() + 1_000))
    await asyncio.sleep(0)
    due_ms = clock.now_ms() + 30
    async with asyncio.timeout(0.9):
        await times.wait_until(due_ms)
    assert clock.now_ms() >= due_ms
    times.close()
    far.cancel()
    await asyncio.gather(far, return_exceptions=True)


async def test_a_waiter_that_gives_up_holds_up_no_other(waiters: Waiters, clock: SetClock) -> None:
    first = await waiters.add("gives up", NOW_MS + 10)
    await waiters.add("stays", NOW_MS + 20)
    first.cancel()
    clock.ms += 20
    assert await waiters.have_gone(1) == ["stays"]


async def test_overdue_messages_leave_in_order_of_due_time_when_a_session_begins(
    waiters: Waiters, clock: SetClock
) -> None:
    session = Session()
    for due_ms in (-100, -900, -300, 500, -500):
        await waiters.add(str(due_ms), NOW_MS + due_ms, session=session)
        await asyncio.sleep(0.002)
    assert await waiters.have_gone(4) == ["-900", "-500", "-300", "-100"]


async def test_a_backlog_that_is_known_to_be_coming_is_waited_for_however_slowly_it_comes(
    waiters: Waiters, clock: SetClock
) -> None:
    session = Session(backlog_left=1)
    await waiters.add("later", NOW_MS - 100, session=session)
    await elapsed(2 * QUIET_S)
    assert not waiters.gone
    session.backlog_left = 0
    await waiters.add("sooner", NOW_MS - 200, session=session)
    assert await waiters.have_gone(2) == ["sooner", "later"]


async def test_a_single_overdue_one_does_not_wait_for_a_backlog_forever(waiters: Waiters) -> None:
    for session in (Session(), Session()):
        await waiters.add("alone", NOW_MS - 1, session=session)
    assert await waiters.have_gone(2) == ["alone", "alone"]


async def test_when_all_places_are_taken_the_last_due_leave_and_the_sooner_ones_stay(
    waiters: Waiters, clock: SetClock
) -> None:
    for number in range(PLACES - 1):
        await waiters.add(f"later {number}", NOW_MS + 900 - number)
    assert not waiters.sent_away
    await waiters.add("sooner", NOW_MS + 300)
    await wait_until(lambda: waiters.sent_away, what="room to be made")
    assert waiters.sent_away == [f"later {number}" for number in range(PLACES // MAKE_ROOM_PART)]
    clock.ms += 300
    assert await waiters.have_gone(1) == ["sooner"]


async def test_when_waiters_hold_too_many_bytes_the_last_due_are_sent_away(waiters: Waiters, clock: SetClock) -> None:
    for number in range(8):
        await waiters.add(f"{number}", NOW_MS + MAKE_ROOM_MS_MIN + 100 * (8 - number), held_bytes=BYTES // 8 - 1)
    assert not waiters.sent_away
    await waiters.add("one too many", NOW_MS + MAKE_ROOM_MS_MIN + 50, held_bytes=1000)
    await wait_until(lambda: waiters.sent_away, what="room to be made")
    assert waiters.sent_away == ["0", "1"]  # an eighth of the bytes, and what one byte of it is short of
    clock.ms += 5_000
    assert await waiters.have_gone(7) == ["one too many", "7", "6", "5", "4", "3", "2"]
    for number in range(8):  # what has gone holds nothing any more
        await waiters.add(f"again {number}", clock.ms + 1_000, held_bytes=BYTES // 8 - 1)
    assert len(waiters.sent_away) == 2


async def test_none_that_is_about_to_be_due_is_sent_away_for_its_bytes(waiters: Waiters) -> None:
    for number in range(10):
        await waiters.add(str(number), NOW_MS + MAKE_ROOM_MS_MIN, held_bytes=BYTES)
    assert not waiters.sent_away


async def test_a_late_comer_that_is_due_last_is_itself_sent_away(waiters: Waiters) -> None:
    for number in range(PLACES - 1):
        await waiters.add(f"sooner {number}", NOW_MS + 300)
    await waiters.add("last", NOW_MS + 900)
    await wait_until(lambda: waiters.sent_away, what="room to be made")
    assert "last" in waiters.sent_away


async def test_none_that_is_about_to_be_due_is_sent_away(waiters: Waiters, due_times: DueTimes) -> None:
    """It would come back late; there is room again in a moment."""
    for number in range(PLACES + 5):
        await waiters.add(str(number), NOW_MS + MAKE_ROOM_MS_MIN)
    assert not waiters.sent_away
    assert len(due_times) == PLACES + 5


async def test_waiters_that_gave_up_take_no_places(waiters: Waiters, due_times: DueTimes) -> None:
    """A session was lost: its waiters have left, and the same messages come again."""
    for number in range(PLACES - 1):
        (await waiters.add(f"lost {number}", NOW_MS + 900)).cancel()
    for number in range(PLACES - 1):
        await waiters.add(f"again {number}", NOW_MS + 900)
    assert not waiters.sent_away
    assert len(due_times) < PLACES + 2


async def test_when_the_clock_is_set_back_nothing_is_held_for_longer_than_its_last_second(
    waiters: Waiters, clock: SetClock
) -> None:
    await waiters.add("first", NOW_MS + 500)
    await waiters.add("second", NOW_MS + 700)
    clock.ms -= 60_000
    await wait_until(lambda: len(waiters.sent_away) == 2, what="both to be parked again")
    assert not waiters.gone
