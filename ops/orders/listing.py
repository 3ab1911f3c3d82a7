"""The rows of `signalq orders list`, and one intent with its timeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import orders
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.ops.ledger import open_ledger
from signalq.ops.orders.timeline import timeline
from signalq.settings.sections import Settings
from signalq.times import iso_ms

# The rows of one read; a listing of any length is made of such reads, and the ledger's writer waits for none.
PAGE_ROWS = 1_000


async def read_orders(
    settings: Settings,
    wanted: Filter,
    on_page: Callable[[list[dict[str, object]]], None],
    *,
    since: datetime | timedelta | None = None,
    rows_max: int | None = None,
) -> int:
    """Give the newest `rows_max` intents that fit, or all, to `on_page`: the newest first, at most PAGE_ROWS at a time.

    `since` is a time, or how long ago by the ledger's clock. Returns how many more fit. Raises CommandFailed.
    """
    async with open_ledger(settings) as ledger:
        wanted = replace(wanted, since_ms=await _since_ms(ledger, since))
        last: Recorded | None = None
        left = rows_max
        while left is None or left > 0:
            size = PAGE_ROWS if left is None else min(left, PAGE_ROWS)
            found = await _page(ledger, wanted, size, last)
            on_page([row_of(one) for one in found])
            if len(found) < size:
                return 0
            last = found[-1]
            left = None if left is None else left - size
        count = await ledger.read(lambda connection: orders.count(connection, wanted))
        return max(0, count - (rows_max or 0))


async def read_timelines(settings: Settings, intent_id: str) -> list[dict[str, object]]:
    """Every intent with this id: its row, and its `timeline`, oldest first. Raises CommandFailed."""

    def work(connection: Connection) -> list[dict[str, object]]:
        now_ms = clock_ms(connection)
        found = orders.timelines(connection, intent_id)
        return [row_of(one) | {"timeline": timeline(one, happened, now_ms)} for one, happened in found]

    async with open_ledger(settings) as ledger:
        return await ledger.read(work)


async def _since_ms(ledger: LedgerClient, since: datetime | timedelta | None) -> int | None:
    if since is None:
        return None
    if isinstance(since, datetime):
        return round(since.timestamp() * 1000)
    return await ledger.read(clock_ms) - round(since.total_seconds() * 1000)


async def _page(ledger: LedgerClient, wanted: Filter, size: int, last: Recorded | None) -> list[Recorded]:
    return await ledger.read(lambda connection: orders.page(connection, wanted, size, last))


def row_of(one: Recorded) -> dict[str, object]:
    """The fields of a row, here and in outcome events."""
    return {
        "intent_id": one.intent_id,
        "generation": one.generation,
        "connector": one.connector,
        "strategy": one.strategy,
        "action": one.action,
        "client_order_id": one.client_order_id,
        "status": one.shown_status,
        "reason": one.reason,
        "attempts": one.attempts,
        "http_status": one.http_status,
        "created_at": iso_ms(one.age_from_ms),
        "due_at": None if one.delayed_until_ms is None else iso_ms(one.delayed_until_ms),
        "updated_at": iso_ms(one.updated_ms),
    }
