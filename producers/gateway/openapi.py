"""The OpenAPI 3.1 document of the gateway: orders in by HTTP, and how each is answered.

The intent's schema is that of `signalq schema`, with the token that the gateway asks for; the statuses are those of
answers.py.
"""

from __future__ import annotations

from typing import Any

from signalq.documents.json_schema import intent_schema
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.names import LADDER_MAX_S
from signalq.producers.gateway.answers import STATUSES, WEBHOOK_PATH
from signalq.version import __version__

VERSION = "3.1.0"
RETRY_STATUSES = (429, 503)

Document = dict[str, Any]


def openapi_document(*, url: str, with_path_secret: bool = False, delay_max_s: int = LADDER_MAX_S) -> Document:
    """The document of a gateway at `url`; it does not hold the path secret. `delay_max_s` in seconds."""
    path = f"/{{pathSecret}}{WEBHOOK_PATH}" if with_path_secret else WEBHOOK_PATH
    return {
        "openapi": VERSION,
        "info": {
            "title": "signalq gateway",
            "version": __version__,
            "summary": "Orders by HTTP, as the platform's own webhook takes them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url}],
        "tags": [{"name": "orders"}, {"name": "health"}],
        "paths": {
            path: {"post": _take_order(with_path_secret=with_path_secret)},
            "/healthz": {"get": _look("healthz", "Whether the process makes progress.", 200)},
            "/readyz": {"get": _look("readyz", "Whether it is connected to RabbitMQ.", 200, 503)},
            "/metrics": {"get": _look("metrics", "Its metrics, as Prometheus reads them.", 200)},
        },
        "components": {
            "schemas": {"OrderIntent": _order(delay_max_s), "Problem": _PROBLEM},
            "responses": {_name(status): _response(status) for status in STATUSES if status >= 400},
        },
    }


def _take_order(*, with_path_secret: bool) -> Document:
    operation: Document = {
        "operationId": "takeOrder",
        "tags": ["orders"],
        "summary": "Queue an order.",
        "description": (
            "Answered `ok` once RabbitMQ has the order on disk, always within 3 seconds. The Content-Type does not "
            "matter, the body does: JSON under text/plain is taken too. What equals a request of the last 30 seconds "
            "that was not answered `ok` is its repeat, and the same order."
        ),
        "requestBody": {
            "required": True,
            "description": f"At most {BODY_BYTES_MAX} bytes, not compressed.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/OrderIntent"}},
                "text/plain": {"schema": _AS_TEXT},
            },
        },
        "responses": {
            "200": {"description": STATUSES[200], "content": {"text/plain": {"schema": {"const": "ok"}}}},
            **{
                str(status): {"$ref": f"#/components/responses/{_name(status)}"} for status in STATUSES if status >= 400
            },
        },
    }
    if with_path_secret:
        operation["parameters"] = [_PATH_SECRET]
    return operation


def _look(operation_id: str, summary: str, *statuses: int) -> Document:
    text = {"text/plain": {"schema": {"type": "string"}}}
    words = {200: "Yes, or what was asked for.", 503: "Not now; the body says why."}
    return {
        "operationId": operation_id,
        "tags": ["health"],
        "summary": summary,
        "responses": {str(status): {"description": words[status], "content": text} for status in statuses},
    }


def _order(delay_max_s: int) -> Document:
    schema = intent_schema(delay_max_s=delay_max_s)
    token = {
        **schema["properties"]["connectorToken"],
        "type": "string",
        "description": "The connector's secret; it must be the configured one, where one is.",
    }
    token.pop("anyOf", None)
    return {
        **schema,
        "required": [*schema["required"], "connectorToken"],
        "properties": schema["properties"] | {"connectorToken": token},
        "examples": [example | {"connectorToken": "..."} for example in schema["examples"]],
    }


def _response(status: int) -> Document:
    response: Document = {
        "description": STATUSES[status],
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in RETRY_STATUSES:
        seconds = {"type": "integer", "minimum": 1}
        response["headers"] = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": seconds}}
    if status == 405:
        response["headers"] = {"Allow": {"description": "The methods that are here.", "schema": {"type": "string"}}}
    return response


def _name(status: int) -> str:
    return f"Refused{status}"


_AS_TEXT = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": "#/components/schemas/OrderIntent"},
}

_PATH_SECRET = {
    "name": "pathSecret",
    "in": "path",
    "required": True,
    "description": "gateway.path_secret; it may stand behind the path instead.",
    "schema": {"type": "string", "format": "password"},
}

_PROBLEM = {
    "description": "A problem (RFC 9457). No value of the request is quoted.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "fields"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "enum": [status for status in STATUSES if status >= 400]},
        "detail": {"type": "string", "description": "All of it, in one sentence or more."},
        "fields": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {
                    "field": {
                        "type": ["string", "null"],
                        "description": "The field that is wrong; null: the request.",
                    },
                    "problem": {"type": "string"},
                },
            },
        },
    },
}
