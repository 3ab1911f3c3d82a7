"""The schedule as people see it: the intents that wait for their due time, and canceling them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import schedule
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.orders.pending import Pending
from signalq.ops.ledger import open_ledger, who
from signalq.ops.outcomes import publish_canceled
from signalq.settings.sections import Settings
from signalq.times import iso_ms

# A listing holds its rows in memory.
ROWS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Listing:
    """The pending intents, the soonest due first; `unlisted` more are there."""

    rows: list[dict[str, object]]
    unlisted: int


@dataclass(frozen=True, slots=True)
class Cancelation:
    """A row for each intent that was meant, with its `result`; the ids that the ledger doesn't know; the intents that
    are canceled now, and why their outcomes could not be published.
    """

    rows: list[dict[str, object]]
    unknown_ids: list[str]
    canceled: Sequence[Pending] = field(default=(), repr=False)
    why_unpublished: str | None = None

    @property
    def too_late(self) -> int:
        """How many intents were claimed already, or have ended."""
        return sum(row["result"] != "canceled" for row in self.rows)


async def list_pending(settings: Settings, wanted: Filter, rows_max: int = ROWS_MAX) -> Listing:
    """List the pending intents that fit `wanted`. Raises CommandFailed."""

    def work(connection: Connection) -> Listing:
        found = schedule.pending(connection, wanted, rows_max)
        unlisted = schedule.count(connection, wanted) - len(found) if len(found) == rows_max else 0
        now_ms = clock_ms(connection)
        return Listing([_row(one, now_ms) for one in found], unlisted)

    async with open_ledger(settings) as ledger:
        return await ledger.read(work)


async def cancel(settings: Settings, wanted: Filter) -> Cancelation:
    """Cancel the intents that fit `wanted`, as the ledger decides for each; then publish their outcomes.

    Raises CommandFailed.
    """
    why = f"by {who()} with `signalq scheduled cancel`"

    def work(connection: Connection) -> Cancelation:
        now_ms = clock_ms(connection)
        canceled = schedule.cancel(connection, now_ms, wanted, why)
        rows = [_row(one, now_ms) | {"result": "canceled"} for one in canceled]
        if not wanted.intent_ids:
            return Cancelation(rows, [], canceled)
        known = schedule.known(connection, wanted)
        return replace(_with_the_late(known, rows, wanted.intent_ids, now_ms), canceled=canceled)

    async with open_ledger(settings) as ledger:
        done = await ledger.transact(work)
    return replace(done, why_unpublished=await publish_canceled(settings, done.canceled)) if done.canceled else done


def _with_the_late(
    known: Sequence[Pending], rows: list[dict[str, object]], ids: Sequence[str], now_ms: int
) -> Cancelation:
    done = {(row["strategy"], row["intent_id"]) for row in rows}
    for one in known:
        if (one.strategy, one.intent_id) not in done:
            result = "canceled" if one.status == "canceled" else "too late"
            rows.append(_row(one, now_ms) | {"result": result, "status": one.status})
    found = {one.intent_id for one in known}
    return Cancelation(rows, [intent_id for intent_id in ids if intent_id not in found])


def _row(one: Pending, now_ms: int) -> dict[str, object]:
    return {
        "intent_id": one.intent_id,
        "connector": one.connector,
        "strategy": one.strategy,
        "action": one.action,
        "client_order_id": one.client_order_id,
        "due_at": iso_ms(one.due_ms) if one.due_ms is not None else None,
        "remaining_s": max(0, one.due_ms - now_ms) / 1000 if one.due_ms is not None else None,
    }
