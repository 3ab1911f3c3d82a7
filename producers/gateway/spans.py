"""The span of a request whose orders are published, where OpenTelemetry is in use here; nothing is imported for it.

The spans of its orders lie below it. A request that is refused before that has none: strangers make no spans.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from signalq import names
from signalq.message.trace_context import TraceParent, traceparent_of
from signalq.producers.gateway.answers import WEBHOOK_PATH
from signalq.publishing.spans import API, CONTEXT, SCHEMA_URL, SCOPE, context_of
from signalq.version import __version__

# No address of the caller, and no path as it came: that holds the path secret.
ATTRIBUTES = {
    "http.request.method": "POST",
    "http.route": WEBHOOK_PATH,
    "url.path": WEBHOOK_PATH,
    "url.scheme": "http",
}


def caller_of(request: web.Request) -> TraceParent | None:
    """The span that the headers of a request name; of several such headers none counts."""
    given = request.headers.getall(names.TRACEPARENT, [])
    return traceparent_of(given[0]) if len(given) == 1 else None


class RequestSpans:
    """Makes the spans of requests; see publishing/spans.py."""

    def __init__(self) -> None:
        self._tracer: Any = None

    def of(self, caller: TraceParent | None, began_s: float) -> RequestSpan:
        """The span of a request that came at `began_s` of the monotonic clock, from the caller's span."""
        api: Any = sys.modules.get(API)
        if api is not None and self._tracer is None:
            with suppress(Exception):
                self._tracer = api.get_tracer(SCOPE, __version__, schema_url=SCHEMA_URL)
        return RequestSpan(api if self._tracer is not None else None, self._tracer, caller, began_s)


class RequestSpan:
    """A block in which a request is answered; without an `api` it has no span."""

    def __init__(self, api: Any, tracer: Any, caller: TraceParent | None, began_s: float) -> None:
        self._api = api
        self._tracer = tracer
        self._caller = caller
        self._began_ns = time.time_ns() - round((time.monotonic() - began_s) * 1e9)
        self._span: Any = None
        self._token: Any = None

    def answered(self, status: int) -> None:
        """Note the answer's status."""
        if self._span is None:
            return
        with suppress(Exception):
            self._span.set_attribute("http.response.status_code", status)
            if status >= 500:
                self._failed(str(status))

    def __enter__(self) -> Self:
        if self._api is not None:
            with suppress(Exception):  # an order goes out, whatever becomes of its span
                self._begin()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        with suppress(Exception):
            if self._token is not None:
                sys.modules[CONTEXT].detach(self._token)
            if exc_type is not None:
                self._failed(exc_type.__name__)
            self._span.end()

    def _begin(self) -> None:
        api, contexts = self._api, sys.modules[CONTEXT]
        context = contexts.Context()
        if self._caller is not None:
            context = api.set_span_in_context(api.NonRecordingSpan(context_of(api, self._caller)), context)
        self._span = self._tracer.start_span(
            f"POST {WEBHOOK_PATH}",
            context=context,
            kind=api.SpanKind.SERVER,
            attributes=ATTRIBUTES,
            start_time=self._began_ns,
        )
        self._token = contexts.attach(api.set_span_in_context(self._span))

    def _failed(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(self._api.Status(self._api.StatusCode.ERROR))
