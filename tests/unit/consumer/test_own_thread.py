"""The ledger's thread does what it is given, in order, and answers on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from signalq.consumer.ledger.thread import OwnThread
from tests.support.waiting import wait_until


@pytest.fixture
def thread() -> Iterator[OwnThread]:
    own = OwnThread("under test")
    yield own
    own.end()


async def test_calls_are_made_one_after_the_other_in_one_thread_that_is_not_the_loops(thread: OwnThread) -> None:
    made: list[tuple[int, int]] = []

    def note(number: int) -> int:
        made.append((number, threading.get_ident()))
        return -number

    answers = await asyncio.gather(*(thread.call(note, number) for number in range(10)))
    assert answers == [-number for number in range(10)]
    assert [number for number, _ in made] == list(range(10))
    assert len({ident for _, ident in made} | {threading.get_ident()}) == 2


async def test_the_error_of_a_call_is_raised_to_its_caller_and_the_next_call_is_made(thread: OwnThread) -> None:
    def fail() -> None:
        raise KeyError("nothing there")

    with pytest.raises(KeyError, match="nothing there"):
        await thread.call(fail)
    assert await thread.call(len, "four") == 4


async def test_a_call_whose_caller_is_gone_is_not_begun_and_one_that_has_begun_is_ended(thread: OwnThread) -> None:
    has_begun, may_end = threading.Event(), threading.Event()
    made: list[str] = []

    def begun() -> None:
        made.append("begun")
        has_begun.set()
        may_end.wait(10)
        made.append("ended")

    first = asyncio.create_task(thread.call(begun))
    second = asyncio.create_task(thread.call(made.append, "second"))
    await wait_until(has_begun.is_set)
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    may_end.set()
    await thread.call(made.append, "third")
    assert made == ["begun", "ended", "third"]


def test_the_end_comes_after_all_that_was_given(thread: OwnThread) -> None:
    async def give() -> list[int]:
        answers = asyncio.gather(*(thread.call(abs, -number) for number in range(5)))
        await asyncio.sleep(0)
        thread.end()
        return await answers

    assert asyncio.run(give()) == list(range(5))
    thread._thread.join(10)
    assert not thread._thread.is_alive()
