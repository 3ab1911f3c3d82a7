"""The activity and the shift notes in the ledger, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import activity, audit, letters, replicas, shift_notes, switches
from signalq.consumer.ledger.queries.activity import LETTERS_APART_MS, Entry, Place, Wanted
from signalq.consumer.ledger.queries.audit import Act, What
from signalq.consumer.ledger.queries.letters import Pile
from signalq.consumer.orders.letters import LetterRecord
from signalq.consumer.orders.switch import ALL, State
from tests.support.stores import Store

ALICE, BOB = Actor("alice", "console", "10.2.0.7"), Actor("bob", "cli", "host-a")
T0_MS = 1_796_000_000_000
MINUTE_MS = 60_000

T = TypeVar("T")


class Desk:
    """A ledger, and people who do things at the minutes after T0_MS that they are told."""

    def __init__(self, visit: LedgerClient) -> None:
        self._visit = visit

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        return await self._visit.transact(lambda connection: work(connection, *arguments))

    async def act(self, minute: int, actor: Actor, what: What, **about: object) -> None:
        await self.do(audit.note, T0_MS + minute * MINUTE_MS, actor, Act(what, about, done=1, why="because"))

    async def switch(self, minute: int, actor: Actor, connector: str, state: State, *, audited: bool = True) -> None:
        at_ms = T0_MS + minute * MINUTE_MS

        def work(connection: Any) -> None:
            switches.change(connection, at_ms, connector, state, who=actor.name, why="because")
            if audited:
                act = Act("switch", {"connector": connector or None, "state": state}, done=1, why="because")
                audit.note(connection, at_ms, actor, act)

        await self.do(work)

    async def die(self, minute: int, number: int, *, reason: str | None = "rejected", connector: str = "main") -> None:
        at_ms = T0_MS + minute * MINUTE_MS
        rest: dict[str, Any] = dict.fromkeys(("action", "client_order_id", "attempts", "http_status", "order_fields"))
        mark = number.to_bytes(16, "big")
        letter = LetterRecord(
            mark, "m", f"id-{number}", 1, connector, reason=reason, detail="no", dead_ms=at_ms, body_bytes=2, **rest
        )
        await self.do(letters.note, at_ms, [letter])

    async def told(self, rows_max: int = 100, before: Place | None = None, **wanted: Any) -> list[Entry]:
        return await self.do(activity.page, Wanted(**wanted), rows_max, before)

    async def all_told(self, rows_max: int, **wanted: Any) -> list[Entry]:
        """Page by page."""
        found: list[Entry] = []
        while some := await self.told(rows_max, found[-1].place if found else None, **wanted):
            assert len(some) <= rows_max
            found += some
        return found


@pytest_asyncio.fixture
async def desk(store: Store) -> Desk:
    await store.close(await store.ledger())
    return Desk(await store.stack.enter_async_context(LedgerClient(store.url)))


def minutes(entries: list[Entry]) -> list[float]:
    return [(one.at_ms - T0_MS) / MINUTE_MS for one in entries]


async def test_acts_old_changes_of_the_switch_letters_and_consumers_are_told_the_latest_first_in_pages_of_any_size(
    desk: Desk,
) -> None:
    assert await desk.told() == []
    await desk.switch(1, BOB, "main", "paused", audited=False)
    await desk.switch(2, ALICE, ALL, "close-only")
    await desk.switch(2, BOB, "main", "open", audited=False)
    for number in range(3):
        await desk.act(3, ALICE, "replay", reason="rejected", number=number)
    await desk.die(3, 1)
    await desk.do(replicas.note_alive, T0_MS + 3 * MINUTE_MS, "o", "host-c:92", 0, {})
    await desk.act(4, BOB, "cancel", all=True)
    found = await desk.told()
    assert [(one.kind, one.who) for one in found] == [
        ("cancel", "bob"),
        *[("replay", "alice")] * 3,
        ("letters", None),
        *[("consumer", None)] * 2,
        ("switch", "alice"),
        ("switch", "bob"),
        ("switch", "bob"),
    ]
    assert minutes(found) == [4, *[3] * 6, 2, 2, 1]
    assert [one.about["number"] for one in found[1:4]] == [2, 1, 0]
    assert [one.about.get("silent", False) for one in found[5:7]] == [True, False]
    assert (found[-2].via, found[-2].about) == ("", {"connector": "main", "state": "open"})
    assert (found[-3].via, found[-3].about) == ("console", {"state": "close-only"})
    for size in (1, 2, 3, 7):
        assert await desk.all_told(size) == found


async def test_entries_are_found_by_person_kind_and_time(desk: Desk) -> None:
    await desk.switch(1, BOB, "main", "paused", audited=False)
    await desk.switch(2, BOB, "main", "open")
    await desk.act(3, ALICE, "discard", all=True)
    await desk.die(4, 1)
    assert minutes(await desk.told(who="bob")) == [2, 1]
    assert minutes(await desk.told(who="bo")) == []
    assert minutes(await desk.told(kind="switch")) == [2, 1]
    assert minutes(await desk.told(kind="letters")) == [4]
    assert minutes(await desk.told(kind="letters", who="bob")) == []
    assert minutes(await desk.told(kind="consumer")) == []
    assert minutes(await desk.told(since_ms=T0_MS + 2 * MINUTE_MS)) == [4, 3, 2]
    assert minutes(await desk.told(since_ms=T0_MS + 2 * MINUTE_MS, until_ms=T0_MS + 4 * MINUTE_MS)) == [3, 2]
    assert minutes(await desk.all_told(1, who="bob", until_ms=T0_MS + 2 * MINUTE_MS)) == [1]


async def test_letters_of_one_reason_and_connector_are_one_entry_until_none_comes_for_long(desk: Desk) -> None:
    hour = LETTERS_APART_MS // MINUTE_MS
    for number, minute in enumerate((0, 1, 1 + hour, 2 + 2 * hour)):
        await desk.die(minute, number)
    await desk.die(1, 10, reason="expired")
    await desk.die(2, 11, connector="spot")
    await desk.die(3, 12, reason=None)
    await desk.do(letters.settle, T0_MS, [(1).to_bytes(16, "big")], "replayed", "bob")
    entries = await desk.told()
    found = [
        (one.about["reason"], one.about["connector"], minute, one.done, one.about["settled"])
        for one, minute in zip(entries, minutes(entries), strict=True)
    ]
    assert found == [
        ("rejected", "main", 2 + 2 * hour, 1, 0),
        (None, "main", 3, 1, 0),
        ("rejected", "spot", 2, 1, 0),
        ("expired", "main", 1, 1, 0),
        ("rejected", "main", 0, 3, 1),
    ]
    assert (entries[-1].about["last_ms"] - T0_MS) / MINUTE_MS == 1 + hour


async def test_a_consumer_that_lives_came_and_one_that_is_silent_was_last_heard_of(desk: Desk) -> None:
    now_ms = await desk.do(clock_ms)
    await desk.do(replicas.note_alive, T0_MS, "gone", "host-b:771", 0, {})
    await desk.do(replicas.note_alive, T0_MS + MINUTE_MS, "gone", "host-b:771", 0, {})
    await desk.do(replicas.note_alive, now_ms, "here", "host-a:411", 0, {})
    told = [(one.about["name"], one.about.get("silent", False)) for one in await desk.told()]
    assert sorted(told) == [("host-a:411", False), ("host-b:771", False), ("host-b:771", True)]


@pytest.mark.parametrize("about", ["", "null", "[1]", "{", "1e999"])
def test_an_act_that_another_hand_has_written_is_about_nothing(about: str) -> None:
    assert activity.about_of(about) == {}


async def test_a_page_of_the_audit_is_found_by_an_index(store: Store, desk: Desk) -> None:
    if not store.url.startswith("sqlite"):
        pytest.skip("a small table of PostgreSQL is read as a whole, whatever indexes it has")
    query = "SELECT * FROM audit WHERE (at_ms, number) < (9, 9) ORDER BY at_ms DESC, number DESC LIMIT 9"
    plan = " ".join(str(row) for row in await store.rows(f"EXPLAIN QUERY PLAN {query}"))
    assert "ix_audit_at_ms" in plan
    assert "TEMP B-TREE" not in plan


async def test_a_note_stands_until_it_is_struck_out_once(desk: Desk) -> None:
    first = await desk.do(shift_notes.add, T0_MS, "alice", "new token\nat 15:00")
    second = await desk.do(shift_notes.add, T0_MS + 1, "bob\x00", "é" * 500)
    assert [one.number for one in await desk.do(shift_notes.standing)] == [second, first]
    assert await desk.do(shift_notes.strike, T0_MS + 2, first, "bob")
    assert not await desk.do(shift_notes.strike, T0_MS + 3, first, "carol")
    assert not await desk.do(shift_notes.strike, T0_MS + 3, 999, "carol")
    assert [(one.who, one.note) for one in await desk.do(shift_notes.standing)] == [("bob\\x00", "é" * 500)]
    found = await desk.do(shift_notes.find, first)
    assert found is not None
    assert (found.at_ms, found.note, found.struck_ms, found.struck_by) == (
        T0_MS,
        "new token\nat 15:00",
        T0_MS + 2,
        "bob",
    )
    assert await desk.do(shift_notes.find, 999) is None


async def test_so_many_notes_stand_at_a_time(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shift_notes, "STANDING_MAX", 2)
    numbers = [await desk.do(shift_notes.add, T0_MS, "alice", str(number)) for number in range(3)]
    assert None not in numbers[:2]
    assert numbers[2] is None
    assert await desk.do(shift_notes.strike, T0_MS, numbers[0], "alice")
    assert await desk.do(shift_notes.add, T0_MS, "alice", "again") is not None


async def test_the_open_letters_are_one_number_and_the_age_of_the_oldest(desk: Desk) -> None:
    assert await desk.do(letters.pile, T0_MS) == Pile(0, 0.0)
    await desk.die(5, 1)
    await desk.die(2, 2, reason="expired")
    await desk.die(9, 3, reason=None)
    now_ms = T0_MS + 10 * MINUTE_MS
    assert await desk.do(letters.pile, now_ms) == Pile(3, 480.0)
    assert await desk.do(letters.pile, T0_MS) == Pile(3, 0.0), "an age is never negative"
    assert await desk.do(letters.fresh, T0_MS + 5 * MINUTE_MS) == {"rejected": 1, None: 1}
    await desk.do(letters.settle, now_ms, [(2).to_bytes(16, "big")], "discarded", "bob")
    assert await desk.do(letters.pile, now_ms) == Pile(2, 300.0)
