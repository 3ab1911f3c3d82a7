"""Reading a webhook's answer: at most eight interim ones and 64 KiB of it, and little at a time."""

from __future__ import annotations

import asyncio
import time

import pytest

from signalq.consumer.webhook.answer_reader import AnswerReader
from signalq.consumer.webhook.connection import Connection
from tests.properties.test_certainty import ANSWERS, TOTAL_S, order_for, post, serving

EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
LONG_HINTS = b"HTTP/1.1 103 Early Hints\r\n" + b"X: %s\r\n" % (b"x" * 8_000) * 2 + b"\r\n"
STEP_S_MAX = 0.01

TOO_MUCH = {
    "nine interim answers before a refusal": EARLY_HINTS * 9 + ANSWERS["refused"],
    "nine interim answers before a success": EARLY_HINTS * 9 + ANSWERS["accepted"],
    "interim answers without end": EARLY_HINTS * 100_000,
    "64 KiB of interim answers": LONG_HINTS * 5 + ANSWERS["accepted"],
    "a success body of more than 64 KiB": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 100_000 + b"ok",
}


@pytest.mark.parametrize("then", ["close", "hang"])
@pytest.mark.parametrize("answer", TOO_MUCH.values(), ids=TOO_MUCH)
async def test_an_answer_beyond_the_bounds_is_unknown_and_given_up_at_once(answer: bytes, then: str) -> None:
    async with serving(answer, then=then) as server:
        attempt = await post(order_for(server.url()))
    assert (attempt.certainty, attempt.sent, attempt.duration_s < TOTAL_S / 2) == ("unknown", True, True)


async def test_an_answer_that_is_given_up_says_why() -> None:
    async with serving(EARLY_HINTS * 9, then="hang") as server:
        attempt = await post(order_for(server.url()))
    expected = "more interim answers than are read before the final one, after the request began to go out"
    assert attempt.why == expected


@pytest.mark.parametrize("certainty", ["accepted", "refused", "not taken"])
@pytest.mark.parametrize("then", ["close", "hang"])
async def test_eight_interim_answers_change_nothing(certainty: str, then: str) -> None:
    async with serving(EARLY_HINTS * 8 + ANSWERS[certainty], then=then) as server:
        attempt = await post(order_for(server.url()))
    assert attempt.certainty == certainty


@pytest.mark.parametrize("then", ["close", "hang"])
async def test_an_answer_of_many_slices_is_read_to_its_end(then: str) -> None:
    padding = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 400) for number in range(100))
    answer = b"HTTP/1.1 200 OK\r\n" + padding + b"Content-Length: 4000\r\n\r\n" + b" " * 3998 + b"ok"
    async with serving(answer, then=then) as server:
        attempt = await post(order_for(server.url()))
    assert attempt.certainty == "accepted"


FLOODS = {
    "interim answers": EARLY_HINTS * 10_000,
    "short interim answers": b"HTTP/1.1 103\r\n\r\n" * 15_000,
    "chunks of a byte": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 40_000,
    "headers": b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 50_000,
    "answers": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 6_000,
    "one header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 260_000,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_no_step_of_reading_an_answer_takes_long(flood: bytes) -> None:
    """What one read of the socket brings costs the loop little at a time: other lanes go on meanwhile."""
    loop = asyncio.get_running_loop()
    reader = _Timed(Connection(loop), loop)
    reader.feed(flood)
    for _ in range(100):
        await asyncio.sleep(0)
    assert reader.answer.done()
    assert not reader.is_clean
    reader.answer.exception()
    assert 0 < reader.longest_s < STEP_S_MAX


class _Timed(AnswerReader):
    """Notes the CPU time of its longest step."""

    longest_s = 0.0

    def _read_on(self) -> None:
        began_s = time.thread_time()
        super()._read_on()
        self.longest_s = max(self.longest_s, time.thread_time() - began_s)
