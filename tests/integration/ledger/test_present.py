"""The figures of the present moment and the endings by periods, as a watch reads them; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from sqlalchemy import Connection, event, insert

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import endings, measures, present
from signalq.consumer.ledger.queries.endings import Endings
from signalq.consumer.ledger.queries.measures import Posted
from signalq.consumer.ledger.queries.present import LetterGroup, Newest, OpenLetters, Retrying, Scheduled
from signalq.consumer.ledger.tables import group_notes, paces
from tests.support.ledger_rows import event_row, intent_row, letter_row, plant
from tests.support.stores import Store

NOW_MS = 1_769_860_800_000
MINUTE_MS = 60_000

T = TypeVar("T")


class Reader:
    """A ledger that is read, by one of the functions that take a connection."""

    def __init__(self, client: LedgerClient) -> None:
        self.client = client

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self.client.read(lambda connection: work(connection, *arguments))


@pytest_asyncio.fixture
async def read(store: Store, ledger: Ledger) -> Reader:
    """A reader of a fresh ledger of each kind."""
    return Reader(await store.stack.enter_async_context(LedgerClient(store.url)))


async def test_of_an_empty_ledger_there_are_no_figures(read: Reader) -> None:
    assert await read(endings.count_endings, 0, NOW_MS, 1_000) == []
    assert await read(present.sending, NOW_MS) == {}
    assert await read(present.retrying) == {}
    assert await read(present.failures) == {}
    assert await read(present.newest) == Newest(0, 0)
    assert await read(present.scheduled) == Scheduled()
    assert await read(present.due_until, NOW_MS, None) == {}
    assert await read(present.open_letters) == OpenLetters()
    assert await read(present.letters_since, 0) == await read(present.letters_of, "rejected") == []
    assert await read(measures.latest_posts, 0, 10) == []


async def test_endings_are_counted_by_connector_kind_and_period(read: Reader) -> None:
    at_ms = NOW_MS + 14_999
    await plant(
        read.client,
        orders=[
            intent_row(ended_ms=NOW_MS - 1),
            intent_row(ended_ms=NOW_MS, http_status=200),
            intent_row(ended_ms=at_ms, http_status=200),
            intent_row(ended_ms=at_ms + 1, http_status=200),
            intent_row(ended_ms=at_ms, status="dead", reason="rejected", http_status=401),
            intent_row(ended_ms=at_ms, status="dead", reason="rejected", http_status=401, connector="beta"),
            intent_row(ended_ms=at_ms, status="canceled"),
            intent_row(status="received"),
        ],
    )
    period = NOW_MS // 15_000
    found = await read(endings.count_endings, NOW_MS, at_ms + 1, 15_000)
    assert sorted(found, key=str) == sorted(
        [
            Endings("main", "delivered", None, 200, period, 2, at_ms),
            Endings("main", "dead", "rejected", 401, period, 1, at_ms),
            Endings("beta", "dead", "rejected", 401, period, 1, at_ms),
            Endings("main", "canceled", None, None, period, 1, at_ms),
        ],
        key=str,
    )


async def test_orders_on_the_wire_and_those_that_wait_for_another_attempt_are_told_by_connector(read: Reader) -> None:
    again = {"http_status": 503, "why": "HTTP 503", "connector": "beta"}
    await plant(
        read.client,
        orders=[
            intent_row(status="sending", owner="a", lease_until_ms=NOW_MS),
            intent_row(status="sending", owner="a", lease_until_ms=NOW_MS + 900),
            intent_row(status="sending", owner="gone", lease_until_ms=NOW_MS - 1),
            intent_row(status="retrying", age_from_ms=NOW_MS - 9, **again),
            intent_row(status="dying", age_from_ms=NOW_MS - 7, **again),
            intent_row(ended_ms=NOW_MS),
        ],
    )
    assert await read(present.sending, NOW_MS) == {"main": 2}
    assert await read(present.retrying) == {"beta": Retrying(2, NOW_MS - 9, 503, "HTTP 503")}
    assert (await read(present.newest)).intent == 6


async def test_failures_in_a_row_are_told_of_those_connectors_that_have_any(read: Reader) -> None:
    common = {"lane": "signalq.orders", "noted_ms": NOW_MS, "wait_ms": 9}

    def work(connection: Connection) -> None:
        rows = [{"connector": "main", "failures": 4}, {"connector": "beta", "failures": 0}]
        connection.execute(insert(paces), [row | common for row in rows])

    await read.client.transact(work)
    assert await read(present.failures) == {"main": 4}


async def test_the_schedule_is_counted_and_changes_its_mark_with_each_order(read: Reader) -> None:
    pending = {"status": "scheduled", "due_ms": NOW_MS + MINUTE_MS}
    await plant(
        read.client,
        orders=[
            intent_row(**pending),
            intent_row(**pending | {"due_ms": NOW_MS + 2 * MINUTE_MS, "connector": "beta", "action": "closeLong"}),
            intent_row(**pending | {"due_ms": NOW_MS + 99 * MINUTE_MS, "connector": "beta"}),
            intent_row(**pending | {"status": "canceled", "ended_ms": NOW_MS}),
            intent_row(status="received"),
        ],
    )
    found = await read(present.scheduled)
    assert (found.count, found.next_due_ms) == (3, NOW_MS + MINUTE_MS)
    until_ms = NOW_MS + 60 * MINUTE_MS
    assert await read(present.due_until, until_ms, None) == {("main", "openLong"): 1, ("beta", "closeLong"): 1}
    assert await read(present.due_until, until_ms, ["beta"]) == {("beta", "closeLong"): 1}
    await plant(read.client, orders=[intent_row(**pending)])
    assert (await read(present.scheduled)).mark != found.mark


async def test_open_letters_are_counted_as_a_whole_and_by_reason_connector_and_status(read: Reader) -> None:
    await plant(
        read.client,
        dead=[
            letter_row(since_ms=NOW_MS - 9, reason="outcome-unknown"),
            letter_row(since_ms=NOW_MS - 4, reason="rejected", http_status=401, messages=2),
            letter_row(since_ms=NOW_MS - 1, reason="rejected", http_status=401),
            letter_row(since_ms=NOW_MS - 1, reason=None, connector=None),
            letter_row(since_ms=NOW_MS - 1, settled_ms=NOW_MS),
        ],
    )
    assert await read(present.open_letters) == OpenLetters(4, 5, NOW_MS - 9, 4, 0)
    rejected = LetterGroup("rejected", "main", 401, 2, NOW_MS - 4, NOW_MS - 1)
    unread = LetterGroup(None, None, None, 1, NOW_MS - 1, NOW_MS - 1)
    assert await read(present.letters_since, NOW_MS - 5) == [rejected, unread]
    assert await read(present.letters_of, "outcome-unknown") == [
        LetterGroup("outcome-unknown", "main", None, 1, NOW_MS - 9, NOW_MS - 9)
    ]

    def note(connection: Connection) -> None:
        row = {"mark": b"m" * 16, "reason": "rejected", "note": "later", "who": "carol", "at_ms": NOW_MS}
        connection.execute(insert(group_notes), [row])

    await read.client.transact(note)
    assert (await read(present.open_letters)).noted_ms == NOW_MS


async def test_a_lane_has_its_last_consumer_and_the_time_at_which_it_was_looked_after(
    store: Store, ledger: Ledger, read: Reader
) -> None:
    await ledger.open_lane("signalq.orders.main")
    await store.run("INSERT INTO lanes (lane, epoch, owner, alive_ms) VALUES ('signalq.due', 0, 'somebody', 7)")
    found = await read(present.lane_rows)
    assert found["signalq.due"] == (None, 7)
    ((owner, alive_ms),) = await store.rows("SELECT owner, alive_ms FROM lanes WHERE epoch = 1")
    assert found["signalq.orders.main"] == (owner, alive_ms)


async def test_the_latest_posts_are_a_sample_with_the_lateness_of_what_was_delayed(read: Reader) -> None:
    delayed = {"due_ms": NOW_MS, "first_post_ms": NOW_MS + 12}
    await plant(
        read.client,
        orders=[intent_row(), intent_row(**delayed), intent_row(**delayed, replayed_ms=NOW_MS)],
        steps=[
            event_row(at_ms=1, duration_ms=None),
            event_row(at_ms=2, certainty="not taken", duration_ms=30, intent=2),
            event_row(at_ms=3, intent=2),
            event_row(at_ms=4, intent=3),
            event_row(at_ms=5, what="dead", certainty=None, duration_ms=None),
            event_row(at_ms=6, intent=99),
        ],
    )
    assert await read(measures.latest_posts, 0, 100) == [
        Posted(1, 1, None, None),
        Posted(2, 2, 30, None),
        Posted(3, 3, 80, 12),
        Posted(4, 4, 80, None),
        Posted(5, 5, None, None),
        Posted(6, 6, 80, None),
    ]
    assert [one.number for one in await read(measures.latest_posts, 0, 2)] == [5, 6]
    assert [one.number for one in await read(measures.latest_posts, 5, 100)] == [6]


QUERIES: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "endings": (endings.count_endings, (0, NOW_MS, 15_000), "ix_intents_ended_ms"),
    "sending": (present.sending, (NOW_MS,), "ix_intents_owner"),
    "retrying": (present.retrying, (), "ix_intents_retrying"),
    "scheduled": (present.scheduled, (), "ix_intents_pending"),
    "due": (present.due_until, (NOW_MS, ["main"]), "ix_intents_pending"),
    "open letters": (present.open_letters, (), "ix_letters_open"),
    "fresh letters": (present.letters_since, (NOW_MS,), "ix_letters_open"),
    "letters in doubt": (present.letters_of, ("outcome-unknown",), "ix_letters_open"),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_each_figure_has_an_index_of_its_own_so_that_the_past_may_be_large(
    store: Store, read: Reader, name: str
) -> None:
    query, arguments, index = QUERIES[name]
    explained = await read(_explained, query, arguments, store.url.startswith("sqlite"))
    assert index in explained[0]
    assert not any("SCAN intents (" in plan or "Seq Scan on intents" in plan for plan in explained)


def _explained(
    connection: Connection, query: Callable[..., Any], arguments: tuple[Any, ...], is_sqlite: bool
) -> list[str]:
    """The plans of the statements that a query runs, as the database makes them."""
    plans = []
    prefix = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "

    def explain(_connection: Any, cursor: Any, statement: str, parameters: Any, *_more: Any) -> None:
        if not statement.startswith("EXPLAIN"):
            cursor.execute(f"{prefix}{statement}", parameters)
            plans.append(" ".join(str(row) for row in cursor.fetchall()))

    if not is_sqlite:
        # A small table is read as a whole, whatever indexes it has.
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    event.listen(connection, "before_cursor_execute", explain)
    try:
        query(connection, *arguments)
    finally:
        event.remove(connection, "before_cursor_execute", explain)
    return plans
