"""The AsyncAPI 3.0 document of signalq's channels: orders in, outcomes and dead letters out."""

import types
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, get_args, get_origin, get_type_hints

from signalq import names
from signalq.documents.json_schema import DIALECT, intent_schema
from signalq.message.outcome import STATUSES, Outcome
from signalq.names import LADDER_MAX_S, Names
from signalq.version import __version__

VERSION = "3.0.0"
AMQP_BINDING_VERSION = "0.3.0"
# An AsyncAPI schema without a format would be draft 07.
SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"

Document = dict[str, Any]

_OUTCOME_FIELDS = {
    "intent_id": "The intent's identity: its message_id, or one given at first receipt.",
    "generation": "1, and one more with each replay. With intent_id and status it tells an event that came twice.",
    "connector": "The connector; of a body that can't be read, the routing key.",
    "strategy": "The strategy; `-` where the message names none.",
    "action": "What was to be done; null where the body can't be read.",
    "client_order_id": "The order's id, where it has one.",
    "status": "The ending. `duplicate` is that of a second publish, and says nothing about the first.",
    "reason": "Why it is dead; else null.",
    "attempts": "POSTs begun or tried.",
    "http_status": "The status of the webhook's last answer, where there was one.",
    "created_at": "When it was created, as the message says, or as the consumer first saw it.",
    "due_at": "When it was due, if it was delayed.",
    "updated_at": "When it ended.",
}
_LETTER_HEADERS: dict[str, tuple[str, str]] = {
    names.REASON: ("string", "Why it is dead."),
    names.DETAIL: ("string", "One sentence about it; quotes no value of the body."),
    names.ATTEMPTS: ("integer", "POSTs begun or tried."),
    names.HTTP_STATUS: ("integer", "The status of the webhook's last answer, where there was one."),
    names.DEAD_AT: ("string", "When it died: ISO 8601, UTC."),
    names.INTENT_ID: ("string", "The intent's identity."),
    names.GENERATION: ("integer", "1, and one more with each replay."),
    names.CONNECTOR: ("string", "The connector; of a body that can't be read, the routing key."),
    names.STRATEGY: ("string", "The strategy."),
    names.ORIGIN_USER: ("string", "The broker's user that published it, as far as the broker has checked it."),
}


