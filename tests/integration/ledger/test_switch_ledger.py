"""The switch in the ledger: what a claim reads, and when; on SQLite and on PostgreSQL, both real."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection

from signalq.consumer.ledger import Conflict, Fenced
from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replicas, switches
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, IntentState
from signalq.consumer.orders.switch import ALL, Change, State, Switch, SwitchedOff
from signalq.ops.lanes import Committed, Moved, commit_switch
from tests.support.orders import body, new_id, order, unknown
from tests.support.stores import Store, ledger_at
from tests.support.waiting import elapsed, wait_until

LANE = "signalq.orders"
SOMEBODY = Actor("somebody", "console", "127.0.0.1")
NOT_SENT = Attempt("not taken", sent=False, why="connection refused")


async def change(store: Store, connector: str, state: State, why: str = "") -> Change:
    """As `signalq lanes` does."""

    def work(connection: Connection) -> Change:
        return switches.change(connection, clock_ms(connection), connector, state, who="somebody", why=why)

    async with LedgerClient(store.url) as visit:
        return await visit.transact(work)


def an(action: str = "openLong", connector: str = "main") -> Order:
    return order(body(action=action, connectorName=connector), message_id=new_id(), created_ms=1_000_000_000_000)


def claim(of: Order) -> IntentState:
    return unknown(of).claimed(5_000)


@pytest.mark.parametrize(
    ("own", "of_all", "goes"),
    [
        ("open", "open", ["openLong", "closeLong"]),
        ("close-only", "open", ["closeLong"]),
        ("open", "close-only", ["closeLong"]),
        ("paused", "close-only", []),
        ("close-only", "paused", []),
    ],
)
async def test_a_claim_is_saved_only_where_both_switches_let_it(
    store: Store, own: State, of_all: State, goes: Sequence[str]
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for connector, state in (("main", own), (ALL, of_all)):
        if state != "open":  # opening all of them would open each
            await change(store, connector, state)
    for action in ("openLong", "closeLong"):
        met = an(action)
        if action in goes:
            assert (await ledger.claim(met, claim(met), epoch)).state.version == 1
            continue
        assert isinstance(await ledger.claim(met, claim(met), epoch), SwitchedOff)
        assert (await ledger.recall(met, epoch)).state == unknown(met), "nothing is saved"


async def test_the_claim_that_is_refused_is_told_the_stricter_state_and_the_outcome_of_one_before_is_saved(
    store: Store,
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    met = an()
    known = await ledger.claim(met, claim(met), epoch)
    await change(store, ALL, "paused")
    concluded = known.state.tried(NOT_SENT, was_in_doubt=False).retrying(6_000)
    known = await ledger.record(met, concluded, attempt=NOT_SENT)
    assert await ledger.claim(met, known.state.claimed(7_000), epoch) == SwitchedOff("paused")
    assert ledger.switched("whoever") == "paused"
    await change(store, ALL, "open")
    assert (await ledger.claim(met, known.state.claimed(7_000), epoch)).state.attempts == 2


async def test_opening_all_of_them_opens_each_and_opening_one_opens_that_one(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await change(store, "main", "paused")
    await change(store, "other", "paused")
    await change(store, "main", "open")
    met, others = an(), an(connector="other")
    await ledger.claim(met, claim(met), epoch)
    assert await ledger.claim(others, claim(others), epoch) == SwitchedOff("paused")
    await change(store, ALL, "open")
    await ledger.claim(others, claim(others), epoch)
    audit = await store.rows("SELECT connector, state, who FROM switch_changes ORDER BY number")
    assert [(connector, state) for connector, state, _ in audit] == [
        ("main", "paused"),
        ("other", "paused"),
        ("main", "open"),
        ("", "open"),
    ]
    assert {who for *_, who in audit} == {"somebody"}


async def test_a_claim_is_confirmed_only_while_switch_lane_and_version_are_the_same(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    met = an()
    known = await ledger.claim(met, claim(met), epoch)
    assert await ledger.confirm(met, known.state, epoch) >= known.began_ms > 0
    await change(store, "main", "close-only")
    assert await ledger.confirm(met, known.state, epoch) == SwitchedOff("close-only")
    await change(store, ALL, "open")
    await (await store.ledger()).open_lane(LANE)
    with pytest.raises(Fenced):
        await ledger.confirm(met, known.state, epoch)
    epoch = await ledger.open_lane(LANE)
    await ledger.record(met, known.state.tried(NOT_SENT, was_in_doubt=False).retrying(0))
    with pytest.raises(Conflict):
        await ledger.confirm(met, known.state, epoch)


async def test_a_sign_of_life_says_which_change_a_consumer_acts_by_and_tells_of_it_once(store: Store) -> None:
    await (ledger := await store.ledger()).open_lane(LANE)
    told: list[tuple[Switch, list[tuple[str, State, str]]]] = []

    def watch(switch: Switch, changes: Sequence[Change]) -> None:
        told.append((switch, [(one.connector, one.state, one.why) for one in changes]))

    ledger.watch_switch(watch)
    await wait_until(lambda: told)
    assert told == [(Switch(), [])]
    first = await change(store, "main", "paused", "because")
    last = await change(store, ALL, "close-only")

    async def seen() -> bool:
        async with LedgerClient(store.url) as visit:
            (replica,) = await visit.read(lambda connection: replicas.known(connection, clock_ms(connection)))
        return replica.lives and replica.switch_seen == last.number

    await wait_until(seen)
    await wait_until(lambda: told[-1][0].version == last.number)
    assert told[-1][0].states == {"main": "paused", ALL: "close-only"}
    assert [one for _, changes in told for one in changes] == [("main", "paused", "because"), (ALL, "close-only", "")]
    assert first.number < last.number


async def test_no_reader_sees_the_later_number_of_two_changes_first(
    postgres_url: str,
) -> None:
    """Else who has read that one would take the switch for read, and never see the other."""
    async with ledger_at(postgres_url):
        pass
    loop = asyncio.get_running_loop()
    begun, may_end = asyncio.Event(), asyncio.Event()
    async with (
        LedgerClient(postgres_url) as one,
        LedgerClient(postgres_url) as other,
        LedgerClient(postgres_url) as reader,
    ):
        engine = one._database._engine  # type: ignore[attr-defined]

        async def first() -> Change:
            async with engine.begin() as connection:
                made: Change = await connection.run_sync(switches.change, 1, "main", "paused", who="a", why="")
                begun.set()
                await may_end.wait()
                return made

        slow = loop.create_task(first())
        await begun.wait()
        fast = loop.create_task(
            other.transact(lambda connection: switches.change(connection, 2, "other", "paused", who="b", why=""))
        )
        seen = await reader.read(lambda connection: switches.read(connection, Switch()))
        assert seen == Switch(), "a reader does not wait for either"
        await elapsed(0.3)
        assert not fast.done()
        may_end.set()
        assert (await slow).number < (await fast).number
        seen = await reader.read(lambda connection: switches.read(connection, seen))
        assert seen.states == {"main": "paused", "other": "paused"}


async def test_the_latest_change_of_each_connector_is_found(store: Store) -> None:
    await store.ledger()
    for connector, state, why in (("main", "paused", "a"), ("alt", "close-only", "b"), ("main", "open", "c")):
        await change(store, connector, state, why)  # type: ignore[arg-type]
    last = await change(store, ALL, "paused", "d")
    async with LedgerClient(store.url) as visit:
        found = await visit.read(switches.latest)
    assert {connector: (one.state, one.why) for connector, one in found.items()} == {
        "main": ("open", "c"),
        "alt": ("close-only", "b"),
        ALL: ("paused", "d"),
    }
    assert found[ALL] == last


async def test_a_change_away_from_safety_is_made_by_one_who_has_seen_the_switch_as_it_is(store: Store) -> None:
    await store.ledger()
    async with LedgerClient(store.url) as visit:
        first = await change(store, "main", "paused", why="odd fills")
        seen = first.number
        await change(store, "other", "close-only")
        moved = await commit_switch(visit, "main", "open", why="", actor=SOMEBODY, seen=seen)
        assert isinstance(moved, Moved)
        assert [(one.connector, one.state) for one in moved.changes] == [("other", "close-only")]
        assert moved.switch.own("main") == "paused"
        done = await commit_switch(visit, "main", "open", why="mended", actor=SOMEBODY, seen=moved.switch.version)
        assert isinstance(done, Committed)
        assert done.switch.states == {"other": "close-only"}


async def test_a_change_towards_safety_is_made_whatever_was_seen(store: Store) -> None:
    await store.ledger()
    async with LedgerClient(store.url) as visit:
        await change(store, ALL, "close-only")
        done = await commit_switch(visit, ALL, "paused", why="", actor=SOMEBODY, seen=-1)
        assert isinstance(done, Committed)
        assert (done.change.state, done.switch.own(ALL)) == ("paused", "paused")


async def test_a_pause_that_comes_between_a_look_and_a_resume_is_not_undone(store: Store) -> None:
    """The look, the pause and the resume at once, again and again: a resume that was made came before the pause."""
    await store.ledger()
    async with LedgerClient(store.url) as one, LedgerClient(store.url) as other:
        for _ in range(5):
            seen = (await change(store, "main", "close-only")).number
            resumed, paused = await asyncio.gather(
                commit_switch(one, "main", "open", why="", actor=SOMEBODY, seen=seen),
                commit_switch(other, "main", "paused", why="", actor=SOMEBODY, seen=seen),
            )
            assert isinstance(paused, Committed)
            assert isinstance(resumed, Moved) or resumed.change.number < paused.change.number
            ((state,),) = await store.rows("SELECT state FROM switches WHERE connector = 'main'")
            assert state == "paused"
