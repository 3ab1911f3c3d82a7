"""Spans that are made when all is known of them: sampled as the SDK does it, and handed to its processor.

A tracer's spans may grow until they end, with locks and bounds for that, and cost more than twice as much: with all
orders traced it was half of the price (ran, 1.45.2, ./run bench-traces).

Only modules that are loaded where traces are on import this one: it loads OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from signalq.publishing.spans import SCHEMA_URL, SCOPE
from signalq.version import __version__

UNSET = Status(StatusCode.UNSET)
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span is: its own context, the one above it, and the links to others."""

    context: SpanContext
    parent: SpanContext | None = None
    links: Sequence[Link] = ()


class SpanMaker:
    """Makes spans of one process, and gives them to `take`."""

    def __init__(self, sampler: Sampler, resource: Resource, take: Callable[[ReadableSpan], None]) -> None:
        self._sampler = sampler
        self._resource = resource
        self._take = take
        self._ids = RandomIdGenerator()
        self._scope = InstrumentationScope(SCOPE, __version__, SCHEMA_URL)

    def place(
        self, name: str, kind: SpanKind, parent: SpanContext | None, links: Sequence[Link], *, always: bool
    ) -> Place | None:
        """A place for the first span of a trace here; None where the sampler leaves it out, but never for `always`."""
        trace_id = parent.trace_id if parent is not None else self._ids.generate_trace_id()
        if not always:
            above = set_span_in_context(NonRecordingSpan(parent), Context()) if parent is not None else Context()
            says = self._sampler.should_sample(above, trace_id, name, kind, None, links)
            if says.decision is not Decision.RECORD_AND_SAMPLE:
                return None
        return Place(self._context(trace_id), parent, links)

    def below(self, place: Place) -> Place:
        """A place below another, which is exported as that one is."""
        return Place(self._context(place.context.trace_id), place.context)

    def make(
        self,
        name: str,
        kind: SpanKind,
        place: Place,
        attributes: Mapping[str, Any],
        times_ns: tuple[int, int],
        status: Status = UNSET,
    ) -> None:
        """Make a span, from its beginning to its end; one that would end before it began has no length."""
        began_ns, ended_ns = times_ns
        span = ReadableSpan(
            name,
            place.context,
            place.parent,
            self._resource,
            attributes,
            (),
            place.links,
            kind,
            status=status,
            start_time=began_ns,
            end_time=max(began_ns, ended_ns),
            instrumentation_scope=self._scope,
        )
        self._take(span)

    def _context(self, trace_id: int) -> SpanContext:
        return SpanContext(trace_id, self._ids.generate_span_id(), is_remote=False, trace_flags=_SAMPLED)
