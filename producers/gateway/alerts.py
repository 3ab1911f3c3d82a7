"""A request's body, read: an alert to publish, or the answer that refuses it."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from signalq.errors import InvalidIntent, Problem
from signalq.intent import intent_from_fields
from signalq.strict_json import parse_object


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of one connector; `token` None means that none is configured."""

    token: str | None = field(default=None, repr=False)
    extra_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """An order that may be published: its body as it came."""

    connector: str
    action: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it is not taken: an HTTP status, and each bad field."""

    status: int
    problems: tuple[Problem, ...]


def read_alert(body: bytes, rules_of: Callable[[str], Rules], *, delay_max_s: int) -> Alert | Refusal:
    """Read a body, whatever its Content-Type said; never raises.

    The token comes first: nobody is told of other mistakes for a connector whose token they don't know.
    """
    try:
        fields = parse_object(body)
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems)
    name = fields.get("connectorName")
    rules = rules_of(name) if isinstance(name, str) else Rules()
    if fields.get("connectorToken") is None:
        return Refusal(401, (Problem("connectorToken", "is missing"),))
    if rules.token is not None and not _is_same(fields["connectorToken"], rules.token):
        return Refusal(401, (Problem("connectorToken", "is not the connector's"),))
    try:
        intent = intent_from_fields(fields, extra_fields=rules.extra_fields, token_needed=True, delay_max_s=delay_max_s)
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems)
    return Alert(intent.connector_name, intent.action, body)


def _is_same(given: object, configured: str) -> bool:
    """In a time that does not tell how much of it was right."""
    text = given if isinstance(given, str) else ""
    return hmac.compare_digest(text.encode("utf-8", "surrogatepass"), configured.encode())
