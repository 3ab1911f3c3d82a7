"""The reading of a request's body: an alert to publish, or the refusal to answer with."""

import hmac
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from signalq.errors import InvalidIntent, Problem
from signalq.message.intent import intent_from_fields
from signalq.message.strict_json import parse_object

# A key of this process alone: outside it a digest reveals nothing.
_KEY = secrets.token_bytes(32)


def token_digest(token: str) -> bytes:
    """The digest that is kept of a token: it can be compared, and orders nothing."""
    return blake2b(token.encode("utf-8", "surrogatepass"), digest_size=32, key=_KEY).digest()


# Stands for the missing token of a connector, so that the comparison takes place all the same.
_NOBODYS = token_digest(secrets.token_hex(32))


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of one connector; `token` is its token_digest, None if no token is configured."""

    token: bytes | None = field(default=None, repr=False)
    extra_fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """An order that may be published; `body` is as it came."""

    connector: str
    action: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken: an HTTP status, and each bad field.

    `connector` is set if the token was right: then the sender is no stranger. `hint` is for the log alone.
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

    The token is checked first: without it, a sender learns of no other mistake. `rules_of` gives None for a connector
    that is not taken; the answer is then that to a wrong token.
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
    """The connector and its rules, if this sender may order for it."""
    name, token = fields.get("connectorName"), fields.get("connectorToken")
    if token is None:
        return Refusal(401, (Problem("connectorToken", "is missing"),))
    if not isinstance(name, str):
        return Refusal(400, (Problem("connectorName", "is missing" if name is None else "must be a string"),))
    rules = rules_of(name)
    given = token_digest(token if isinstance(token, str) else "")
    # In a time that does not reveal how much of the token was right.
    is_right = hmac.compare_digest(given, (rules.token if rules is not None else None) or _NOBODYS)
    if rules is None:
        return Refusal(401, _WRONG_TOKEN, hint=_NOT_NAMED)
    if rules.token is not None and not is_right:
        return Refusal(401, _WRONG_TOKEN)
    return name, rules
