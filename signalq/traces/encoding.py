"""Spans as the bytes that a collector takes: a request of OTLP, in the classes that its own schema gives.

The exporter of the SDK makes objects of each value, and copies them at each level: with all orders traced, that was
three quarters of the price. Here each span is made in its place, in one call (ran, 1.45.2, ./run bench-traces).

Only export.py imports this module, where traces are on: it loads OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, SpanFlags
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind

_KINDS = {
    SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: Span.SPAN_KIND_CLIENT,
    SpanKind.PRODUCER: Span.SPAN_KIND_PRODUCER,
    SpanKind.CONSUMER: Span.SPAN_KIND_CONSUMER,
}
_FIELDS = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value", bytes: "bytes_value"}
_KNOWS_WHERE = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_IS_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK

Fields = dict[str, Any]


def encoded(spans: Sequence[ReadableSpan]) -> bytes:
    """The request that exports these spans, of which there is at least one, of one process."""
    request = ExportTraceServiceRequest()
    resource = spans[0].resource
    all_of_it = request.resource_spans.add(
        resource={"attributes": _pairs(resource.attributes)}, schema_url=resource.schema_url
    )
    scopes: dict[InstrumentationScope | None, Any] = {}
    for span in spans:
        scope = span.instrumentation_scope
        if scope not in scopes:
            scopes[scope] = all_of_it.scope_spans.add(**_scope(scope)).spans
        scopes[scope].add(**_span(span))
    serialized: bytes = request.SerializeToString()
    return serialized


def _scope(scope: InstrumentationScope | None) -> Fields:
    if scope is None:
        return {"scope": {}}
    about = {"name": scope.name, "version": scope.version, "attributes": _pairs(scope.attributes)}
    return {"scope": about, "schema_url": scope.schema_url}


def _span(span: ReadableSpan) -> Fields:
    context, parent = span.get_span_context(), span.parent
    fields: Fields = {
        "trace_id": _trace_id(context),
        "span_id": _span_id(context),
        "name": span.name,
        "kind": _KINDS[span.kind],
        "start_time_unix_nano": span.start_time,
        "end_time_unix_nano": span.end_time,
        "attributes": _pairs(span.attributes),
        "status": {"code": span.status.status_code.value, "message": span.status.description},
        "flags": _flags(parent),
        "dropped_attributes_count": span.dropped_attributes,
        "dropped_events_count": span.dropped_events,
        "dropped_links_count": span.dropped_links,
    }
    if parent is not None:
        fields["parent_span_id"] = _span_id(parent)
    if context is not None and context.trace_state:
        fields["trace_state"] = context.trace_state.to_header()
    if span.links:
        fields["links"] = [_link(link) for link in span.links]
    if span.events:
        fields["events"] = [_event(event) for event in span.events]
    return fields


def _link(link: Link) -> Fields:
    return {
        "trace_id": _trace_id(link.context),
        "span_id": _span_id(link.context),
        "attributes": _pairs(link.attributes),
        "flags": _flags(link.context),
    }


def _event(event: Event) -> Fields:
    return {"name": event.name, "time_unix_nano": event.timestamp, "attributes": _pairs(event.attributes)}


def _pairs(attributes: Mapping[str, Any] | None) -> list[Fields]:
    if not attributes:
        return []
    return [{"key": name, "value": _value(value)} for name, value in attributes.items()]


def _value(value: Any) -> Fields:
    """A value by its type; any that OpenTelemetry does not know as it is written."""
    field = _FIELDS.get(type(value))
    if field is not None:
        return {field: value}
    if isinstance(value, (list, tuple)):
        return {"array_value": {"values": [_value(one) for one in value]}}
    return {"string_value": str(value)}


def _trace_id(context: SpanContext | None) -> bytes:
    return context.trace_id.to_bytes(16, "big") if context is not None else b""


def _span_id(context: SpanContext | None) -> bytes:
    return context.span_id.to_bytes(8, "big") if context is not None else b""


def _flags(parent: SpanContext | None) -> int:
    return _KNOWS_WHERE | _IS_REMOTE if parent is not None and parent.is_remote else _KNOWS_WHERE
