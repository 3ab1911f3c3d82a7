"""The spans of publishes: by the OpenTelemetry that is in use; an order goes out whatever that does."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

from signalq.errors import Unconfirmed
from signalq.message.trace_context import traceparent_of
from signalq.publishing.spans import API, NO_SPAN, PublishSpans, attributes_of

SPANS = ("amqps://user:secret@broker.example/desk", "signalq.orders", "signalq publisher -")


def test_no_span_is_begun_and_nothing_imported_where_opentelemetry_is_not_in_use() -> None:
    look = (
        "import sys\n"
        "from signalq.publishing.publisher import OrderPublisher\n"
        "from signalq.publishing.spans import NO_SPAN, PublishSpans\n"
        f"assert PublishSpans(*{SPANS}).begin('main', 'id') is NO_SPAN\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)  # noqa: S603 - our own program


class Broken(ModuleType):
    """An API of a version that nobody has seen."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def test_an_api_that_fails_costs_the_span_and_not_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, API, Broken(API))
    span = PublishSpans(*SPANS).begin("main", "id")
    assert (span, dict(span.headers)) == (NO_SPAN, {})
    span.end(Unconfirmed("why", "id"))


@pytest.mark.parametrize(
    "held", [("t0ken-of-the-order", "id"), ("main", "T0KEN-OF-THE-ORDER"), ("a t0ken-of-the-order", "x")]
)
def test_no_span_shows_the_orders_own_token_in_a_name(held: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    monkeypatch.setitem(sys.modules, API, trace)
    assert PublishSpans(*SPANS).begin(*held, "t0ken-of-the-order") is NO_SPAN
    assert PublishSpans(*SPANS).begin("main", "id", "t0ken-of-the-order") is not NO_SPAN


def test_the_brokers_address_is_told_without_its_login() -> None:
    told = attributes_of(SPANS[0], "me")
    assert told == {
        "messaging.system": "rabbitmq",
        "messaging.client.id": "me",
        "server.address": "broker.example",
        "server.port": 5671,
    }
    assert "server.port" not in attributes_of("amqp://host:port/", "me")


def test_the_header_and_the_state_of_a_trace_are_those_of_the_span() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    state = trace.TraceState([("vendor", "opaque")])
    context = trace.SpanContext(1, 2, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=state)
    with trace.use_span(trace.NonRecordingSpan(context)):
        # Without a provider the API hands the current span's context on.
        span = PublishSpans(*SPANS).begin("main", "id")
    assert span.headers["tracestate"] == "vendor=opaque"
    found = traceparent_of(span.headers["traceparent"])
    assert found is not None
    assert found.trace == f"{1:032x}"
    span.end()
    assert dict(PublishSpans(*SPANS).begin("main", "id").headers) == {}
