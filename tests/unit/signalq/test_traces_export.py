"""Spans on their way to the collector: bounded, never in the way, and each loss counted."""

from __future__ import annotations

import asyncio
import threading

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from signalq.errors import SettingsError
from signalq.traces.export import FLUSH_S, FULL, NOT_FLUSHED, QUEUE_MAX, Export
from signalq.traces.losses import Losses
from tests.support.collector import Collector

MORE = 100


class Told:
    """The listeners, and what they were told."""

    def __init__(self) -> None:
        self.counted = 0
        self.said: list[tuple[str, int]] = []
        self.losses = Losses(count=self.count, tell=lambda why, spans: self.said.append((why, spans)))
        self._lock = threading.Lock()

    def count(self, spans: int) -> None:
        with self._lock:
            self.counted += spans


def export(told: Told, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Export:
    for name, value in collector.environment.items():
        monkeypatch.setenv(name, value)
    # The provider of this process is nobody's business but the program's.
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _provider: None)
    return Export("signalq", namespace="signalq", shown_endpoint="http://127.0.0.1", losses=told.losses)


def make_one(exporting: Export) -> None:
    place = exporting.maker.place("one", SpanKind.CLIENT, None, (), always=True)
    assert place is not None
    exporting.maker.make("one", SpanKind.CLIENT, place, {}, (1, 2))


async def test_all_spans_that_wait_are_exported_at_the_end_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    async with Collector() as collector:
        exporting = export(told, collector, monkeypatch)
        for _ in range(MORE):
            make_one(exporting)
        await _closed(exporting)
        assert len(collector.spans) == MORE
    assert (told.counted, told.said) == (0, [])


async def test_beside_a_collector_that_hangs_so_many_wait_and_the_rest_is_dropped_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    async with Collector() as collector:
        collector.gate.clear()
        exporting = export(told, collector, monkeypatch)
        for _ in range(QUEUE_MAX + MORE):
            make_one(exporting)
        assert told.counted == MORE
        await _closed(exporting)
    assert told.counted == QUEUE_MAX + MORE
    assert told.said == [(FULL, 1), (NOT_FLUSHED, QUEUE_MAX + MORE - 1)]


async def test_spans_that_the_collector_refuses_are_lost_and_told_by_its_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    async with Collector() as collector:
        collector.status = 400
        exporting = export(told, collector, monkeypatch)
        make_one(exporting)
        await _closed(exporting)
    assert (told.counted, told.said) == (1, [("HTTP 400", 1)])


async def test_a_collector_that_is_not_there_is_told_in_plain_words_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    async with Collector() as collector:
        exporting = export(told, collector, monkeypatch)
    make_one(exporting)
    await _closed(exporting)
    assert (told.counted, told.said) == (1, [("connection refused: nothing listens there", 1)])


async def test_variables_that_contradict_each_other_are_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100000")
    async with Collector() as collector:
        with pytest.raises(SettingsError, match=r"OTEL_ variable.*OTEL_TRACES_EXPORTER=none"):
            export(Told(), collector, monkeypatch)


async def _closed(exporting: Export) -> None:
    """Close it beside the collector, which is in this loop."""

    closing = threading.Thread(target=exporting.close, daemon=True)
    closing.start()
    await asyncio.to_thread(closing.join, FLUSH_S + 30)
    assert not closing.is_alive()
