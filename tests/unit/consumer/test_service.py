"""The end of the consumer: how it ends, and that every task it owns ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from signalq.consumer import kept_going
from signalq.consumer.handling import Handling
from signalq.consumer.service import Service, _ended
from signalq.consumer.telemetry.metrics import Metrics
from signalq.errors import BrokerError, SettingsError
from signalq.settings.sections import Settings


class Quiet:
    """Does nothing, whatever is called; `asynchronous` names the methods that are awaited."""

    def __init__(self, *asynchronous: str) -> None:
        self._asynchronous = asynchronous

    def __getattr__(self, name: str) -> Any:
        async def later(**_options: object) -> None:
            return

        return later if name in self._asynchronous else lambda *_arguments: None


def service(lane_ends_by: BaseException | None) -> Service:
    """One lane, whose task ends so; None: not by itself."""

    async def consume() -> None:
        if lane_ends_by is not None:
            raise lane_ends_by
        await asyncio.Event().wait()

    lanes: Any = Quiet("close", "consume_retired")
    lanes.lasting = [SimpleNamespace(queue="q", run=consume, consuming=asyncio.Event())]
    return Service(
        Settings(),
        lanes=lanes,
        handling=Handling(Settings(), cast("Any", Quiet("told", "close")), cast("Any", Quiet())),
        publisher=cast("Any", Quiet("close")),
        ledger=cast("Any", Quiet()),
        metrics=Metrics(()),
    )


async def test_a_lane_that_is_canceled_though_nobody_asked_to_stop_is_a_failure() -> None:
    with capture_logs() as logs, pytest.raises(BrokerError, match="the task lane q was canceled"):
        await service(asyncio.CancelledError())._serve(0)
    assert [line["event"] for line in logs] == ["service.draining", "service.stopped"]


async def test_the_error_that_ends_a_lane_is_raised_after_the_drain() -> None:
    with capture_logs(), pytest.raises(SettingsError, match="another ledger"):
        await service(SettingsError("another ledger"))._serve(0)


async def test_a_service_that_is_asked_to_stop_ends_without_an_error() -> None:
    consumer = service(None)
    consumer._asked_to_stop()
    with capture_logs():
        await consumer._serve(0)


async def test_the_retired_lanes_are_asked_for_again_when_the_ledger_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_going, "PAUSE_S", 0)
    consumer, asked, found = service(None), [0], asyncio.Event()

    async def consume_retired() -> None:
        asked[0] += 1
        if asked[0] == 1:
            raise RuntimeError("the ledger")
        found.set()

    consumer._lanes.consume_retired = consume_retired  # type: ignore[method-assign]
    with capture_logs() as logs:
        serving = asyncio.create_task(consumer._serve(0))
        async with asyncio.timeout(30):
            await found.wait()
        consumer._asked_to_stop()
        await serving
    assert [line["task"] for line in logs if line["event"] == "service.task_failed"] == ["retired lanes"]


async def test_a_task_that_has_lost_its_cancellation_is_canceled_again() -> None:
    lost = 0

    async def loses_the_first() -> None:
        nonlocal lost
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
                if lost > 1:
                    raise

    task = asyncio.create_task(loses_the_first())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await _ended([task])
    assert task.cancelled()
    assert lost == 2
