"""A collector of traces on loopback, which speaks OTLP over HTTP: it decodes what comes, and answers as the test says.

async with Collector() as collector:
    ...                                    # environment | collector.environment
    spans = await collector.named("POST", 1)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Encoded

from tests.support.waiting import PATIENCE_S, wait_until

KINDS = {
    Encoded.SPAN_KIND_INTERNAL: "INTERNAL",
    Encoded.SPAN_KIND_SERVER: "SERVER",
    Encoded.SPAN_KIND_CLIENT: "CLIENT",
    Encoded.SPAN_KIND_PRODUCER: "PRODUCER",
    Encoded.SPAN_KIND_CONSUMER: "CONSUMER",
}
# Spans are exported so often, and not after the 5 s that are usual.
DELAY_MS = 20


@dataclass(frozen=True)
class Span:
    """A span as it came; ids are hexadecimal, `parent` is empty for a root. `links` are pairs of trace and span."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    is_error: bool
    says: str
    began_ns: int
    ended_ns: int
    resource: dict[str, Any] = field(repr=False)
    scope: tuple[str, str, str] = field(repr=False)

    @property
    def traceparent(self) -> str:
        """The header that names it, sampled."""
        return f"00-{self.trace}-{self.id}-01"


class Collector:
    """The server; `spans` holds every span that came, in the order of their coming."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.requests = 0
        self.headers: list[Mapping[str, str]] = []
        self.status = 200
        # The statuses of the next requests, before `status`.
        self.next_statuses: list[int] = []
        # Not answered before it is set.
        self.gate = asyncio.Event()
        self.gate.set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    @property
    def environment(self) -> dict[str, str]:
        """The standard variables that lead here."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._port}",
            "OTEL_BSP_SCHEDULE_DELAY": str(DELAY_MS),
        }

    def named(self, name: str) -> list[Span]:
        """The spans of this name so far."""
        return [span for span in self.spans if span.name == name]

    def in_trace(self, trace: str) -> list[Span]:
        """The spans of a trace so far, in the order of their beginning."""
        return sorted((span for span in self.spans if span.trace == trace), key=lambda span: span.began_ns)

    async def received(self, count: int, timeout_s: float = PATIENCE_S) -> list[Span]:
        """Wait for this many spans; all that came."""
        await wait_until(lambda: len(self.spans) >= count, timeout_s, what=f"{count} spans, of which came {self.spans}")
        return self.spans

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._runner is not None
        self.gate.set()
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        self.requests += 1
        self.headers.append(request.headers)
        body = await request.read()
        await self.gate.wait()
        status = self.next_statuses.pop(0) if self.next_statuses else self.status
        if status == 200:
            self.spans += _decoded(ExportTraceServiceRequest.FromString(body))
        return web.Response(status=status, content_type="application/x-protobuf")


def _decoded(request: ExportTraceServiceRequest) -> list[Span]:
    return [
        Span(
            name=span.name,
            kind=KINDS[span.kind],
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
            attributes=_attributes(span.attributes),
            is_error=span.status.code == span.status.STATUS_CODE_ERROR,
            says=span.status.message,
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            resource=_attributes(resource.resource.attributes),
            scope=(scoped.scope.name, scoped.scope.version, scoped.schema_url),
        )
        for resource in request.resource_spans
        for scoped in resource.scope_spans
        for span in scoped.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value"))
