"""The ledger's records of letters, made up for tests of what reads and writes them."""

from __future__ import annotations

from typing import Any

from signalq.consumer.orders.letters import LetterRecord, mark_of


def letter_record(number: int, **given: Any) -> LetterRecord:
    """A letter as a consumer leaves it: a refused open of momentum's, `id-NUMBER`. `dead_ms` has to be given."""
    usual: dict[str, Any] = {
        "mark": mark_of("momentum", f"id-{number}", 1, b"{}"),
        "strategy": "momentum",
        "intent_id": f"id-{number}",
        "generation": 1,
        "connector": "main",
        "action": "openLong",
        "client_order_id": None,
        "reason": "rejected",
        "detail": "HTTP 401",
        "attempts": 1,
        "http_status": 401,
        "body_bytes": 2,
        "order_fields": "{}",
    }
    return LetterRecord(**usual | given)
