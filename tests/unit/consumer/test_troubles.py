"""A trouble that lasts is logged at once, then now and then, and never a line a second for ever."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from pamqp.commands import Basic
from structlog.testing import capture_logs

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.broker.connection import Backoff, ConnectFailed
from signalq.consumer.broker.publisher import BrokerPublisher
from signalq.consumer.broker.troubles import GAP_MAX_S, TROUBLES_MAX, Troubles
from signalq.errors import BrokerUnreachable, Unconfirmed
from signalq.settings.sections import Settings
from tests.support.waiting import wait_until


def logged(troubles: Troubles, trouble: str, until_s: float, *, every_s: float = 0.5) -> list[float]:
    """The times at which a trouble that comes every half second is logged."""
    times = [number * every_s for number in range(int(until_s / every_s))]
    return [now_s for now_s in times if troubles.is_due(trouble, now_s)]


def test_a_lasting_trouble_is_logged_ever_more_rarely_and_then_once_a_minute() -> None:
    times = logged(Troubles(), "it is away", 600)
    assert times[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert [later - earlier for earlier, later in pairwise(times[6:])] == [GAP_MAX_S] * 8


def test_another_trouble_is_logged_at_once_and_one_that_was_over_too() -> None:
    troubles = Troubles()
    logged(troubles, "it is away", 100)
    assert troubles.is_due("its password is wrong", 100)
    assert not troubles.is_due("it is away", 100)
    assert troubles.are_over()
    assert not troubles.are_over()
    assert troubles.is_due("it is away", 100.1)


def test_a_trouble_that_was_away_for_long_begins_anew() -> None:
    troubles = Troubles()
    logged(troubles, "it is away", 100)
    assert [troubles.is_due("it is away", at_s) for at_s in (300, 300.5, 301)] == [True, False, True]


async def test_a_lane_that_is_consumed_again_says_so_where_it_said_that_it_was_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("signalq.consumer.broker.connection.loop_s", lambda: 0.0)
    backoff = Backoff(lambda: 0.0)
    with capture_logs() as lines:
        backoff.reset("q")
        for _ in range(3):
            await backoff.wait_for("q", BrokerUnreachable("the queue is not there"))
        backoff.reset("q")
        await backoff.wait_for("q", BrokerUnreachable("the queue is not there"))
    assert [(line["event"], line.get("failures")) for line in lines] == [
        ("broker.unreachable", None),
        ("broker.lane_recovered", 3),
        ("broker.unreachable", None),
    ]


async def test_lanes_that_share_a_connection_log_its_failures_as_one_whoever_meets_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where somebody meets one who logs none: that takes nothing from the log."""
    clock = [0.0]
    monkeypatch.setattr("signalq.consumer.broker.connection.loop_s", lambda: clock[0])
    shared, lanes = Troubles(), [Backoff(lambda: 0.0) for _ in range(3)]
    with capture_logs() as lines:
        for clock[0] in (0.0, 0.4, 1.2, 1.6, 3.5):
            failure = ConnectFailed(BrokerUnreachable("it is away"), shared)
            for number, backoff in enumerate(lanes):
                await backoff.wait_for(f"q{number}", failure)
        for number, backoff in enumerate(lanes):
            backoff.reset(f"q{number}")
    assert [(line["event"], line["queue"]) for line in lines] == [
        *[("broker.unreachable", "q0")] * 3,
        ("broker.lane_recovered", "q0"),
    ]


def test_many_troubles_are_all_logged_and_take_no_more_room() -> None:
    troubles = Troubles()
    assert all(troubles.is_due(f"trouble {number}", number) for number in range(10 * TROUBLES_MAX))
    assert len(troubles._next) <= TROUBLES_MAX


async def test_a_publish_that_fails_again_is_logged_at_once_if_nothing_was_in_trouble_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing: set[bytes] = set()
    tried: Counter[bytes] = Counter()

    async def publish(
        _self: object, _exchange: str, _key: str, body: bytes, *_properties: Any, **_options: Any
    ) -> None:
        tried[body] += 1
        await asyncio.sleep(0)
        if body in failing:
            raise Unconfirmed("the broker is in need", None)

    monkeypatch.setattr(ConfirmedPublisher, "publish", publish)
    monkeypatch.setattr("signalq.consumer.broker.publisher.loop_s", lambda: 0.0)
    publisher = BrokerPublisher(Settings(), lambda: 0.0)

    def begin(body: bytes) -> asyncio.Task[None]:
        failing.add(body)
        return asyncio.create_task(publisher.dead_letter(body, Basic.Properties()))

    async def fails(body: bytes) -> asyncio.Task[None]:
        task = begin(body)
        await wait_until(lambda: tried[body] > 2)
        return task

    with capture_logs() as lines:
        first, second = await fails(b"first"), await fails(b"second")
        failing.remove(b"second")
        await second
        third = await fails(b"third")
        assert len(lines) == 1, "one of them was in trouble all the time"
        failing.clear()
        await asyncio.gather(first, third)
        fourth = await fails(b"fourth")
        assert lines[2]["event"] == "broker.publish_failed", "the trouble was over, and this is another one"
        failing.clear()
        await fourth
        fifth = await fails(b"fifth")
        fifth.cancel()
        await asyncio.gather(fifth, return_exceptions=True)
        assert lines[-1]["event"] == "broker.publish_failed", "what is given up is not confirmed"
        lines.pop()
    assert [line["event"] for line in lines] == ["broker.publish_failed", "broker.publish_recovered"] * 2
    assert lines[1]["failures"] >= 6
    assert lines[3]["failures"] >= 2
