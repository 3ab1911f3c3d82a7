"""The reading of a request's body: the alerts to publish, or the refusal to answer with."""

import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import TypeVar

from signalq.errors import InvalidIntent, Problem
from signalq.message.identity import digest_of
from signalq.message.intent import intent_from_fields
from signalq.message.strict_json import parse_object, render, values_below
from signalq.producers.gateway.arrays import ARRAY_VALUES_MAX, array_of
from signalq.producers.gateway.times import time_ms

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
class Reading:
    """How bodies are read: `rules_of` gives None for a connector that is not taken.

    `time_field` names the field that holds an alert's own time; None if there is none.
    """

    rules_of: Callable[[str], Rules | None]
    delay_max_s: int
    time_field: str | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """An order that may be published.

    `body` is as it came, but without the time that it had; `created_ms` is that time, in ms since the epoch. `token` is
    the one in it.
    """

    connector: str
    action: str
    body: bytes = field(repr=False)
    created_ms: int | None = None
    token: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Batch:
    """The alerts of one request, one or more; `digest` tells its body from others."""

    alerts: tuple[Alert, ...]
    digest: bytes

    @property
    def connectors(self) -> list[str]:
        """The connector of each alert."""
        return [alert.connector for alert in self.alerts]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken: an HTTP status, and each bad field.

    `connector` is set if the token was right: then the sender is no stranger. `hint` is for the log alone. `order` is
    the place, from 1, of the bad one in an array.
    """

    status: int
    problems: tuple[Problem, ...]
    connector: str | None = None
    hint: str | None = None
    retry_after_s: float | None = None
    order: int | None = None


_TOO_MANY_VALUES = (Problem(None, f"the array has more than {ARRAY_VALUES_MAX} values up to here"),)
_WRONG_TOKEN = (Problem("connectorToken", "is not the connector's"),)
_NOT_NAMED = 'connectorName is none that the settings name, and gateway.connectors is "named"'


@dataclass(frozen=True, slots=True)
class _Admitted:
    """An order of a sender who may order for this connector; the order itself is not judged yet."""

    text: bytes
    fields: dict[str, object]
    connector: str
    rules: Rules


Read = TypeVar("Read", _Admitted, Alert)


def read_batch(body: bytes, reading: Reading, now_ms: int) -> Batch | Refusal:
    """Read a body, whatever its Content-Type said; never raises. One bad order refuses all orders of the request.

    The tokens are checked first: without them, a sender learns of no other mistake. The answer for a connector that is
    not taken is that to a wrong token. Judging ends at the first bad order, so that many cost no more than one.
    """
    try:
        array = array_of(body)
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems)
    found = _within_bounds(_admit(text, reading) for text in array or [body])
    admitted = _all_of(found, is_array=array is not None)
    if isinstance(admitted, Refusal):
        return admitted
    alerts = _all_of((_judge(one, reading, now_ms) for one in admitted), is_array=array is not None)
    return alerts if isinstance(alerts, Refusal) else Batch(tuple(alerts), digest_of(body))


def _all_of(found: Iterable[Read | Refusal], *, is_array: bool) -> list[Read] | Refusal:
    """All that was found, or the first refusal, which in an array names its order."""
    taken: list[Read] = []
    for place, one in enumerate(found, 1):
        if isinstance(one, Refusal):
            return replace(one, order=place) if is_array else one
        taken.append(one)
    return taken


def _within_bounds(found: Iterable[_Admitted | Refusal]) -> Iterator[_Admitted | Refusal]:
    """The same, up to ARRAY_VALUES_MAX values; no further order is read."""
    values = 0
    for one in found:
        values += values_below(one.fields) if isinstance(one, _Admitted) else 0
        yield one if values <= ARRAY_VALUES_MAX else Refusal(400, _TOO_MANY_VALUES)


def _admit(text: bytes, reading: Reading) -> _Admitted | Refusal:
    """The order and its connector's rules, if this sender may order for it."""
    try:
        fields = parse_object(text)
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems)
    name, token = fields.get("connectorName"), fields.get("connectorToken")
    if token is None:
        return Refusal(401, (Problem("connectorToken", "is missing"),))
    if not isinstance(name, str):
        return Refusal(400, (Problem("connectorName", "is missing" if name is None else "must be a string"),))
    rules = reading.rules_of(name)
    given = token_digest(token if isinstance(token, str) else "")
    # In a time that does not reveal how much of the token was right.
    is_right = hmac.compare_digest(given, (rules.token if rules is not None else None) or _NOBODYS)
    if rules is None:
        return Refusal(401, _WRONG_TOKEN, hint=_NOT_NAMED)
    if rules.token is not None and not is_right:
        return Refusal(401, _WRONG_TOKEN)
    return _Admitted(text, fields, name, rules)


def _judge(admitted: _Admitted, reading: Reading, now_ms: int) -> Alert | Refusal:
    """The alert, if the order is valid and its time can be read."""
    name, rules, time_field = admitted.connector, admitted.rules, reading.time_field
    fields = {key: value for key, value in admitted.fields.items() if key != time_field}
    try:
        given = admitted.fields.get(time_field) if time_field is not None else None
        created_ms = time_ms(given, time_field, now_ms) if time_field is not None and given is not None else None
        intent = intent_from_fields(
            fields, extra_fields=rules.extra_fields, token_needed=True, delay_max_s=reading.delay_max_s
        )
    except InvalidIntent as invalid:
        return Refusal(400, invalid.problems, connector=name if rules.token is not None else None)
    is_as_it_came = len(fields) == len(admitted.fields)
    body = admitted.text if is_as_it_came else render(fields).encode()
    return Alert(name, intent.action, body, created_ms, intent.connector_token)
