"""The schedule as people see it: the intents that wait for their due time, and canceling them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit, schedule
from signalq.consumer.ledger.queries.audit import Act, about_filter
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.orders.kept import order_fields
from signalq.consumer.orders.pending import Pending
from signalq.names import Names
from signalq.ops.ledger import open_ledger, whole_ids
from signalq.ops.outcomes import publish_canceled
from signalq.settings.sections import Settings
from signalq.times import iso_ms

# A listing holds its rows in memory.
ROWS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Cancelation:
    """A row with its `result` for each intent that was meant; the unknown ids; why no outcome could be published."""

    rows: list[dict[str, object]]
    unknown_ids: list[str]
    why_unpublished: str | None

    @property
    def too_late(self) -> int:
        """How many intents were claimed already, or have ended."""
        return sum(row["result"] != "canceled" for row in self.rows)


async def list_pending(
    settings: Settings, wanted: Filter, rows_max: int = ROWS_MAX
) -> tuple[list[dict[str, object]], int]:
    """See `pending_of`; by the ledger of these settings. Raises CommandFailed."""
    async with open_ledger(settings) as ledger:
        return await pending_of(ledger, wanted, rows_max)


async def pending_of(
    ledger: LedgerClient, wanted: Filter, rows_max: int = ROWS_MAX
) -> tuple[list[dict[str, object]], int]:
    """The pending intents that fit, the soonest due first, at most `rows_max`; and how many more there are.

    Raises CommandFailed.
    """

    def work(connection: Connection) -> tuple[list[dict[str, object]], int]:
        found = schedule.pending(connection, wanted, rows_max)
        unlisted = schedule.count(connection, wanted) - len(found) if len(found) == rows_max else 0
        now_ms = clock_ms(connection)
        return [_row(one, now_ms) for one in found], unlisted

    wanted = replace(wanted, intent_ids=await whole_ids(ledger, wanted.intent_ids))
    return await ledger.read(work)


async def cancel(settings: Settings, wanted: Filter, actor: Actor) -> Cancelation:
    """See `cancel_pending`; by the ledger and the broker of these settings. Raises CommandFailed."""
    url, names = settings.broker.url.get_secret_value(), Names(settings.broker.prefix)
    publisher = ConfirmedPublisher(url, name="signalq scheduled cancel")
    try:
        async with open_ledger(settings) as ledger:
            return await cancel_pending(ledger, wanted, actor, partial(publish_canceled, publisher, names))
    finally:
        await publisher.close()


async def cancel_pending(
    ledger: LedgerClient, wanted: Filter, actor: Actor, publish: Callable[[Sequence[Pending]], Awaitable[str | None]]
) -> Cancelation:
    """Cancel the intents that fit, as the ledger decides for each, and `publish` their outcomes: it says why it could
    not. Raises CommandFailed.
    """
    why = actor.told("`signalq scheduled cancel`")

    def work(connection: Connection) -> tuple[int, list[Pending], list[Pending]]:
        now_ms = clock_ms(connection)
        canceled = schedule.cancel(connection, now_ms, wanted, why)
        known = schedule.known(connection, wanted) if wanted.intent_ids else []
        too_late = sum(one.status != "canceled" for one in known)
        about = about_filter(wanted.intent_ids, connector=wanted.connector, strategy=wanted.strategy)
        audit.note(connection, now_ms, actor, Act("cancel", about, len(canceled), too_late))
        return now_ms, canceled, known

    wanted = replace(wanted, intent_ids=await whole_ids(ledger, wanted.intent_ids, acts=True))
    now_ms, canceled, known = await ledger.transact(work)
    rows = [_row(one, now_ms) | {"result": "canceled"} for one in canceled]
    canceled_now = {one.number for one in canceled}
    for one in known:
        if one.number not in canceled_now:
            result = "canceled" if one.status == "canceled" else "too late"
            rows.append(_row(one, now_ms) | {"result": result, "status": one.status})
    known_ids = {one.intent_id for one in known}
    unknown_ids = [intent_id for intent_id in wanted.intent_ids if intent_id not in known_ids]
    return Cancelation(rows, unknown_ids, await publish(canceled) if canceled else None)


def _row(one: Pending, now_ms: int) -> dict[str, object]:
    return {
        "intent_id": one.intent_id,
        "connector": one.connector,
        "strategy": one.strategy,
        "action": one.action,
        "client_order_id": one.client_order_id,
        "due_at": iso_ms(one.due_ms) if one.due_ms is not None else None,
        "remaining_s": max(0, one.due_ms - now_ms) / 1000 if one.due_ms is not None else None,
        "order": order_fields(one.connector, one.action, one.client_order_id, one.order_fields),
    }
