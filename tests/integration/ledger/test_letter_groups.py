"""The open letters in groups, the notes at them, and what has become of their intents; on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest_asyncio

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import audit, group_notes, letter_groups, letters, replays
from signalq.consumer.ledger.queries.audit import Act
from signalq.consumer.ledger.queries.letter_groups import BUCKET_MS, BUCKETS, Group, Scope
from signalq.consumer.orders.letters import LetterRecord
from tests.support.graveyard import dead, record
from tests.support.letter_records import letter_record
from tests.support.stores import Store

NOW_MS = 1_769_860_900_000
NONE: dict[str, Any] = {"reason": None, "connector": None, "detail": None}

T = TypeVar("T")


def letter(number: int, **given: Any) -> LetterRecord:
    """A letter that died `number` ms ago."""
    return letter_record(number, **{"dead_ms": NOW_MS - number} | given)


class Visit:
    """A ledger that is visited."""

    def __init__(self, client: LedgerClient) -> None:
        self._client = client

    async def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a function of the queries in a transaction."""
        return await self._client.transact(lambda connection: work(connection, *arguments))

    async def note(self, *records: LetterRecord) -> None:
        await self.do(letters.note, NOW_MS, records)

    async def groups(self, by: str = "cause", until: int | None = None, **scope: Any) -> list[Group]:
        return await self.do(letter_groups.groups, Scope(**scope), by, NOW_MS, until)


@pytest_asyncio.fixture
async def visit(store: Store, ledger: Ledger) -> Visit:
    return Visit(await store.stack.enter_async_context(LedgerClient(store.url)))


async def test_letters_are_grouped_by_as_much_as_is_asked_for_and_the_newest_group_is_first(visit: Visit) -> None:
    await visit.note(
        *(letter(number) for number in (30, 20, 10)),
        letter(25, detail="HTTP 403"),
        letter(15, connector="beta"),
        letter(5, reason="expired", detail=None),
        letter(3, **NONE),
    )
    assert [(one.values, one.count) for one in await visit.groups()] == [
        ((None, None, None), 1),
        (("expired", "main", None), 1),
        (("rejected", "beta", "HTTP 401"), 1),
        (("rejected", "main", "HTTP 403"), 1),
        (("rejected", "main", "HTTP 401"), 3),
    ]
    assert [(one.values, one.count) for one in await visit.groups("connector")] == [
        ((None, None), 1),
        (("expired", "main"), 1),
        (("rejected", "beta"), 1),
        (("rejected", "main"), 4),
    ]
    by_reason = await visit.groups("reason")
    assert [(one.values, one.count) for one in by_reason] == [((None,), 1), (("expired",), 1), (("rejected",), 5)]
    assert (by_reason[-1].first_ms, by_reason[-1].last_ms) == (NOW_MS - 30, NOW_MS - 10)
    assert len({one.mark for by in ("cause", "connector", "reason") for one in await visit.groups(by)}) == 12


async def test_a_group_is_by_the_cause_and_has_a_detail_where_all_its_letters_have_the_same(visit: Visit) -> None:
    hours_ms = 40 * BUCKET_MS
    await visit.note(
        letter(1, detail="71.5 s old, 60 s are allowed"),
        letter(hours_ms, detail="95.0 s old, 60 s are allowed"),
        letter(2, connector="beta", detail="waited 60 s"),
        letter(hours_ms + 1, connector="beta", detail="waited 60 s"),
        letter(3, **NONE),
        letter(4, **NONE),
    )
    found = {one.connector: one for one in await visit.groups()}
    assert {name: (one.cause, one.detail, one.died_of, one.count) for name, one in found.items()} == {
        "main": ("… s old, … s are allowed", None, "… s old, … s are allowed", 2),
        "beta": ("waited … s", "waited 60 s", "waited 60 s", 2),
        None: (None, None, None, 2),
    }
    details = [one.detail for one in await visit.do(letter_groups.page, Scope(), found["main"], 9)]
    assert details == ["95.0 s old, 60 s are allowed", "71.5 s old, 60 s are allowed"]
    assert {(one.cause, one.detail) for one in await visit.groups("connector")} == {(None, None)}


