"""The letters in the ledger: open while they are in the queue, settled afterwards; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from pamqp.commands import Basic

from signalq.consumer.ledger import Conflict
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.pruning import Pruning
from signalq.consumer.ledger.queries import letters
from signalq.consumer.ledger.queries.letters import Letters
from signalq.consumer.orders.decisions import DeadLetter
from signalq.consumer.orders.letters import LetterRecord, mark_of, record_of
from signalq.consumer.orders.message import Message
from signalq.consumer.orders.order import Identity, Unreadable
from tests.support.graveyard import dead, record
from tests.support.letter_records import letter_record
from tests.support.orders import order, unknown
from tests.support.stores import Store

DEAD_MS = 1_769_860_800_000
LANE = "signalq.orders"

T = TypeVar("T")


def letter(number: int, **given: Any) -> LetterRecord:
    """A letter like those that a consumer leaves."""
    own: dict[str, Any] = {
        "detail": "the webhook refused it: HTTP 400",
        "http_status": 400,
        "dead_ms": DEAD_MS + number,
    }
    return letter_record(number, **own | given)


class Desk:
    """A ledger that is visited."""

    def __init__(self, visit: LedgerClient) -> None:
        self._visit = visit

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run one of the functions of letters.py in a transaction."""
        return await self._visit.transact(lambda connection: work(connection, *arguments))

    async def note(self, *records: LetterRecord, now_ms: int = DEAD_MS) -> None:
        await self.do(letters.note, now_ms, records)

    async def open(self, **wanted: Any) -> list[str | None]:
        """The ids of the open letters that fit, in their order."""
        return [one.intent_id for one in await self.do(letters.page, Letters(**wanted), 100)]


@pytest_asyncio.fixture
async def desk(store: Store, ledger: Ledger) -> Desk:
    return Desk(await store.stack.enter_async_context(LedgerClient(store.url)))


async def test_a_dead_order_and_its_letter_are_written_as_one(ledger: Ledger, desk: Desk) -> None:
    met = order(message_id="id-1")
    known = await ledger.record(met, unknown(met).dead_lettering("expired", "it was too old"))
    assert await desk.open() == []
    message = Message(b"the body", Basic.Properties(), "main", redelivered=False)
    record = record_of(met, DeadLetter("expired", "it was too old"), known.state, message, DEAD_MS)
    await ledger.record(met, known.state.dead(), letter=record)
    (found,) = await desk.do(letters.page, Letters(), 10)
    assert (found.intent_id, found.reason, found.detail, found.dead_ms) == (
        "id-1",
        "expired",
        "it was too old",
        DEAD_MS,
    )
    assert (found.connector, found.strategy, found.action, found.attempts) == ("main", "momentum", "openLong", 0)


async def test_a_record_that_loses_a_race_leaves_no_letter(ledger: Ledger, desk: Desk) -> None:
    met = order(message_id="id-1")
    known = await ledger.record(met, unknown(met).dead_lettering("expired", "it was too old"))
    await ledger.record(met, known.state.dead())
    with pytest.raises(Conflict):
        await ledger.record(met, known.state.dead(), letter=letter(1))
    assert await desk.open() == []


async def test_the_copies_of_a_letter_are_one_row_and_a_settled_one_that_is_there_again_is_open(desk: Desk) -> None:
    await desk.note(letter(1), letter(1), letter(2))
    assert await desk.open() == ["id-1", "id-2"]
    await desk.do(letters.settle, DEAD_MS + 9, [letter(1).mark], "replayed", "bob")
    assert await desk.open() == ["id-2"]
    assert await desk.do(letters.settled_since, DEAD_MS + 9) == {letter(1).mark}
    assert await desk.do(letters.settled_since, DEAD_MS + 10) == set()
    await desk.note(letter(1))
    assert await desk.open() == ["id-1", "id-2"]


async def test_a_letter_stays_settled_as_it_was_first(store: Store, desk: Desk) -> None:
    await desk.note(letter(1))
    await desk.do(letters.settle, DEAD_MS + 1, [letter(1).mark], "replayed", "bob")
    await desk.do(letters.settle, DEAD_MS + 2, [letter(1).mark], "gone", None)
    rows = await store.rows("SELECT settled_ms, settled_how, settled_by FROM letters")
    assert rows == [(DEAD_MS + 1, "replayed", "bob")]
    await desk.do(letters.reopen, [letter(1).mark])
    assert await store.rows("SELECT settled_ms, settled_how, settled_by FROM letters") == [(None, None, None)]


async def test_letters_are_listed_from_the_oldest_page_by_page_and_by_filter(desk: Desk) -> None:
    later = [letter(number, connector="other" if number % 2 else "main") for number in range(7, 0, -1)]
    undated = letter(8, dead_ms=None, reason=None, generation=None)
    await desk.note(*later, undated, now_ms=DEAD_MS + 100)
    first = await desk.do(letters.page, Letters(), 3)
    assert [one.intent_id for one in first] == ["id-1", "id-2", "id-3"]
    rest = await desk.do(letters.page, Letters(), 100, first[-1])
    assert [one.intent_id for one in rest] == ["id-4", "id-5", "id-6", "id-7", "id-8"]
    assert rest[-1].dead_ms is None
    assert await desk.open(connector="main") == ["id-2", "id-4", "id-6", "id-8"]
    assert await desk.open(connector="main", reason="rejected") == ["id-2", "id-4", "id-6"]
    assert await desk.open(intent_ids=["id-5", "id-0"], strategy="momentum") == ["id-5"]
    assert await desk.open(strategy="carry") == []
    assert await desk.do(letters.count, Letters(connector="other")) == 4
    assert await desk.do(letters.ids_between, "id-", "", 3) == ["id-1", "id-2", "id-3"]


