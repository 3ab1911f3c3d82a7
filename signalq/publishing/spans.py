"""A span for each publish, by the OpenTelemetry that its process has in use; nothing is ever imported for that.

Names and attributes are those of the semantic conventions, as docs/traces.md lists them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from yarl import URL

from signalq import names
from signalq.errors import SignalQError
from signalq.message.envelope import NO_TRACE
from signalq.message.trace_context import TraceParent
from signalq.secrets.blanking import hold_token
from signalq.version import __version__

SCOPE = "signalq"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
# The API has been imported by whoever uses it; the root of its name is there with any part of it.
API, CONTEXT = "opentelemetry.trace", "opentelemetry.context"
DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}
TRACESTATE_CHARACTERS_MAX = 512
# A shorter token may stand in a name by chance.
TOKEN_CHARACTERS_MIN = 8


class Span:
    """The span of one publish, and the headers that name it; this class itself is none."""

    headers: Mapping[str, str] = NO_TRACE

    def end(self, error: BaseException | None = None) -> None:
        """Note, once, that the publish has ended: confirmed, or with this error."""


NO_SPAN = Span()


class PublishSpans:
    """Begins the spans of what is published to one exchange, over a connection that RabbitMQ lists as `client_id`."""

    def __init__(self, url: str, exchange: str, client_id: str) -> None:
        self._exchange = exchange
        self._client_id = client_id
        self._common = attributes_of(url, client_id) | {
            "messaging.operation.type": "send",
            "messaging.destination.template": exchange,
        }
        self._tracer: Any = None

    def begin(self, routing_key: str, message_id: str, token: str | None = None) -> Span:
        """Begin the span of a publish, below the span that is current.

        `token` is the order's: none is begun where a name that the span would show holds it. No consumer takes such an
        order.
        """
        if token and API in sys.modules and _holds([routing_key, message_id, self._client_id], token):
            return NO_SPAN
        return self._begun("publish", routing_key, message_id)

    def begin_replay(self, routing_key: str, message_id: str, *, began_ns: int, order: TraceParent | None) -> Span:
        """Begin the span of a replay, which began before: a trace of its own, with a link to the order's."""

        def apart(api: Any) -> dict[str, Any]:
            links = [api.Link(context_of(api, order))] if order is not None else []
            return {"context": sys.modules[CONTEXT].Context(), "links": links, "start_time": began_ns}

        return self._begun("replay", routing_key, message_id, apart)

    def _begun(
        self, operation: str, routing_key: str, message_id: str, place: Callable[[Any], dict[str, Any]] | None = None
    ) -> Span:
        api: Any = sys.modules.get(API)
        if api is None:
            return NO_SPAN
        own = {
            "messaging.operation.name": operation,
            "messaging.destination.name": f"{self._exchange}:{routing_key}",
            "messaging.rabbitmq.destination.routing_key": routing_key,
            "messaging.message.id": message_id,
        }
        try:
            # Asked for once: a tracer that comes before its provider finds it later.
            self._tracer = self._tracer or api.get_tracer(SCOPE, __version__, schema_url=SCHEMA_URL)
            span = self._tracer.start_span(
                f"{operation} {self._exchange}",
                kind=api.SpanKind.PRODUCER,
                attributes=self._common | own,
                **(place(api) if place is not None else {}),
            )
            return _OpenSpan(api, span)
        except Exception:  # noqa: BLE001 - an order goes out, whatever becomes of its span in any version of that API
            return NO_SPAN


class _OpenSpan(Span):
    """A span that was begun."""

    def __init__(self, api: Any, span: Any) -> None:
        self._api = api
        self._span = span
        self.headers = _headers_of(span.get_span_context())

    def end(self, error: BaseException | None = None) -> None:
        """See Span."""
        with suppress(Exception):
            if error is not None:
                self._span.set_attribute("error.type", _type_of(error))
                self._span.set_status(self._api.Status(self._api.StatusCode.ERROR))
            self._span.end()


def attributes_of(url: str, client_id: str) -> dict[str, Any]:
    """The attributes of every span about RabbitMQ: the broker at `url`, and the connection's name."""
    found: dict[str, Any] = {"messaging.system": "rabbitmq", "messaging.client.id": client_id}
    with suppress(ValueError):  # a URL that is none is told where it is connected to
        parsed = URL(url)
        if parsed.host is not None:
            found["server.address"] = parsed.host
            found["server.port"] = parsed.explicit_port or DEFAULT_PORTS.get(parsed.scheme, 5672)
    return found


def context_of(api: Any, parent: TraceParent) -> Any:
    """The context of a span in another process."""
    flags = api.TraceFlags(int(parent.flags, 16))
    return api.SpanContext(int(parent.trace, 16), int(parent.span, 16), is_remote=True, trace_flags=flags)


def _headers_of(context: Any) -> Mapping[str, str]:
    """The headers that name a span; none, for one that is in no trace."""
    if not context.is_valid:
        return NO_TRACE
    own = TraceParent(f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{int(context.trace_flags):02x}")
    state = context.trace_state.to_header() if context.trace_state else ""
    if not state or len(state) > TRACESTATE_CHARACTERS_MAX:
        return {names.TRACEPARENT: own.header()}
    return {names.TRACEPARENT: own.header(), names.TRACESTATE: state}


def _holds(names: list[str], token: str) -> bool:
    return len(token) >= TOKEN_CHARACTERS_MIN and hold_token(names, token)


def _type_of(error: BaseException) -> str:
    return str(error.kind) if isinstance(error, SignalQError) else type(error).__name__