async def test_a_settled_letter_is_in_no_group_and_filters_leave_out_others(visit: Visit) -> None:
    await visit.note(letter(1), letter(2, strategy="carry"), letter(3, connector="beta"), letter(9_000))
    await visit.do(letters.settle, NOW_MS, [letter(1).mark], "replayed", "bob")
    assert sum(one.count for one in await visit.groups()) == 3
    assert [one.count for one in await visit.groups(strategy="carry")] == [1]
    assert [one.values[1] for one in await visit.groups(connector="beta")] == ["beta"]
    assert sum(one.count for one in await visit.groups(since_ms=NOW_MS - 5_000)) == 2
    assert await visit.groups(reason="invalid") == []


async def test_letters_that_came_later_are_counted_apart_and_are_not_meant(visit: Visit) -> None:
    await visit.note(letter(1), letter(2))
    until = await visit.do(letter_groups.newest)
    # A letter that is found by a read of the queue may have died long before the page was made.
    await visit.note(letter(900), letter(3, connector="beta"))
    beta, main = await visit.groups(until=until)
    assert ((main.count, main.later), (beta.count, beta.later)) == ((2, 1), (0, 1))
    both = [main.mark, beta.mark]
    meant = await visit.do(letter_groups.chosen, Scope(), "cause", both, until, 100)
    assert {group.connector: set(marks) for group, marks in meant.items()} == {"main": {letter(1).mark, letter(2).mark}}
    later = await visit.do(letter_groups.chosen, Scope(), "cause", both, until + 9, 100)
    assert {group.mark: len(marks) for group, marks in later.items()} == {main.mark: 3, beta.mark: 1}
    assert await visit.do(letter_groups.chosen, Scope(connector="beta"), "cause", [main.mark], until + 9, 100) == {}
    many = await visit.do(letter_groups.chosen, Scope(), "cause", both, until + 9, 1)
    assert sum(map(len, many.values())) == 2, "one more than may be, so that this can be told"
    (by_reason,) = await visit.groups("reason")
    whole = await visit.do(letter_groups.chosen, Scope(), "reason", [by_reason.mark], until + 9, 100)
    assert [len(marks) for marks in whole.values()] == [4]


async def test_buckets_count_quarters_of_an_hour_and_leave_out_what_is_older(visit: Visit) -> None:
    hour_ms = 4 * BUCKET_MS
    in_this_bucket = NOW_MS % BUCKET_MS
    await visit.note(letter(0), letter(in_this_bucket), letter(in_this_bucket + 1), letter(BUCKETS * BUCKET_MS * 2))
    (group,) = await visit.groups()
    assert group.count == 4
    assert list(group.buckets) == [0] * (BUCKETS - 2) + [1, 2]
    assert sum((await visit.groups(since_ms=NOW_MS - hour_ms))[0].buckets) == 3


async def test_a_groups_letters_come_page_by_page_the_oldest_first(visit: Visit) -> None:
    await visit.note(*(letter(number) for number in range(7)), letter(3, connector="beta", mark=b"b" * 16))
    groups = {one.connector: one for one in await visit.groups()}
    first = await visit.do(letter_groups.page, Scope(), groups["main"], 4)
    assert [one.intent_id for one in first] == ["id-6", "id-5", "id-4", "id-3"]
    after = (first[-1].since_ms, first[-1].number)
    rest = await visit.do(letter_groups.page, Scope(), groups["main"], 4, after)
    assert [one.intent_id for one in rest] == ["id-2", "id-1", "id-0"]
    assert bytes(first[0].mark) == letter(6).mark
    assert await visit.do(letter_groups.page, Scope(strategy="carry"), groups["main"], 4) == []


async def test_single_letters_are_found_while_they_are_there(visit: Visit) -> None:
    await visit.note(letter(1), letter(2), letter(3, strategy="carry", intent_id="id-2"))
    await visit.do(letters.settle, NOW_MS, [letter(1).mark], "discarded", "bob")
    marks = [letter(1).mark, letter(2).mark, b"x" * 16]
    assert await visit.do(lambda connection: list(letter_groups.among(connection, marks))) == [(letter(2).mark, "id-2")]
    assert len(await visit.do(letter_groups.of_intent, "id-2", None, 10)) == 2
    assert await visit.do(letter_groups.of_intent, "id-2", "momentum", 10) == [(letter(2).mark, "id-2")]


