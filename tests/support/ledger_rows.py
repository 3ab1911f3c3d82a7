"""Rows written straight into a ledger: for tests of what reads them, which need times and states of their choice."""

from __future__ import annotations

from itertools import count
from typing import Any

from sqlalchemy import Connection, insert

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.tables import events, intents, letters

_numbers = count(1)


def intent_row(**given: Any) -> dict[str, Any]:
    """A delivered intent of the connector `main`, under an id of its own, but for what is given."""
    at_ms = given.get("ended_ms") or given.get("updated_ms") or 1_000
    usual: dict[str, Any] = {
        "strategy": "momentum",
        "intent_id": f"row-{next(_numbers)}",
        "generation": 1,
        "version": 1,
        "has_message_id": True,
        "digest": b"\x00" * 16,
        "connector": "main",
        "action": "openLong",
        "status": "delivered",
        "attempts": 1,
        "attempts_counted": 1,
        "next_attempt_ms": 0,
        "in_doubt": False,
        "age_from_ms": at_ms,
        "delay_from_ms": at_ms,
        "created_from": "timestamp",
        "received_ms": at_ms,
        "updated_ms": at_ms,
        # One statement inserts rows of one kind: each has all columns that any of them sets.
        **dict.fromkeys(("reason", "http_status", "why", "due_ms", "ended_ms", "owner", "lease_until_ms")),
        **dict.fromkeys(("first_post_ms", "replayed_ms")),
    }
    return usual | given


def event_row(**given: Any) -> dict[str, Any]:
    """An accepted attempt of the first intent, but for what is given."""
    usual = {
        "intent": 1,
        "generation": 1,
        "at_ms": 1_000,
        "what": "attempt",
        "certainty": "accepted",
        "duration_ms": 80,
    }
    return usual | given


def letter_row(**given: Any) -> dict[str, Any]:
    """An open letter of the connector `main`, under a mark of its own, but for what is given."""
    usual: dict[str, Any] = {
        "mark": next(_numbers).to_bytes(16, "big"),
        "strategy": "momentum",
        "connector": "main",
        "reason": "rejected",
        "http_status": None,
        "body_bytes": 2,
        "since_ms": 1_000,
        "messages": 1,
        "settled_ms": None,
    }
    return usual | given


async def plant(
    ledger: LedgerClient,
    *,
    orders: list[dict[str, Any]] | None = None,
    steps: list[dict[str, Any]] | None = None,
    dead: list[dict[str, Any]] | None = None,
) -> None:
    """Write the rows."""

    def work(connection: Connection) -> None:
        for table, rows in ((intents, orders), (events, steps), (letters, dead)):
            if rows:
                connection.execute(insert(table), rows)

    await ledger.transact(work)
