"""Orders for tests of the ledger and the rules: read from the bytes of a message, as the consumer does."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import fields, replace
from functools import cache
from typing import Any

from pamqp.commands import Basic

from signalq import names
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.read import read
from signalq.consumer.orders.state import IntentState
from signalq.settings.sections import Settings

STRATEGY = "momentum"


@cache
def _settings() -> Settings:
    return Settings()


def body(**given: object) -> bytes:
    """A valid open for the connector `main`, with these fields besides or instead; without those that are None."""
    usual = {"connectorName": "main", "connectorToken": "t", "action": "openLong", "percent": "50"}
    return json.dumps({name: value for name, value in (usual | given).items() if value is not None}).encode()


def order(
    content: bytes | None = None,
    *,
    message_id: str | None = None,
    strategy: str = STRATEGY,
    redelivered: bool = False,
    created_ms: int | None = None,
    received_ms: int | None = None,
    headers: dict[str, Any] | None = None,
) -> Order:
    """One delivery of a message: each call is another delivery, of other bytes where none are given."""
    stamps = {} if created_ms is None else {names.CREATED_MS: created_ms}
    message = Message(
        content if content is not None else body(log=uuid.uuid4().hex),
        Basic.Properties(message_id=message_id, app_id=strategy, headers=stamps | (headers or {})),
        "main",
        redelivered,
    )
    now_ms = received_ms if received_ms is not None else time.time_ns() // 1_000_000
    found = read(message, _settings(), now_ms)
    assert isinstance(found, Order), found
    return found


def altered(of: Order, **facts: Any) -> Order:
    """The same order with these facts, each in the part of it that has such a field."""
    for part in (of.identity, of.timing, of.route, of.provenance):
        name = type(part).__name__.lower()
        its = {field.name: facts.pop(field.name) for field in fields(part) if field.name in facts}
        of = replace(of, **{name: replace(part, **its)})
    assert not facts, f"an order has no {', '.join(facts)}"
    return of


def unknown(of: Order) -> IntentState:
    """What is known of an order's intent before the ledger has met it."""
    return IntentState(of.intent_id, of.identity.digest)


def new_id() -> str:
    """A message_id that nobody else has."""
    return uuid.uuid4().hex
