"""The OpenAPI 3.1 document of the gateway: orders in by HTTP, and how each is answered.

The intent's schema is that of `signalq schema`, with the token that the gateway asks for; the statuses are those of
answers.py.
"""

from typing import Any

from signalq.documents.json_schema import intent_schema
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.names import LADDER_MAX_S
from signalq.producers.gateway.answers import INTENT_ID_HEADER, STATUSES, WEBHOOK_PATH
from signalq.producers.gateway.arrays import ORDERS_MAX
from signalq.version import __version__

REFUSED = [status for status in STATUSES if status >= 400]
RETRY_STATUSES = (429, 503)

Document = dict[str, Any]
_TEXT = {"type": "string"}
_ORDER = {"$ref": "#/components/schemas/OrderIntent"}
_ORDERS = {"$ref": "#/components/schemas/Orders"}


def openapi_document(
    *, url: str, with_path_secret: bool = False, delay_max_s: int = LADDER_MAX_S, time_field: str | None = None
) -> Document:
    """The document of a gateway at `url`; it does not hold the path secret. `delay_max_s` in seconds."""
    path = f"/{{pathSecret}}{WEBHOOK_PATH}" if with_path_secret else WEBHOOK_PATH
    parameters = {"parameters": [_PATH_SECRET]} if with_path_secret else {}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "signalq gateway",
            "version": __version__,
            "summary": "Orders by HTTP, as the platform's own webhook takes them.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url}],
        "tags": [{"name": "orders"}, {"name": "health"}],
        "paths": {
            path: {"post": _TAKE_ORDER | parameters},
            "/healthz": {"get": _look("healthz", "Whether the process makes progress.", 200)},
            "/readyz": {"get": _look("readyz", "Whether it is connected to RabbitMQ.", 200, 503)},
            "/metrics": {"get": _look("metrics", "Its metrics, as Prometheus reads them.", 200)},
        },
        "components": {
            "schemas": {"Orders": _ONE_OR_MORE, "OrderIntent": _order(delay_max_s, time_field), "Problem": _PROBLEM},
            "responses": {f"Refused{status}": _response(status) for status in REFUSED},
        },
    }


def _look(operation_id: str, summary: str, *statuses: int) -> Document:
    words = {200: "Yes, or what was asked for.", 503: "Not now; the body says why."}
    content = {"text/plain": {"schema": _TEXT}}
    return {
        "operationId": operation_id,
        "tags": ["health"],
        "summary": summary,
        "responses": {str(status): {"description": words[status], "content": content} for status in statuses},
    }


def _order(delay_max_s: int, time_field: str | None) -> Document:
    schema = intent_schema(delay_max_s=delay_max_s)
    needed = {"type": "string", "description": "The connector's secret; it must be the configured one, where one is."}
    token = schema["properties"]["connectorToken"] | needed
    return schema | {
        "required": [*schema["required"], "connectorToken"],
        "properties": schema["properties"]
        | {"connectorToken": token}
        | ({time_field: _TIME} if time_field is not None else {}),
        "examples": [example | {"connectorToken": "..."} for example in schema["examples"]],
    }


def _response(status: int) -> Document:
    headers: Document = {}
    if status in RETRY_STATUSES:
        seconds = {"type": "integer", "minimum": 1}
        headers = {"Retry-After": {"description": "Seconds to wait.", "required": True, "schema": seconds}}
    if status == 405:
        headers = {"Allow": {"description": "The methods that are here.", "schema": _TEXT}}
    return {
        "description": STATUSES[status],
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        **({"headers": headers} if headers else {}),
    }


_PATH_SECRET = {
    "name": "pathSecret",
    "in": "path",
    "required": True,
    "description": "gateway.path_secret; it may stand behind the path instead.",
    "schema": {"type": "string", "format": "password"},
}

_ONE_OR_MORE: Document = {
    "description": "One order, or several: then all of them are taken, or none.",
    "anyOf": [_ORDER, {"type": "array", "minItems": 1, "maxItems": ORDERS_MAX, "items": _ORDER}],
}

_TIME: Document = {
    "description": (
        "The order's own time, from which its age and its delay count: ISO 8601 with its zone, or ms since 1970. "
        "It is not passed on; without it, or with null, it is the time at which the request comes."
    ),
    "type": ["string", "integer", "null"],
    "examples": ["2026-01-31T12:00:00Z", 1_769_860_800_000],
}

_TAKE_ORDER: Document = {
    "operationId": "takeOrder",
    "tags": ["orders"],
    "summary": "Queue an order, or several.",
    "description": (
        "Answered `ok` once RabbitMQ has the order on disk, of an array all of them, always within 3 seconds. The "
        "Content-Type does not matter, the body does: JSON under text/plain is taken too. What equals a request of the "
        "last 30 seconds that was not answered `ok` is its repeat, and the same order."
    ),
    "requestBody": {
        "required": True,
        "description": f"At most {BODY_BYTES_MAX} bytes, not compressed.",
        "content": {
            "application/json": {"schema": _ORDERS},
            "text/plain": {"schema": {**_TEXT, "contentMediaType": "application/json", "contentSchema": _ORDERS}},
        },
    },
    "responses": {
        "200": {
            "description": STATUSES[200],
            "content": {"text/plain": {"schema": {"const": "ok"}}},
            "headers": {
                INTENT_ID_HEADER: {
                    "description": "The intent_id of each order, in their order, separated by commas.",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                }
            },
        },
        **{str(status): {"$ref": f"#/components/responses/Refused{status}"} for status in REFUSED},
    },
}

_FIELD = {"type": ["string", "null"], "description": "The field that is wrong; null: the request."}
_PROBLEM = {
    "description": "A problem (RFC 9457). No value of the request is quoted.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "fields"],
    "properties": {
        "type": {"const": "about:blank"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "enum": REFUSED},
        "detail": {"type": "string", "description": "All of it, in one sentence or more."},
        "order": {
            "type": "integer",
            "minimum": 1,
            "maximum": ORDERS_MAX,
            "description": "The place of the bad order in an array; the first one is 1, and none of them was taken.",
        },
        "fields": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["field", "problem"],
                "properties": {"field": _FIELD, "problem": _TEXT},
            },
        },
    },
}
