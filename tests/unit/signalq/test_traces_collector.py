"""Requests to the collector: where they go, with what, and when they are sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from signalq.errors import SettingsError
from signalq.traces import collector as module
from signalq.traces.collector import PAUSES_S, Collector
from signalq.traces.encoding import encoded
from tests.support import collector as support
from tests.unit.signalq.test_traces_encoding import span

ONE = encoded([span()])
BASE, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


async def take(variables: Mapping[str, str], request: bytes = ONE) -> str | None:
    """Send one beside the collector, which is in this loop."""
    collector = Collector(variables)
    try:
        return await asyncio.to_thread(collector.take, request)
    finally:
        collector.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0,) * len(PAUSES_S))


@pytest.mark.parametrize("compression", [None, "none", "gzip", "deflate"])
async def test_a_request_has_the_headers_and_the_compression_of_the_environment(compression: str | None) -> None:
    async with support.Collector() as there:
        variables = there.environment | {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20b, x-team = desk"}
        if compression is not None:
            variables["OTEL_EXPORTER_OTLP_COMPRESSION"] = compression
        assert await take(variables) is None
    (headers,) = there.headers
    assert (headers["x-key"], headers["x-team"], headers["Content-Type"]) == ("a b", "desk", "application/x-protobuf")
    assert headers.get("Content-Encoding") == (compression if compression in {"gzip", "deflate"} else None)
    assert [one.name for one in there.spans] == ["POST"]


async def test_the_variable_for_traces_is_the_whole_url_and_wins() -> None:
    async with support.Collector() as there:
        base = there.environment[BASE]
        assert await take({BASE: f"{base}/", "OTEL_EXPORTER_OTLP_TIMEOUT": "5"}) is None
        assert await take({BASE: "http://127.0.0.1:1", TRACES: f"{base}/v1/traces"}) is None
        assert await take({BASE: base, TRACES: base}) == "HTTP 404"
    assert len(there.spans) == 2


async def test_a_failure_that_may_pass_is_sent_again_and_no_other_is() -> None:
    async with support.Collector() as there:
        there.next_statuses = [503, 429, 200]
        assert await take(there.environment) is None
        assert (there.requests, len(there.spans)) == (3, 1)
        there.next_statuses = [400]
        assert await take(there.environment) == "HTTP 400"
        assert there.requests == 4
        there.status = 502
        assert await take(there.environment) == "HTTP 502"
        assert there.requests == 4 + 1 + len(PAUSES_S)


async def test_a_redirect_is_not_followed() -> None:
    async with support.Collector() as there:
        there.next_statuses = [307]
        assert await take(there.environment) == "HTTP 307"
    assert there.requests == 1


async def test_one_that_hangs_is_left_after_its_time() -> None:
    async with support.Collector() as there:
        there.gate.clear()
        assert await take(there.environment | {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0.2"}) == "no answer in time"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10000"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "zip-secret"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_its_name(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Collector({BASE: "http://127.0.0.1:1", variable: value})
    assert str(refused.value).startswith(f"{variable} must be ")
    assert "secret" not in str(refused.value)


async def test_in_a_hurry_it_waits_for_nothing_but_tries_again_what_may_have_been_an_old_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 3600.0))
    async with support.Collector() as there:
        collector = Collector(there.environment | {"OTEL_EXPORTER_OTLP_TIMEOUT": "600"})
        there.status = 503
        taking = asyncio.create_task(asyncio.to_thread(collector.take, ONE))
        collector.hurry()
        assert await asyncio.wait_for(taking, 30) == "HTTP 503"
        collector.close()
    assert there.requests == 2
