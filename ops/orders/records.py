"""The row and the timeline of an intent, as JSON objects, from the ledger's records.

A timeline is the row and the events as one list, oldest first. Each entry has `at`, `what` and `generation` (which a
replay raises), and further facts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import events, orders
from signalq.consumer.ledger.queries.orders import DEAD_LETTERING, Filter, Happened, Recorded
from signalq.consumer.orders.kept import order_fields
from signalq.consumer.orders.state import NEVER_CONCLUDED
from signalq.ops.ledger import open_ledger, since_ms, whole_ids
from signalq.settings.sections import Settings
from signalq.times import iso_ms

TimelineEntry = dict[str, object]

# The rows of one read; a listing of any length is made of such reads, and the ledger's writer waits for none.
PAGE_ROWS = 1_000


async def read_orders(
    settings: Settings,
    wanted: Filter,
    on_page: Callable[[list[dict[str, object]]], None],
    *,
    since: datetime | timedelta | None = None,
    rows_max: int | None = None,
    counts_more: bool = True,
) -> tuple[int, int]:
    """See `orders_of`; by the ledger of these settings. Raises CommandFailed."""
    async with open_ledger(settings) as ledger:
        return await orders_of(ledger, wanted, on_page, since=since, rows_max=rows_max, counts_more=counts_more)


async def orders_of(
    ledger: LedgerClient,
    wanted: Filter,
    on_page: Callable[[list[dict[str, object]]], None],
    *,
    since: datetime | timedelta | None = None,
    rows_max: int | None = None,
    counts_more: bool = True,
) -> tuple[int, int]:
    """Give the newest `rows_max` intents that fit, or all, to `on_page`: the newest first, at most PAGE_ROWS at a time.

    `since` is a time, or how long ago by the ledger's clock. Returns how many were given, and how many more fit, which
    may take a look at the whole ledger: 0 unless `counts_more`. Raises CommandFailed.
    """
    ids = await whole_ids(ledger, wanted.intent_ids)
    wanted = replace(wanted, intent_ids=ids)
    if since is not None:
        wanted = replace(wanted, since_ms=await ledger.read(partial(since_ms, since=since)))
    rest, given = wanted, 0
    while rows_max is None or given < rows_max:
        size = PAGE_ROWS if rows_max is None else min(PAGE_ROWS, rows_max - given)
        found = await ledger.read(partial(orders.page, wanted=rest, rows_max=size))
        on_page([row_of(one) for one in found])
        given += len(found)
        if len(found) < size:
            return given, 0
        rest = replace(rest, before=found[-1].number)
    fitting = await ledger.read(partial(orders.count, wanted=wanted)) if counts_more else given
    return given, max(0, fitting - given)


@dataclass(frozen=True, slots=True)
class Story:
    """An intent, and its timeline until `now_ms` of the ledger's clock, oldest first."""

    one: Recorded
    timeline: list[TimelineEntry]
    now_ms: int


def stories(connection: Connection, intent_id: str) -> list[Story]:
    """Every intent with this id: strategies may share one."""
    now_ms = clock_ms(connection)
    found = orders.timelines(connection, intent_id)
    return [Story(one, timeline(one, happened, now_ms), now_ms) for one, happened in found]


async def read_timelines(settings: Settings, intent_id: str) -> list[dict[str, object]]:
    """See `timelines_of`; by the ledger of these settings. Raises CommandFailed."""
    async with open_ledger(settings) as ledger:
        return await timelines_of(ledger, intent_id)


async def timelines_of(ledger: LedgerClient, intent_id: str) -> list[dict[str, object]]:
    """Every intent with this id, or with the only one that begins so: its row, and its `timeline`, oldest first.

    Raises CommandFailed.
    """
    (whole_id,) = await whole_ids(ledger, [intent_id])
    found = await ledger.read(partial(stories, intent_id=whole_id))
    return [row_of(story.one) | {"timeline": story.timeline} for story in found]


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
        "order": order_fields(one.connector, one.action, one.client_order_id, one.order_fields),
    }


def timeline(one: Recorded, happened: Sequence[Happened], now_ms: int) -> list[TimelineEntry]:
    """The entries until `now_ms` (on the ledger's clock), and the outlook if the intent has not ended."""
    past = [*_numbered(one, happened), *_ending(one, now_ms)]
    # By the ledger's clock, and at the same time in the order of writing: an ending is written with its attempt.
    past.sort(key=lambda entry: str(entry["at"]))
    return [*_beginning(one), *past, *_outlook(one, now_ms)]


def _entry(at_ms: int, what: str, generation: int, **facts: object) -> TimelineEntry:
    return {"at": iso_ms(at_ms), "what": what, "generation": generation, **facts}


def _beginning(one: Recorded) -> Iterable[TimelineEntry]:
    yield _entry(one.age_from_ms, "created", 1, said_by=one.created_from)
    user = {"user": one.origin_user} if one.origin_user is not None else {}
    yield _entry(one.received_ms, "received", 1, **user)


def _numbered(one: Recorded, happened: Sequence[Happened]) -> Iterable[TimelineEntry]:
    """The recorded events; the attempts of each generation are counted."""
    attempts: Counter[int] = Counter()
    for step in happened:
        facts: dict[str, object] = {"detail": step.detail}
        if step.what == events.ATTEMPT:
            attempts[step.generation] += 1
            answered = {"certainty": step.certainty, "http_status": step.http_status, "duration_ms": step.duration_ms}
            facts = {"attempt": attempts[step.generation], **answered, **facts}
            facts |= {"answer": step.answer} if step.answer is not None else {}
        elif step.what == events.DEAD:
            if step.generation >= one.generation:
                continue  # the row says so
            reason, _, detail = (step.detail or "").partition(": ")
            facts = {"reason": reason, "detail": detail}
        yield _entry(step.at_ms, step.what, step.generation, **facts)


def _ending(one: Recorded, now_ms: int) -> Iterable[TimelineEntry]:
    """The ending by the row; a cancelation is a recorded event."""
    at_ms = one.ended_ms if one.ended_ms is not None else now_ms
    if one.status == "delivered":
        yield _entry(at_ms, one.status, one.generation)
    elif one.status == "dead":
        yield _entry(at_ms, one.status, one.generation, reason=one.reason, detail=one.detail)


def _outlook(one: Recorded, now_ms: int) -> Iterable[TimelineEntry]:
    """The present state, and the next attempt, if no recorded event says so."""
    if one.status == "sending":
        detail = "on its way: a consumer is sending it"
        # While its consumer lives, an attempt that was claimed and not concluded holds a lease on the intent.
        if (one.lease_until_ms or 0) <= now_ms:
            detail = f"in doubt: {NEVER_CONCLUDED.why}; the next consumer that gets its message decides"
        yield _entry(one.updated_ms, "sending", one.generation, attempt=one.attempts, detail=detail)
    elif one.status == "retrying":
        detail = f"attempt {one.attempts + 1}, not before then"
        yield _entry(one.next_attempt_ms, "next attempt", one.generation, detail=detail)
    elif one.status == DEAD_LETTERING:
        detail = f"{one.detail} (the broker has not confirmed its dead letter yet)"
        yield _entry(one.updated_ms, "dead-lettering", one.generation, reason=one.reason, detail=detail)
