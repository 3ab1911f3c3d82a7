"""Alerts at a steady rate, whatever becomes of them, and what was answered to each."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp

from benchmarks.gateway.running import CONNECTOR, TOKEN

PATH = "/trading-signal/webhook"
# TradingView's: how long it waits for an answer, and how it repeats what was answered with a 5xx other than 504. An
# answer that does not come in time it does not repeat.
GIVES_UP_S = 3.0
REPEATS_MAX = 3
REPEAT_AFTER_S = 5.0
NOT_REPEATED = 504


@dataclass(slots=True)
class Answers:
    """What came back: `late_ms` of each ok, from the moment at which it was meant to be sent."""

    ok: list[int] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)
    # Of any answer, from the moment at which it was sent.
    slowest_s: float = 0.0
    errors: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    # Alerts that were given up, as TradingView does.
    given_up: int = 0

    def count(self, error: str) -> None:
        """One more of these."""
        self.errors[error] = self.errors.get(error, 0) + 1

    def percentile_ms(self, percent: int) -> float:
        """Of the latency of all ok."""
        return statistics.quantiles(self.late_ms, n=100, method="inclusive")[percent - 1]


def body_of(number: int) -> bytes:
    """An alert that no other one equals."""
    fields = {"connectorName": CONNECTOR, "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
    return json.dumps(fields | {"log": str(number)}).encode()


def number_of(body: bytes) -> int:
    """Which one it was."""
    return int(json.loads(body)["log"])


async def steadily(
    url: str, rate_per_s: float, seconds: float, *, repeating: bool = False, progress: Callable[[str], None] = str
) -> Answers:
    """Send so many a second for so long, however slowly they are answered; with `repeating`, as TradingView repeats."""
    answers = Answers()
    count = round(rate_per_s * seconds)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as sending:
        began_s = time.monotonic()
        for number in range(count):
            due_s = began_s + number / rate_per_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            sending.create_task(_send(session, url, number, due_s, answers, repeating=repeating))
            if number % max(1, round(rate_per_s)) == 0:
                progress(f"{number:,} of {count:,} sent")
    return answers


async def _send(
    session: aiohttp.ClientSession, url: str, number: int, due_s: float, answers: Answers, *, repeating: bool
) -> None:
    for repeats_left in range(REPEATS_MAX if repeating else 0, -1, -1):
        status = await _once(session, url, number, answers)
        if status == 200:
            answers.ok.append(number)
            answers.late_ms.append((time.monotonic() - due_s) * 1000)
            return
        if status is None or status < 500 or status == NOT_REPEATED or not repeats_left:
            break
        answers.repeats += 1
        await asyncio.sleep(REPEAT_AFTER_S)
    answers.given_up += 1


async def _once(session: aiohttp.ClientSession, url: str, number: int, answers: Answers) -> int | None:
    """The status, or None where there was no answer; anything but `ok` is an error."""
    sent_s = time.monotonic()
    try:
        async with (
            asyncio.timeout(GIVES_UP_S),
            session.post(url + PATH, data=body_of(number), headers={"Content-Type": "application/json"}) as answer,
        ):
            text = await answer.text()
    except TimeoutError:
        answers.count(f"no answer within {GIVES_UP_S:g} s")
        return None
    except aiohttp.ClientError as error:
        answers.count(type(error).__name__)
        return None
    finally:
        answers.slowest_s = max(answers.slowest_s, time.monotonic() - sent_s)
    if answer.status == 200 and text == "ok":
        return 200
    answers.count(str(answer.status))
    return answer.status