def asyncapi_document(broker: Names, *, reasons: Sequence[str], delay_max_s: int = LADDER_MAX_S) -> Document:
    """The channels under one prefix. `reasons` are those of dead letters, `delay_max_s` is the longest delay."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "signalq",
            "version": __version__,
            "description": "Order intents from RabbitMQ to the Crypto-Arsenal webhook, and what became of them.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {"orders": _orders(broker), "outcomes": _outcomes(broker), "deadLetters": _dead_letters(broker)},
        "operations": {
            "takeOrder": _operation("receive", "orders", "orderIntent", "signalq takes an intent, and ends it once."),
            "tellOutcome": _operation(
                "send", "outcomes", "outcome", "signalq tells how an intent ended; after a crash perhaps twice."
            ),
            "bury": _operation(
                "send",
                "deadLetters",
                "deadLetter",
                "signalq keeps what could not be delivered, for a person to see to.",
            ),
        },
        "components": {
            "messages": {
                "orderIntent": _intent_message(delay_max_s),
                "outcome": _outcome_message(reasons),
                "deadLetter": _letter_message(reasons),
            }
        },
    }


def _orders(broker: Names) -> Document:
    return {
        "address": "{connectorName}",
        "title": "Orders",
        "description": (
            "Publish persistent, mandatory and with publisher confirms. Properties: `message_id` (the intent's "
            "identity within its strategy: always set it), `app_id` (the strategy), `timestamp`."
        ),
        "messages": {"orderIntent": {"$ref": "#/components/messages/orderIntent"}},
        "parameters": {"connectorName": {"description": "The connector's name, as in the body."}},
        "bindings": _exchange(broker.orders, "direct"),
    }


def _outcomes(broker: Names) -> Document:
    plain = "Any character outside A-Za-z0-9_- is `_`, an absent name `-`."
    return {
        "address": "{connectorName}.{strategy}.{status}",
        "title": "Outcomes",
        "description": "An event for each ending. Bind an exclusive queue; without a queue an event is not kept.",
        "messages": {"outcome": {"$ref": "#/components/messages/outcome"}},
        "parameters": {
            "connectorName": {"description": f"The connector. {plain}"},
            "strategy": {"description": f"The strategy. {plain}"},
            "status": {"description": "The ending.", "enum": list(STATUSES)},
        },
        "bindings": _exchange(broker.outcomes, "topic"),
    }


def _dead_letters(broker: Names) -> Document:
    queue = {"name": broker.dead, "durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": broker.dead,
        "title": "Dead letters",
        "description": "A quorum queue: the original bytes and properties, and headers that say what happened.",
        "messages": {"deadLetter": {"$ref": "#/components/messages/deadLetter"}},
        "bindings": {"amqp": {"is": "queue", "queue": queue, "bindingVersion": AMQP_BINDING_VERSION}},
    }


def _exchange(name: str, kind: str) -> Document:
    exchange = {"name": name, "type": kind, "durable": True, "autoDelete": False}
    return {"amqp": {"is": "routingKey", "exchange": exchange, "bindingVersion": AMQP_BINDING_VERSION}}


def _operation(action: str, channel: str, message: str, summary: str) -> Document:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"}],
        "bindings": {"amqp": {"deliveryMode": 2, "bindingVersion": AMQP_BINDING_VERSION}},
    }


def _intent_message(delay_max_s: int) -> Document:
    schema = intent_schema(delay_max_s=delay_max_s)
    return {
        "name": "OrderIntent",
        "title": "Order intent",
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": {
                names.CREATED_MS: {"type": "integer", "description": "Creation time, ms since the epoch."},
                names.STRATEGY: {"type": "string", "description": "The strategy; wins over app_id."},
                names.TRACEPARENT: {"type": "string", "description": "A trace context; passed on as it is."},
            },
        },
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": schema},
        "examples": [{"payload": example} for example in schema["examples"]],
    }


def _outcome_message(reasons: Sequence[str]) -> Document:
    hints = get_type_hints(Outcome).items()
    properties = {name: {**_type_of(hint), "description": _OUTCOME_FIELDS[name]} for name, hint in hints}
    properties["reason"]["enum"] = [*reasons, None]
    schema = {"$schema": DIALECT, "type": "object", "required": list(properties), "properties": properties}
    identity = (names.INTENT_ID, names.GENERATION)
    return {
        "name": "Outcome",
        "title": "Outcome event",
        "contentType": "application/json",
        "headers": {"type": "object", "required": list(identity), "properties": _headers(identity)},
        "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": schema},
    }


def _letter_message(reasons: Sequence[str]) -> Document:
    headers = _headers(_LETTER_HEADERS)
    headers[names.REASON]["enum"] = list(reasons)
    return {
        "name": "DeadLetter",
        "title": "Dead letter",
        "description": "The body as it came, whatever it is.",
        "headers": {"type": "object", "required": [names.REASON, names.DETAIL, names.INTENT_ID], "properties": headers},
    }


def _headers(wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    return {name: {"type": _LETTER_HEADERS[name][0], "description": _LETTER_HEADERS[name][1]} for name in wanted}


def _type_of(hint: Any) -> dict[str, Any]:
    """A field's type as JSON Schema; `X | None` may be null."""
    if get_origin(hint) is Literal:
        return {"type": "string", "enum": list(get_args(hint))}
    if isinstance(hint, types.UnionType):
        (one,) = (part for part in get_args(hint) if part is not type(None))
        rule = _type_of(one)
        return {**rule, "type": [rule["type"], "null"]}
    if hint is datetime:
        return {"type": "string", "format": "date-time"}
    return {"type": {str: "string", int: "integer"}[hint]}
