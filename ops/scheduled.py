"""The schedule as people see it: the intents that wait for their due time, and canceling them."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection

from signalq.amqp.publisher import ConfirmedPublisher
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient, LedgerUnavailable
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit, schedule
from signalq.consumer.ledger.queries.audit import Act, Audited, about_filter
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.row import storable
from signalq.consumer.orders.kept import order_fields
from signalq.consumer.orders.pending import PENDING_STATUSES, Pending
from signalq.names import Names
from signalq.ops.ledger import open_ledger, whole_ids
from signalq.ops.outcomes import publish_canceled
from signalq.settings.sections import Settings
from signalq.times import iso_ms

# A listing holds its rows in memory.
ROWS_MAX = 100_000
# So many of those that were too late are named in the audit.
TOO_LATE_MAX = 100
COMMAND = "`signalq scheduled cancel`"
UNPUBLISHED = "the outcome events come when the orders would have been due ({})"


@dataclass(frozen=True, slots=True)
class Cancelation:
    """A row with its `result` for each intent that was meant; the unknown ids; why no outcome could be published.

    `number` is that of the act in the audit.
    """

    rows: list[dict[str, object]]
    unknown_ids: list[str]
    why_unpublished: str | None
    number: int

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
    ledger: LedgerClient,
    wanted: Filter,
    actor: Actor,
    publish: Callable[[Sequence[Pending]], Awaitable[str | None]],
    *,
    shown: int = 0,
) -> Cancelation:
    """Cancel the intents that fit, as the ledger decides for each, and `publish` their outcomes: it says why it could
    not. `shown` is how many a person was shown: as many as are not canceled any more were too late.

    Raises CommandFailed.
    """
    why = storable(actor.told(COMMAND))

    def work(connection: Connection) -> tuple[int, int, list[Pending], list[Pending]]:
        now_ms = clock_ms(connection)
        canceled = schedule.cancel(connection, now_ms, wanted, why)
        known = schedule.known(connection, wanted) if wanted.intent_ids else []
        late = [one.intent_id for one in known if one.status != "canceled"]
        about = about_filter(wanted.intent_ids, connector=wanted.connector, strategy=wanted.strategy)
        about |= {"too_late": late[:TOO_LATE_MAX]} if late else {}
        refused = len(late) or max(0, shown - len(canceled))
        number = audit.note(connection, now_ms, actor, Act("cancel", about, len(canceled), refused))
        return number, now_ms, canceled, known

    if not wanted.numbers:
        wanted = replace(wanted, intent_ids=await whole_ids(ledger, wanted.intent_ids, acts=True))
    number, now_ms, canceled, known = await ledger.transact(work)
    why_unpublished = await publish(canceled) if canceled else None
    if why_unpublished is not None:
        with suppress(LedgerUnavailable):  # the cancelation is done, and its caller is told
            await ledger.transact(partial(audit.explain, number=number, why=UNPUBLISHED.format(why_unpublished)))
    known_ids = {one.intent_id for one in known}
    unknown_ids = [intent_id for intent_id in wanted.intent_ids if intent_id not in known_ids]
    return Cancelation(_answers(canceled, known, now_ms), unknown_ids, why_unpublished, number)


def _answers(canceled: Sequence[Pending], known: Sequence[Pending], now_ms: int) -> list[dict[str, object]]:
    """A row with its `result` for each that is canceled now, and for each other one that was meant."""
    rows = [_row(one, now_ms) | {"result": "canceled"} for one in canceled]
    canceled_now = {one.number for one in canceled}
    for one in known:
        if one.number not in canceled_now:
            result = "canceled" if one.status == "canceled" else "too late"
            rows.append(_row(one, now_ms) | {"result": result, "status": one.status})
    return rows


@dataclass(frozen=True, slots=True)
class Canceled:
    """A cancelation of the past, by the ledger: the act, what it has canceled, and the others that it named, which had
    been claimed or canceled before. At most `rows_max` of each were read.
    """

    act: Audited
    canceled: list[Pending]
    others: list[Pending]


def canceled_by(connection: Connection, number: int, rows_max: int) -> Canceled | None:
    """The cancelation that has this number in the audit; None where there is none."""
    act = audit.find(connection, number)
    if act is None or act.what != "cancel":
        return None
    by = Actor(act.who, act.via, act.address)
    canceled = schedule.canceled_at(connection, act.at_ms, by.told(COMMAND), rows_max)
    about = json.loads(act.about)
    named = Filter([*about.get("ids", ()), *about.get("too_late", ())], about.get("connector"), about.get("strategy"))
    there = schedule.known(connection, named) if named.intent_ids else []
    numbers = {one.number for one in canceled}
    # An id may be that of two strategies: a pending one was not meant.
    others = [one for one in there if one.number not in numbers and one.status not in PENDING_STATUSES]
    return Canceled(act, canceled, others[:rows_max])


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