async def test_letters_of_one_moment_keep_the_order_in_which_they_were_noted(desk: Desk) -> None:
    await desk.note(*(letter(number, dead_ms=DEAD_MS) for number in range(5)))
    (first,) = await desk.do(letters.page, Letters(), 1)
    rest = await desk.do(letters.page, Letters(), 10, first)
    assert [one.intent_id for one in (first, *rest)] == [f"id-{number}" for number in range(5)]


async def test_messages_are_counted_with_their_copies_and_without_what_is_settled(desk: Desk) -> None:
    assert await desk.do(letters.messages) == 0
    await desk.note(letter(1), letter(2), letter(3))
    await desk.do(letters.count_messages, letter(2).mark, 4)
    await desk.do(letters.settle, DEAD_MS, [letter(3).mark], "discarded", "bob")
    assert await desk.do(letters.messages) == 5
    found = await desk.do(letters.marked, 0, 10)
    assert [(one.mark, one.messages) for one in found] == [(letter(1).mark, 1), (letter(2).mark, 4)]
    assert [one.mark for one in await desk.do(letters.marked, found[0].number, 10)] == [letter(2).mark]


async def test_any_foreign_text_and_number_can_be_kept(desk: Desk) -> None:
    long = "\x00é" * 5_000
    foreign = letter(
        1,
        intent_id=long,
        strategy=long,
        connector=long,
        action="openLong" * 10,
        client_order_id=long,
        reason=long,
        detail=long,
        attempts=2**40,
        http_status=-1,
        generation=2**31,
        dead_ms=2**53,
        body_bytes=2**40,
    )
    await desk.note(foreign)
    (found,) = await desk.do(letters.page, Letters(), 10)
    assert (found.attempts, found.http_status, found.generation) == (None, None, None)
    assert (found.detail or "").startswith("\\x00é\\x00é")
    assert len(found.connector or "") == 1020
    await desk.note(replace(foreign, dead_ms=None))


async def test_settled_letters_are_forgotten_after_the_retention_in_steps_and_open_ones_never(
    store: Store, ledger: Ledger, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalq.consumer.ledger.pruning.PRUNE_ROWS_MAX", 2)
    await desk.note(*(letter(number, dead_ms=1) for number in range(6)))
    await desk.do(letters.settle, 1, [letter(number).mark for number in range(5)], "discarded", "bob")
    pruning = Pruning(ledger._writer, ledger._database, retention_days=7, machine="")
    assert [await ledger._writer.ask(pruning.prune_some) for _ in range(4)] == [2, 2, 1, 0]
    assert await store.rows("SELECT intent_id FROM letters") == [("id-5",)]


async def test_a_listing_and_the_count_walk_along_an_index_of_the_open_letters(store: Store, desk: Desk) -> None:
    if not store.url.startswith("sqlite"):
        pytest.skip("a small table of PostgreSQL is read as a whole, whatever indexes it has")
    for query in (
        "SELECT number FROM letters WHERE settled_ms IS NULL AND (since_ms, number) > (1, 1)"
        " ORDER BY since_ms, number LIMIT 10",
        "SELECT sum(messages) FROM letters WHERE settled_ms IS NULL",
    ):
        plan = " ".join(str(row) for row in await store.rows(f"EXPLAIN QUERY PLAN {query}"))
        assert "ix_letters_open" in plan
        assert "TEMP B-TREE" not in plan


async def test_the_letters_of_an_earlier_version_have_no_rows(store: Store, desk: Desk) -> None:
    await record(store.url, [dead(1)], noted=False)
    await record(store.url, [dead(2)])
    assert await desk.open() == ["id-2"]


def test_the_record_of_what_cannot_be_read_has_what_is_known_of_it() -> None:
    identity = Identity("momentum", "id-1", None, "id-1", b"")
    unreadable = Unreadable("percent: must be more than 0", "main", identity, action="buy", client_order_id="c1")
    message = Message(b"{}", Basic.Properties(), "main", redelivered=False, sent_bytes=2_000_000)
    found = record_of(unreadable, DeadLetter("invalid", unreadable.detail), None, message, DEAD_MS)
    assert (found.generation, found.attempts, found.http_status, found.order_fields) == (1, 0, None, None)
    assert (found.action, found.client_order_id, found.body_bytes) == ("buy", "c1", 2_000_000)
    assert found.mark == mark_of("momentum", "id-1", 1, b"{}")


def test_a_mark_is_that_of_the_copies_of_a_letter_and_of_no_other() -> None:
    parts: tuple[Any, ...] = ("momentum", "id-1", 1, b"{}")
    others: tuple[Any, ...] = ("carry", None, 2, b"{ }")
    assert mark_of(*parts) == mark_of(*parts)
    marks = {mark_of(*parts[:at], other, *parts[at + 1 :]) for at, other in enumerate(others)}
    assert len(marks | {mark_of(*parts)}) == 5
