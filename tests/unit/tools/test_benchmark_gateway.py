"""What ./run bench-gateway counts with: a figure that is wrong would be believed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from benchmarks.gateway import alerts
from benchmarks.gateway.alerts import Answers, body_of, number_of, steadily
from benchmarks.gateway.parts import Load, account

COUNT = 4


@asynccontextmanager
async def answering(status_of: Callable[[int, int], int]) -> AsyncIterator[tuple[str, Counter[int]]]:
    """A gateway that answers by the alert's number and how often it came."""
    came: Counter[int] = Counter()

    async def take(request: web.Request) -> web.Response:
        number = int(json.loads(await request.read())["log"])
        came[number] += 1
        status = status_of(number, came[number])
        return web.Response(text="ok" if status == 200 else "no", status=status)

    app = web.Application()
    app.router.add_post(alerts.PATH, take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", came
    finally:
        await runner.cleanup()


async def test_every_alert_is_sent_once_and_told_apart() -> None:
    async with answering(lambda _number, _times: 200) as (url, came):
        answers = await steadily(url, rate_per_s=1000, seconds=COUNT / 1000)
    assert sorted(answers.ok) == sorted(came) == list(range(COUNT))
    assert (answers.errors, answers.given_up, answers.repeats) == ({}, 0, 0)
    assert len(answers.late_ms) == COUNT
    assert number_of(body_of(7)) == 7


async def test_a_5xx_is_repeated_as_tradingview_does_and_no_other_answer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "REPEAT_AFTER_S", 0)

    def status_of(number: int, times: int) -> int:
        return {0: 503 if times < 3 else 200, 1: 503, 2: 504, 3: 401}[number]

    async with answering(status_of) as (url, came):
        answers = await steadily(url, rate_per_s=1000, seconds=COUNT / 1000, repeating=True)
    assert answers.ok == [0]
    assert came == {0: 3, 1: 4, 2: 1, 3: 1}
    assert answers.errors == {"503": 6, "504": 1, "401": 1}
    assert (answers.repeats, answers.given_up) == (5, 3)


def test_the_account_finds_what_is_lost_and_what_became_two_orders() -> None:
    answers = Answers(ok=[0, 1, 2])
    messages = [("a", body_of(0)), ("b", body_of(1)), ("b", body_of(1)), ("c", body_of(3)), ("d", body_of(3))]
    found = account(5, answers, messages)
    assert (found.lost, found.twice, found.unanswered) == (1, 1, 1)
    assert len(found.faults) == 2
    answers.count("no answer within 3 s")
    assert len(account(5, answers, messages).faults) == 3
    assert account(3, Answers(ok=[0]), messages[:1]).faults == []


def test_a_load_with_an_error_or_a_message_too_many_is_a_fault() -> None:
    assert Load(100, 1, 2, 3, {}, 100).faults == []
    assert len(Load(100, 1, 2, 3, {"503": 1}, 101).faults) == 2