async def test_the_names_to_filter_by_are_those_of_open_letters(visit: Visit) -> None:
    await visit.note(letter(1), letter(2, connector="beta", strategy="carry"), letter(3, **NONE), letter(4, reason="x"))
    await visit.do(letters.settle, NOW_MS, [letter(4).mark], "gone", None)
    found = await visit.do(letter_groups.facets)
    assert (found.reasons, found.connectors, found.strategies) == (
        ["rejected"],
        ["beta", "main"],
        ["carry", "momentum"],
    )


async def test_the_last_letter_that_left_is_told_with_how_and_by_whom(visit: Visit) -> None:
    assert await visit.do(letters.last_settled) is None
    await visit.note(letter(1), letter(2))
    await visit.do(letters.settle, NOW_MS, [letter(1).mark], "replayed", "bob")
    await visit.do(letters.settle, NOW_MS - 5, [letter(2).mark], "discarded", "carol")
    last = await visit.do(letters.last_settled)
    assert last is not None
    assert (last.settled_ms, last.settled_how, last.settled_by) == (NOW_MS, "replayed", "bob")


async def test_a_note_is_of_one_group_replaced_by_the_next_and_cleared_by_an_empty_one(visit: Visit) -> None:
    await visit.note(letter(1, detail="x" * 8_000), letter(2, connector="beta"))
    beta, long = sorted(await visit.groups(), key=lambda one: one.connector or "")
    await visit.do(group_notes.write, NOW_MS, long, "new token at 15:00", "carol")
    await visit.do(group_notes.write, NOW_MS + 1, long, "token is there\x00", "bob")
    found = await visit.do(group_notes.read, [long, beta])
    assert {mark: (one.note, one.who, one.at_ms) for mark, one in found.items()} == {
        long.mark: ("token is there\\x00", "bob", NOW_MS + 1)
    }
    assert await visit.do(group_notes.read, []) == {}
    await visit.do(group_notes.write, NOW_MS + 2, long, "", "bob")
    assert await visit.do(group_notes.read, [long, beta]) == {}


async def test_how_the_intents_of_letters_stand_is_found_by_the_letters_marks(store: Store, visit: Visit) -> None:
    known = dead("known", reason="expired")
    await record(store.url, [known])
    (group,) = await visit.groups()
    (row,) = await visit.do(letter_groups.page, Scope(), group, 10)
    await visit.note(letter(5))
    found = await visit.do(replays.of_letters, [row.mark, letter(5).mark])
    assert list(found) == [bytes(row.mark)]
    standing = found[bytes(row.mark)]
    assert (standing.status, standing.generation, standing.reason) == ("dead", 1, "expired")
    assert standing == await visit.do(replays.find, known.order.strategy, known.order.intent_id)
    assert await visit.do(replays.of_letters, []) == {}


async def test_the_act_of_a_job_is_found_by_its_key_and_says_whether_it_has_ended(visit: Visit) -> None:
    bob = Actor("bob", "console", "10.2.0.7")
    about = {"connector": '"job": "ab12-1"', "chosen": 30}
    await visit.do(audit.note, NOW_MS, bob, Act("replay", about, 5))
    number = await visit.do(audit.note, NOW_MS, bob, Act("replay", {"chosen": 30, "job": "ab12-1"}, 12))
    await visit.do(audit.note, NOW_MS, bob, Act("discard", {"chosen": 1, "job": "ab12-12"}, 1))
    assert await visit.do(audit.of_job, "ab12-9") is None
    found = await visit.do(audit.of_job, "ab12-1")
    assert found is not None
    assert (found.number, found.done, json.loads(found.about)) == (number, 12, {"chosen": 30, "job": "ab12-1"})
    await visit.do(audit.end, number)
    assert [json.loads(one.about).get("ended") for one in await visit.do(audit.of_jobs, 10)] == [None, True]
    assert [one.what for one in await visit.do(audit.of_jobs, 1)] == ["discard"]
