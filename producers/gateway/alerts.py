"""A request's body, read: an alert to publish, or the answer that refuses it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from signalq.errors import InvalidIntent, Problem
from signalq.message.intent import intent_from_fields
from signalq.message.strict_json import parse_object

# Of this process alone: a digest tells nothing to whoever finds it somewhere else.
_KEY = secrets.token_bytes(32)


def token_digest(token: str) -> bytes:
    """What is kept of a token: enough to compare with, and nothing to order with."""
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32, key=_KEY).digest()


# Stands for the token of a connector that has none, or is none, so that the comparison is made all the same.
_NOBODYS = token_digest(secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of one connector; `token` is its token_digest, None where none is configured."""

    token: bytes | None = field(default=None, repr=False)
    extra_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """An order that may be published: its body as it came."""

    connector: str
    action: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why it is not taken: an HTTP status, and each bad field.

    `connector` is set where its token was right, so that this is no stranger. `hint` is for the log alone.
    """

    status: int
    problems: tuple[Problem, ...]
    connector: str | None = None
    hint: str | None = None
    retry_after_s: float | None = None


_WRONG_TOKEN = (Problem("connectorToken", "is not the connector's"),)
_NOT_NAMED = 'connectorName is none that the settings name, and gateway.connectors is "named"'


def read_alert(body: bytes, rules_of: Callable[[str], Rules | None], *, delay_max_s: int) -> Alert | Refusal:
    """Read a body, whatever its Content-Type said; never raises.

    The token comes first: nobody is told of other mistakes for a connector whose token they don't know. `rules_of`
    gives None for a connector that is not taken; that is answered as a wrong token is.
    """
    try:
        fields = parse_object(body)
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems)
    admitted = _admit(fields, rules_of)
    if isinstance(admitted, Refusal):
        return admitted
    name, rules = admitted
    try:
        intent = intent_from_fields(fields, extra_fields=rules.extra_fields, token_needed=True, delay_max_s=delay_max_s)
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems, connector=name if rules.token is not None else None)
    return Alert(name, intent.action, body)


def _admit(fields: Mapping[str, object], rules_of: Callable[[str], Rules | None]) -> tuple[str, Rules] | Refusal:
    """The connector and its rules, where this sender may order for it."""
    name, token = fields.get("connectorName"), fields.get("connectorToken")
    if token is None:
        return Refusal(401, (Problem("connectorToken", "is missing"),))
    if not isinstance(name, str):
        return Refusal(400, (Problem("connectorName", "is missing" if name is None else "must be a string"),))
    rules = rules_of(name)
    is_right = _is_same(token, (rules.token if rules is not None else None) or _NOBODYS)
    if rules is None:
        return Refusal(401, _WRONG_TOKEN, hint=_NOT_NAMED)
    if rules.token is not None and not is_right:
        return Refusal(401, _WRONG_TOKEN)
    return name, rules


def _is_same(given: object, expected: bytes) -> bool:
    """In a time that does not tell how much of it was right."""
    return hmac.compare_digest(token_digest(given if isinstance(given, str) else ""), expected)
