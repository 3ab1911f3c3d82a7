"""The search in the ledger: what an index finds is found however old it is, all else as far back as is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from sqlalchemy import Connection, create_engine, event

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import schedule, search
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.queries.search import Looked, look
from signalq.consumer.ledger.tables import PENDING
from signalq.consumer.orders.pending import PENDING_STATUSES
from tests.support.lives import TRACE_ID, Lives, lives_in
from tests.support.stores import Store, file_of

T = TypeVar("T")


async def read(store: Store, work: Callable[[Connection], T]) -> T:
    async with LedgerClient(store.url) as client:
        return await client.read(work)


async def looked(store: Store, rows_max: int = 50, **wanted: Any) -> Looked:
    return await read(store, lambda now: look(now, Filter(**wanted), rows_max))


async def ids(store: Store, **wanted: Any) -> str:
    """The ids that a look finds, the newest first; it found all."""
    found = await looked(store, **wanted)
    assert found.older is None
    return " ".join(one.intent_id for one in found.found)


@pytest.fixture
async def lives(store: Store) -> Lives:
    return await lives_in(store)


@pytest.fixture
async def seven(store: Store, lives: Lives) -> Store:
    """An order at each point of a life, of two connectors and two strategies."""
    await lives.delivered("aaaa-1", clientOrderId="Long Entry")
    await lives.dead("aaaa-2", strategy="value", clientOrderId="Long Entry")
    await lives.dead("bbbb-3", "expired", connectorName="other")
    await lives.retrying("bbbb-4", action="closeLong")
    await lives.sending("aaab-5", action="closeShort")
    await lives.scheduled("cccc-6", connectorName="other")
    await lives.met("cccc-7", delaySeconds=60)
    return store


async def test_each_condition_finds_its_orders(seven: Store) -> None:
    assert await ids(seven) == "cccc-7 cccc-6 aaab-5 bbbb-4 bbbb-3 aaaa-2 aaaa-1"
    assert await ids(seven, begins="aaa") == "aaab-5 aaaa-2 aaaa-1"
    assert await ids(seven, begins="aaaa-", ends="2") == "aaaa-2"
    assert await ids(seven, begins="aaaa-1", ends="1") == "", "the two parts do not overlap"
    assert await ids(seven, begins="AAA") == ""
    assert await ids(seven, begins="a%") == await ids(seven, begins="a_") == "", "no pattern"
    assert await ids(seven, client_order_id="Long Entry") == "aaaa-2 aaaa-1"
    assert await ids(seven, client_order_id="Long Entry", status="dead") == "aaaa-2"
    assert await ids(seven, action="closeLong") == "bbbb-4"
    assert await ids(seven, http_status=401) == "bbbb-3 aaaa-2"
    assert await ids(seven, http_status=401, strategy="value") == "aaaa-2"
    assert len((await looked(seven, trace_id=bytes.fromhex(TRACE_ID))).found) == 7
    assert await ids(seven, trace_id=b"1" * 16) == ""
    assert await ids(seven, status="dead", reason="expired", connector="other") == "bbbb-3"
    assert await ids(seven, status="scheduled") == "cccc-6"
    assert await ids(seven, status="received") == "cccc-7"
    assert await ids(seven, status="sending") == "aaab-5"
    assert await ids(seven, status="retrying") == "bbbb-4"
    assert await ids(seven, intent_ids=("aaaa-2", "nobody"), strategy="value") == "aaaa-2"
    (only,) = (await looked(seven, intent_ids=("aaaa-1",))).found
    assert bytes(only.trace_id or b"").hex() == TRACE_ID


async def test_pages_go_on_below_a_number_and_stay_as_they_are_when_orders_come(store: Store, lives: Lives) -> None:
    for number in range(7):
        await lives.dead(f"old-{number}")
    first = await looked(store, 3, status="dead")
    walked = await looked(store, 3)
    assert first.older == walked.older == first.found[-1].number
    for number in range(3):
        await lives.dead(f"new-{number}")
    for wanted in ({"status": "dead"}, {}, {"strategy": "momentum"}, {"begins": "old-"}):
        second = await looked(store, 3, before=first.older, **wanted)
        third = await looked(store, 3, before=second.older, **wanted)
        assert [one.intent_id for one in (*second.found, *third.found)] == ["old-3", "old-2", "old-1", "old-0"]
        assert third.older is None


async def test_a_look_that_ends_at_its_limit_says_how_far_back_it_looked_and_the_next_one_goes_on_there(
    store: Store, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 3)
    await lives.delivered("rare", connectorName="rare")
    for number in range(7):
        await lives.delivered(f"common-{number}", clientOrderId="each time")
    nothing = await looked(store, connector="rare")
    assert (nothing.found, nothing.back_to_ms is not None) == ([], True)
    seen = 3
    while not nothing.found:
        assert nothing.older is not None
        nothing = await looked(store, connector="rare", before=nothing.older)
        seen += 3
    assert ([one.intent_id for one in nothing.found], nothing.older, seen) == (["rare"], None, 9)
    # A page that is full needs no limit, and one that an index fills has none.
    assert (await looked(store, 2)).back_to_ms is None
    assert (await looked(store, 2, client_order_id="each time")).back_to_ms is None
    assert await ids(store, intent_ids=("rare",)) == "rare"
    assert await ids(store, status="dead") == ""
    # Of a client's id that is given each time, the newest are looked at.
    found = await looked(store, client_order_id="each time", http_status=500)
    assert (found.found, found.back_to_ms is not None) == ([], True)
    assert found.older == (await looked(store)).found[2].number


async def test_the_oldest_page_says_that_nothing_is_left_though_it_ends_at_the_limit(
    store: Store, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 3)
    for number in range(3):
        await lives.delivered(f"n{number}")
    assert await ids(store) == "n2 n1 n0"
    assert await ids(store, connector="nobody") == ""


async def test_the_schedule_is_paged_by_due_time_and_number(store: Store, lives: Lives) -> None:
    for number, delay_s in enumerate((600, 300, 300, 900)):
        await lives.scheduled(f"p{number}", delay_s)
    rows = await read(store, lambda now: schedule.pending(now, Filter(), 10))
    assert rows[0].intent_id in {"p1", "p2"}
    key = rows[1].due_ms or 0, rows[1].number
    rest = await read(store, lambda now: schedule.pending(now, Filter(), 10, key))
    assert [one.intent_id for one in rest] == ["p0", "p3"]
    assert await read(store, lambda now: schedule.count(now, Filter(), after=key)) == 2
    assert await read(store, lambda now: schedule.count(now, Filter(), due_before_ms=rest[-1].due_ms)) == 3
    last = await read(store, schedule.last_number)
    assert await read(store, lambda now: schedule.count(now, Filter(before=last))) == 3
    assert await read(store, lambda now: schedule.count(now, Filter(numbers=[last]))) == 1


def test_the_statuses_of_the_pending_are_those_of_their_index() -> None:
    assert PENDING.text == f"due_ms IS NOT NULL AND status IN {PENDING_STATUSES}"


# ---- the indexes, by SQLite's own word ----

LOOKED_UP = {
    "ix_intents_dead": Filter(status="dead"),
    "ix_intents_dead (reason=? AND connector=?)": Filter(status="dead", reason="rejected", connector="main"),
    "ix_intents_retrying": Filter(status="retrying", strategy="momentum"),
    "ix_intents_owner": Filter(status="sending", before=9),
    "ix_intents_pending": Filter(status="scheduled"),
    "ix_intents_client_order_id (client_order_id=? AND rowid<?)": Filter(client_order_id="c", before=9),
    "(strategy=? AND intent_id=?)": Filter(intent_ids=("a",)),
    "(strategy=? AND intent_id>? AND intent_id<?)": Filter(begins="aaaaaa"),
    "INTEGER PRIMARY KEY (rowid<?)": Filter(strategy="momentum", http_status=401, before=9),
}


async def plan(store: Store, work: Callable[[Connection], object]) -> str:
    """How SQLite finds what the last query of `work` asks for."""
    await store.ledger()
    engine = create_engine(f"sqlite:///{file_of(store.url)}")
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda *arguments: asked.append((arguments[2], arguments[3])))
    with engine.connect() as connection:
        work(connection)
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[-1][0]}", asked[-1][1]).all()
    engine.dispose()
    return "\n".join(str(row[3]) for row in rows)


@pytest.mark.parametrize("index", LOOKED_UP)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_a_search_that_has_an_index_uses_it_and_any_other_walks_along_the_numbers(
    store: Store, index: str
) -> None:
    found = await plan(store, lambda now: look(now, LOOKED_UP[index], 50))
    assert index in found
    assert "SCAN intents" not in found.split("\n")


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_the_schedule_is_listed_counted_and_canceled_by_its_index(store: Store) -> None:
    works: list[Callable[[Connection], object]] = [
        lambda now: schedule.count(now, Filter()),
        lambda now: schedule.pending(now, Filter(), 50),
        lambda now: schedule.pending(now, Filter(strategy="momentum"), 50, (7, 7)),
        lambda now: schedule.cancel(now, 7, Filter(before=99), "by a test"),
    ]
    for work in works:
        assert "INDEX ix_intents_pending" in await plan(store, work)
