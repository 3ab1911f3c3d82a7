"""The encoding of spans: the SDK's own exporter makes the same bytes of them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from signalq.traces.encoding import encoded

RESOURCE = Resource({"service.name": "signalq", "service.instance.id": "host:1"}, "https://example.com/schema")
OURS = InstrumentationScope("signalq", "1.0", "https://opentelemetry.io/schemas/1.44.0")
OTHER = InstrumentationScope("another", attributes={"with": "attributes"})


def context(span_id: int, *, is_remote: bool = False, state: TraceState | None = None) -> SpanContext:
    return SpanContext(2**127 + 7, span_id, is_remote, TraceFlags(1), state)


def span(name: str = "POST", scope: InstrumentationScope | None = OURS, **more: Any) -> ReadableSpan:
    given: dict[str, Any] = {
        "context": context(2**63 + 1),
        "resource": RESOURCE,
        "kind": SpanKind.CLIENT,
        "start_time": 1_796_000_000_000_000_001,
        "end_time": 1_796_000_000_000_000_002,
        "instrumentation_scope": scope,
    }
    return ReadableSpan(name, **(given | more))


@pytest.mark.parametrize(
    "spans",
    [
        [span()],
        [span(kind=kind) for kind in SpanKind],
        [span(parent=context(3, is_remote=True)), span(parent=context(4))],
        [span(context=context(5, state=TraceState([("vendor", "opaque"), ("b", "2")])))],
        [
            span(
                attributes={"text": "ü\x00", "yes": True, "int": -(2**40), "float": 0.1, "many": ("a", "b"), "none": ()}
            )
        ],
        [span(links=[Link(context(6, is_remote=True)), Link(context(7), {"why": "replayed"})])],
        [span(events=[Event("exception", {"exception.type": "ValueError"}, 5)])],
        [span(status=Status(StatusCode.ERROR, "HTTP 429")), span(status=Status(StatusCode.OK))],
        [span(scope=OTHER), span("a"), span("b", None), span("c", OTHER), span("d")],
    ],
)
def test_a_request_is_the_same_as_the_one_that_the_sdk_makes(spans: list[ReadableSpan]) -> None:
    request = ExportTraceServiceRequest.FromString(encoded(spans))
    assert request == encode_spans(spans)
    assert sum(len(scoped.spans) for scoped in request.resource_spans[0].scope_spans) == len(spans)


def test_a_value_that_opentelemetry_does_not_know_is_told_as_it_is_written() -> None:
    (resource,) = ExportTraceServiceRequest.FromString(encoded([span(attributes={"odd": 1j})])).resource_spans
    (attribute,) = resource.scope_spans[0].spans[0].attributes
    assert attribute.value.string_value == "1j"
