"""What every ledger promises, and what the durable ones promise besides: on SQLite and on PostgreSQL, both real."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys
import textwrap
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, inspect
from sqlalchemy.engine import make_url
from yarl import URL

from signalq.consumer.ledger import Conflict, Epoch, Fenced, LedgerEntry, database, heartbeat
from signalq.consumer.ledger.database import database_at
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import intents, recall, replicas
from signalq.consumer.ledger.tables import metadata
from signalq.consumer.ledger.writer import LANE_SHARE
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt
from signalq.errors import SettingsError
from signalq.local import PrivatePostgres
from tests.support.orders import altered, body, new_id, order, unknown
from tests.support.postgres_proxies import CutsOnce, LosesTheAnswerToACommit
from tests.support.stores import Store, fresh_url, ledger_at
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[3]
LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="200", status=200)
UNANSWERED = Attempt("unknown", sent=True, why="no answer in time")
NOT_SENT = Attempt("not taken", sent=False, why="connection refused")


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> int:
    """Leases run out, and are renewed, ten times as fast; how long they are, in ms."""
    monkeypatch.setattr(intents, "LEASE_MS", 300)
    monkeypatch.setattr(replicas, "LIVE_MS", 300)
    monkeypatch.setattr(heartbeat, "ALIVE_PERIOD_S", 0.1)
    return 300


async def claim_each(ledger: Ledger, changes: list[tuple[Any, ...]]) -> list[LedgerEntry | BaseException]:
    """Claim them at once, each a tuple of claim's arguments; what came of each."""
    return await asyncio.gather(*(ledger.claim(*change) for change in changes), return_exceptions=True)


# --- every ledger ----------------------------------------------------------------------------------------------------


async def test_an_order_that_was_never_met_is_unknown(ledger: Ledger) -> None:
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    known = await ledger.recall(met, await ledger.open_lane(LANE))
    assert known == LedgerEntry(met, unknown(met))


async def test_every_field_of_a_state_is_recalled_as_it_was_saved(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = order(message_id=new_id())
    known = await ledger.recall(met, epoch)
    known = await ledger.claim(met, known.state.claimed(5_000), epoch)
    assert (await ledger.recall(met, epoch)).state == known.state
    concluded = known.state.tried(UNANSWERED, was_in_doubt=False).retrying(7_000)
    known = await ledger.record(met, replace(concluded, http_status=503, generation=2))
    assert (await ledger.recall(met, epoch)).state == known.state
    known = await ledger.record(met, known.state.dead_lettering("outcome-unknown", "nobody knows; a smile: \U0001f600"))
    known = await ledger.record(met, known.state.dead())
    recalled = (await ledger.recall(met, epoch)).state
    assert recalled == known.state
    assert recalled.ended
    assert (recalled.attempts, recalled.attempts_counted, recalled.first_post_ms) == (1, 1, 5_000)
    assert (recalled.reason, recalled.http_status, recalled.generation) == ("outcome-unknown", 503, 2)


async def test_a_save_on_top_of_an_old_version_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    first = unknown(met)
    claimed = await ledger.claim(met, first.claimed(1), epoch)
    with pytest.raises(Conflict):
        await ledger.record(met, first.dead_lettering("expired", "too late"))
    delivered = await ledger.record(met, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    with pytest.raises(Conflict):
        await ledger.record(met, claimed.state.retrying(9))
    assert (await ledger.recall(met, epoch)).state == delivered.state


async def test_one_message_id_of_two_strategies_is_two_intents(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    mine = order(message_id=new_id(), strategy="mine", created_ms=1_000_000_000_000)
    theirs = order(message_id=mine.identity.message_id, strategy="theirs", created_ms=1_000_000_000_000)
    await ledger.claim(mine, unknown(mine).claimed(1), epoch)
    assert (await ledger.recall(theirs, epoch)).state.version == 0


async def test_other_bytes_under_one_id_are_told_by_the_digest_of_the_first(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    await ledger.claim(met, unknown(met).claimed(1), epoch)
    other = order(message_id=met.identity.message_id, created_ms=1_000_000_000_000)
    assert (await ledger.recall(other, epoch)).state.digest == met.identity.digest != other.identity.digest


async def test_a_claim_under_an_old_epoch_is_fenced_off_and_not_saved(ledger: Ledger) -> None:
    old = await ledger.open_lane(LANE)
    elsewhere = await ledger.open_lane("another lane")
    new = await ledger.open_lane(LANE)
    assert new.number > old.number
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    state = unknown(met)
    with pytest.raises(Fenced):
        await ledger.claim(met, state.claimed(1), old)
    assert (await ledger.recall(met, new)).state.version == 0
    # An outcome needs no epoch, another lane's epoch is not touched, and the new one holds.
    other = order(message_id=new_id(), created_ms=1_000_000_000_000)
    assert (await ledger.claim(other, unknown(other).claimed(1), elsewhere)).state.version == 1
    claimed = await ledger.claim(met, state.claimed(1), new)
    await ledger.open_lane(LANE)
    assert (await ledger.record(met, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())).state.ended


async def test_a_claim_asked_for_after_the_lane_was_opened_anew_is_fenced_off_in_the_same_commit(
    ledger: Ledger,
) -> None:
    epoch = await ledger.open_lane(LANE)
    early, late = (order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(2))
    outcomes = await asyncio.gather(
        ledger.claim(early, unknown(early).claimed(1), epoch),
        ledger.open_lane(LANE),
        ledger.claim(late, unknown(late).claimed(1), epoch),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [LedgerEntry, Epoch, Fenced]


async def test_exactly_one_of_two_claims_at_once_wins(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(20)]
    claims = [(one, unknown(one).claimed(1), epoch) for one in met for _ in range(2)]
    outcomes = await claim_each(ledger, claims)
    for first, second in zip(outcomes[::2], outcomes[1::2], strict=True):
        assert {type(first), type(second)} == {LedgerEntry, Conflict}


async def test_a_conflict_does_not_undo_what_is_saved_beside_it(ledger: Ledger) -> None:
    old, epoch = await ledger.open_lane(LANE), await ledger.open_lane(LANE)
    taken = order(message_id=new_id(), created_ms=1_000_000_000_000)
    await ledger.claim(taken, unknown(taken).claimed(1), epoch)
    met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(200)]
    changes: list[tuple[Any, ...]] = []
    for one in met:
        changes.append((one, unknown(one).claimed(1), epoch))
        changes.append((taken, unknown(taken).claimed(1), epoch))
        changes.append((one, unknown(one).claimed(1), old))
    outcomes = await claim_each(ledger, changes)
    assert [type(outcome) for outcome in outcomes] == [LedgerEntry, Conflict, Fenced] * 200
    for one in met:
        assert (await ledger.recall(one, epoch)).state.status == "sending"


async def test_the_creation_time_of_an_undated_intent_is_that_of_its_first_receipt_for_ever(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    content = body(delaySeconds=2)
    first = order(content, message_id=new_id(), received_ms=10_000)
    await ledger.recall(first, epoch)
    again = order(content, message_id=first.identity.message_id, redelivered=True, received_ms=99_000)
    known = (await ledger.recall(again, epoch)).order
    assert (known.timing.creation.age_ms, known.timing.due_ms) == (10_000, 12_000)
    assert known.timing.creation.pinned, "the message doesn't carry it: whoever passes that on has to write it down"
    claimed = await ledger.claim(known, (await ledger.recall(again, epoch)).state.claimed(99_000), epoch)
    assert await ledger.recall(again, epoch) == claimed


async def test_a_creation_time_in_the_future_is_that_of_the_first_receipt_for_ever(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    content = body(delaySeconds=2)
    first = order(content, message_id=new_id(), created_ms=1_000_000_050_000, received_ms=1_000_000_010_000)
    await ledger.recall(first, epoch)
    later = order(
        content, message_id=first.identity.message_id, created_ms=1_000_000_050_000, received_ms=1_000_000_099_000
    )
    known = (await ledger.recall(later, epoch)).order
    assert (known.timing.creation.age_ms, known.timing.due_ms, known.timing.creation.pinned) == (
        1_000_000_010_000,
        1_000_000_012_000,
        True,
    )


async def test_a_creation_time_that_the_message_carries_need_not_be_written_down(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    await ledger.claim(met, unknown(met).claimed(1), epoch)
    assert not (await ledger.recall(met, epoch)).order.timing.creation.pinned


async def test_an_equal_body_without_an_id_is_a_new_intent_as_long_as_it_is_not_redelivered(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    first = order(body())
    delivered = (await ledger.claim(first, (await ledger.recall(first, epoch)).state.claimed(1), epoch)).state
    await ledger.record(first, delivered.tried(ACCEPTED, was_in_doubt=False).delivered())
    second = order(body())
    known = await ledger.recall(second, epoch)
    assert known.order.intent_id == second.intent_id != first.intent_id
    assert (known.state.version, known.state.maybe_second_delivery) == (0, False)


async def test_a_redelivered_body_whose_equal_may_have_been_acknowledged_may_be_its_second_delivery(
    ledger: Ledger,
) -> None:
    epoch = await ledger.open_lane(LANE)
    first = order(body())
    claimed = await ledger.claim(first, (await ledger.recall(first, epoch)).state.claimed(1), epoch)
    await ledger.record(first, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    ledger.release(first)
    again = await ledger.recall(order(body(), redelivered=True), await ledger.open_lane(LANE))
    assert again.state.maybe_second_delivery
    for other in (order(body(), strategy="another", redelivered=True), order(body(log="other"), redelivered=True)):
        assert not (await ledger.recall(other, epoch)).state.maybe_second_delivery


# --- two consumers on one ledger -------------------------------------------------------------------------------------


async def test_a_new_consumer_of_a_lane_fences_off_the_one_before_it(store: Store) -> None:
    old, new = await store.ledger(), await store.ledger()
    before = await old.open_lane(LANE)
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    claimed = await old.claim(met, unknown(met).claimed(1), before)
    epoch = await new.open_lane(LANE)
    assert (before.alive_before_ms, epoch.number) == (None, before.number + 1)
    other = order(message_id=new_id(), created_ms=1_000_000_000_000)
    with pytest.raises(Fenced):
        await old.claim(other, unknown(other).claimed(1), before)
    # What it had on the wire, it may still conclude.
    done = await old.record(met, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    assert (await new.recall(met, epoch)).state == done.state


async def test_the_next_consumer_learns_when_the_lane_was_last_alive(store: Store, short_lease: int) -> None:
    first = await store.ledger()
    await first.open_lane(LANE)
    ((opened_ms,),) = await store.rows("SELECT alive_ms FROM lanes")

    async def was_noted_later() -> bool:
        return bool((await store.rows("SELECT alive_ms FROM lanes"))[0][0] > opened_ms)

    await wait_until(was_noted_later)
    await store.close(first)
    ((alive_ms,),) = await store.rows("SELECT alive_ms FROM lanes")
    assert (await (await store.ledger()).open_lane(LANE)).alive_before_ms == alive_ms


async def test_an_order_that_another_consumer_is_posting_is_leased_as_long_as_that_one_lives(
    store: Store, short_lease: int
) -> None:
    posting, waiting = await store.ledger(), await store.ledger()
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    await posting.claim(met, unknown(met).claimed(1), await posting.open_lane(LANE))
    epoch = await waiting.open_lane(LANE)

    async def leased() -> LedgerEntry | None:
        found = await waiting.recall(met, epoch)
        return found if found.state.leased_for_ms else None

    # On a machine that stood still for that long the lease is over, and is renewed at once.
    known = await wait_until(leased, what="the lease of one that lives")
    assert 0 < known.state.leased_for_ms <= short_lease
    assert known.state.status == "sending"
    assert (await posting.recall(met, epoch)).state.leased_for_ms == 0, "its own claim keeps nobody waiting"
    ((until_ms,),) = await store.rows("SELECT lease_until_ms FROM intents")

    async def is_renewed() -> bool:
        return bool((await store.rows("SELECT lease_until_ms FROM intents"))[0][0] > until_ms + short_lease)

    await wait_until(is_renewed, what="a lease that outlives the first one")
    await store.close(posting)

    async def is_over() -> bool:
        return (await waiting.recall(met, epoch)).state.leased_for_ms == 0

    await wait_until(is_over, what="the lease to end with its owner")
    assert (await waiting.recall(met, epoch)).state.in_doubt


async def test_consumers_that_claim_on_lanes_of_their_own_and_note_that_they_live_never_wait_in_a_circle(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL would end one of them after a second, in which no order of it is POSTed."""
    monkeypatch.setattr(heartbeat, "ALIVE_PERIOD_S", 0.002)
    monkeypatch.setattr("signalq.consumer.ledger.queries.lanes.ALIVE_NOTED_MS", -1_000_000)
    lanes = [f"{LANE}.c{number}" for number in range(20)]
    ledgers = [await store.ledger(), await store.ledger()]

    async def claims(ledger: Ledger, own: list[str]) -> None:
        for lane in lanes:
            await ledger.join_lane(lane)
        epochs = [await ledger.open_lane(lane) for lane in own]
        for _ in range(40):
            claimed = [(order(message_id=new_id()), epoch) for epoch in epochs]
            await asyncio.gather(*(ledger.claim(met, unknown(met).claimed(1), epoch) for met, epoch in claimed))
            epochs.reverse()

    await asyncio.gather(claims(ledgers[0], lanes[::2]), claims(ledgers[1], lanes[1::2]))
    if not store.url.startswith("sqlite"):
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await store.rows(query) == [(0,)]


async def test_consumers_that_join_and_take_lanes_in_any_order_never_wait_in_a_circle(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "ALIVE_PERIOD_S", 60)
    lanes = [f"{LANE}.c{number}" for number in range(12)]
    ledgers = [await store.ledger(), await store.ledger()]
    for lane in lanes:
        await ledgers[0].join_lane(lane)
    for round_ in range(30):
        taken = lanes[round_ % 6], lanes[6 + round_ % 6]
        works: list[Awaitable[object]] = []
        for ledger, own, others in zip(ledgers, taken, (lanes, lanes[::-1]), strict=True):
            works += [ledger.join_lane(lane) for lane in others if lane != own]
            works.insert(len(works) - round_ % 11, ledger.open_lane(own))
        await asyncio.gather(*works)
    if not store.url.startswith("sqlite"):
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await store.rows(query) == [(0,)]


async def test_a_lease_ends_with_the_outcome(store: Store) -> None:
    posting, waiting = await store.ledger(), await store.ledger()
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    claimed = await posting.claim(met, unknown(met).claimed(1), await posting.open_lane(LANE))
    await posting.record(met, claimed.state.tried(NOT_SENT, was_in_doubt=False).retrying(5_000))
    known = await waiting.recall(met, await waiting.open_lane(LANE))
    assert (known.state.leased_for_ms, known.state.status, known.state.in_doubt) == (0, "retrying", False)


async def test_a_message_whose_claim_was_refused_ends_no_lease_when_it_goes(store: Store) -> None:
    """It came again on a later session, while the first one's POST is still on the wire: that one lives."""
    posting, waiting = await store.ledger(), await store.ledger()
    epoch = await posting.open_lane(LANE)
    met = order(message_id=new_id(), created_ms=1_000_000_000_000)
    again = altered(met, receipt="another")
    claim = unknown(met).claimed(1)
    await posting.claim(met, claim, epoch)
    with pytest.raises(Conflict):
        await posting.claim(again, claim, epoch)
    posting.release(again)
    known = await waiting.recall(met, await waiting.open_lane(LANE))
    assert (known.state.status, known.state.leased_for_ms > 0) == ("sending", True)


async def test_exactly_one_of_two_consumers_that_claim_one_intent_wins(store: Store) -> None:
    ledgers = [await store.ledger(), await store.ledger()]
    epochs = [await ledger.open_lane(f"lane {number}") for number, ledger in enumerate(ledgers)]
    met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(40)]

    async def claim_all(ledger: Ledger, epoch: Epoch) -> list[LedgerEntry | BaseException]:
        claims = [(one, unknown(one).claimed(1), epoch) for one in met]
        return await claim_each(ledger, claims)

    outcomes = await asyncio.gather(*(claim_all(*pair) for pair in zip(ledgers, epochs, strict=True)))
    for first, second in zip(*outcomes, strict=True):
        assert {type(first), type(second)} == {LedgerEntry, Conflict}


async def test_two_consumers_that_open_one_new_lane_at_once_get_different_epochs(store: Store) -> None:
    ledgers = [await store.ledger() for _ in range(4)]
    for number in range(5):
        epochs = await asyncio.gather(*(ledger.open_lane(f"lane {number}") for ledger in ledgers))
        assert sorted(epoch.number for epoch in epochs) == [1, 2, 3, 4]
        assert sorted(epoch.alive_before_ms is None for epoch in epochs) == [False, False, False, True]
    assert [ledger.why_not_writable for ledger in ledgers] == [None] * 4


# --- intents without an id, known by their bytes ---------------------------------------------------------------------


async def claimed_without_id(ledger: Ledger, content: bytes, **message: Any) -> LedgerEntry:
    """An intent without an id that was claimed, and whose consumer was cut off while it was POSTing."""
    epoch = await ledger.open_lane(LANE)
    met = order(content, **message)
    known = await ledger.recall(met, epoch)
    claimed = await ledger.claim(known.order, known.state.claimed(1), epoch)
    ledger.release(met)
    return claimed


@pytest.mark.parametrize("restarted", [False, True], ids=["the channel was lost", "the consumer was restarted"])
async def test_a_redelivered_body_is_taken_for_the_equal_one_that_cannot_have_been_acknowledged(
    store: Store, restarted: bool
) -> None:
    first = await store.ledger()
    claimed = await claimed_without_id(first, body(), received_ms=10_000)
    if restarted:
        await store.close(first)
    ledger = await store.ledger() if restarted else first
    epoch = await ledger.open_lane(LANE)
    again = order(body(), redelivered=True, received_ms=99_000)
    known = await ledger.recall(again, epoch)
    assert known.order.intent_id == claimed.order.intent_id
    assert known.order.timing.creation.age_ms == 10_000
    assert replace(known.state, leased_for_ms=0) == claimed.state
    saved = await ledger.record(known.order, known.state.tried(ACCEPTED, was_in_doubt=True).delivered())
    assert saved.state.version == 2


@pytest.mark.parametrize("status", ["received", "scheduled", "sending", "dying"])
async def test_an_equal_body_without_an_id_is_not_new_as_soon_as_anything_of_it_was_saved(
    ledger: Ledger, status: str
) -> None:
    """Not only after a POST: a parked one would else be parked again."""
    epoch = await ledger.open_lane(LANE)
    first, met, again = order(body()), order(body(), redelivered=True), order(body(), redelivered=True)
    fresh = (await ledger.recall(first, epoch)).state
    known = await ledger.recall(met, epoch)
    assert known == LedgerEntry(met, unknown(met)), "the first one was met, and nothing is saved"
    ledger.release(met)
    if status == "sending":
        await ledger.claim(first, fresh.claimed(1), epoch)
    else:
        saved = {"scheduled": fresh.scheduled(), "dying": fresh.dead_lettering("expired", "too old")}
        await ledger.record(first, saved.get(status, fresh), epoch)
    ledger.release(first)
    known = await ledger.recall(again, epoch)
    is_adopted = known.order.intent_id == first.intent_id
    assert (is_adopted, known.state.maybe_second_delivery) == (status != "scheduled", status == "scheduled")


async def test_each_intent_without_an_id_is_adopted_by_one_message_only(store: Store) -> None:
    first = await store.ledger()
    claimed = {(await claimed_without_id(first, body())).order.intent_id for _ in range(3)}
    await store.close(first)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    messages = [order(body(), redelivered=True) for _ in range(4)]
    adopted = [(await ledger.recall(message, epoch)).order.intent_id for message in messages]
    assert set(adopted[:3]) == claimed
    assert adopted[3] == messages[3].intent_id
    # The same message asks again, and gets the same answer.
    assert [(await ledger.recall(message, epoch)).order.intent_id for message in messages] == adopted


async def test_an_adopted_intent_can_be_adopted_again_once_its_message_is_out_of_hands(store: Store) -> None:
    claimed = await claimed_without_id(await store.ledger(), body())
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for _ in range(3):
        message = order(body(), redelivered=True)
        known = await ledger.recall(message, epoch)
        assert known.order.intent_id == claimed.order.intent_id
        assert (await ledger.recall(order(body(), redelivered=True), epoch)).order.intent_id != known.order.intent_id
        ledger.release(message)


@pytest.mark.parametrize("first_to_go", [0, 1], ids=["the old one goes first", "the new one goes first"])
async def test_an_order_that_a_lost_session_still_holds_is_adopted_by_its_redelivery_on_the_next(
    store: Store, first_to_go: int
) -> None:
    claimed = await claimed_without_id(await store.ledger(), body())
    ledger = await store.ledger()
    messages = [order(body(), redelivered=True) for _ in range(2)]
    for message in messages:
        known = await ledger.recall(message, await ledger.open_lane(LANE))
        assert known.order.intent_id == claimed.order.intent_id
    ledger.release(messages[first_to_go])
    ledger.release(messages[1 - first_to_go])
    epoch = await ledger.open_lane(LANE)
    again = await ledger.recall(order(body(), redelivered=True), epoch)
    assert again.order.intent_id == claimed.order.intent_id


async def test_a_body_is_not_taken_for_one_of_another_strategy_or_of_other_bytes_or_with_an_id(store: Store) -> None:
    first = await store.ledger()
    await claimed_without_id(first, body())
    await claimed_without_id(first, body(log="with an id"), message_id=new_id())
    await store.close(first)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    strangers = [
        order(body(), strategy="another", redelivered=True),
        order(body(log="other"), redelivered=True),
        order(body(log="with an id"), redelivered=True),
        order(body()),
        order(body(), message_id=new_id(), redelivered=True, created_ms=1_000_000_000_000),
    ]
    for stranger in strangers:
        known = await ledger.recall(stranger, epoch)
        assert known == LedgerEntry(stranger, unknown(stranger))


@pytest.mark.parametrize("status", ["scheduled", "delivered", "dead", "canceled"])
async def test_an_order_that_may_have_been_acknowledged_is_not_adopted_but_warned_of(store: Store, status: Any) -> None:
    first = await store.ledger()
    claimed = await claimed_without_id(first, body())
    await first.record(claimed.order, replace(claimed.state, status=status))
    await store.close(first)
    ledger = await store.ledger()
    message = order(body(), redelivered=True)
    known = await ledger.recall(message, await ledger.open_lane(LANE))
    assert known.order.intent_id == message.intent_id
    assert (known.state.version, known.state.maybe_second_delivery) == (0, True)


@pytest.mark.parametrize("status", ["received", "sending", "dying"])
async def test_a_forwarded_order_is_not_adopted_whatever_has_become_of_its_copy(store: Store, status: str) -> None:
    """Its copy carries the id that it was given: an equal message without one is another order, or its own message."""
    first = await store.ledger()
    epoch, astray = await first.open_lane(LANE), order(body())
    known = await first.record(astray, unknown(astray), epoch)
    await first.note_forwarded(astray, known.state)
    if status == "sending":
        await first.claim(astray, known.state.claimed(1), epoch)
    elif status == "dying":
        await first.record(astray, known.state.dead_lettering("expired", "too old"))
    await store.close(first)
    ledger = await store.ledger()
    message = order(body(), redelivered=True)
    found = await ledger.recall(message, await ledger.open_lane(LANE))
    assert found.order.intent_id == message.intent_id
    assert (found.state.version, found.state.maybe_second_delivery) == (0, True)


async def test_an_order_settled_long_before_its_consumer_was_last_alive_is_surely_acknowledged(store: Store) -> None:
    first = await store.ledger()
    claimed = await claimed_without_id(first, body())
    await first.record(claimed.order, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    await store.close(first)
    earlier_ms = recall.LAST_ACKS_MS + 1_000
    await store.run(f"UPDATE intents SET updated_ms = updated_ms - {earlier_ms}")  # noqa: S608 - our own number
    ledger = await store.ledger()
    known = await ledger.recall(order(body(), redelivered=True), await ledger.open_lane(LANE))
    assert not known.state.maybe_second_delivery


# --- durable ---------------------------------------------------------------------------------------------------------


async def test_saves_that_wait_share_commits_and_a_stranger_finds_them_all(store: Store) -> None:
    commits: list[float] = []
    ledger = await store.ledger(commits=commits)
    epoch = await ledger.open_lane(LANE)
    met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(200)]
    before = len(commits)
    await claim_each(ledger, [(one, unknown(one).claimed(1), epoch) for one in met])
    assert len(commits) - before <= 200 / LANE_SHARE + 2
    assert await store.rows("SELECT count(*) FROM intents WHERE status = 'sending'") == [(200,)]


async def test_a_save_waits_for_no_flood_of_another_lane(store: Store) -> None:
    ledger = await store.ledger()
    epoch, calm = await ledger.open_lane(LANE), await ledger.open_lane("calm")
    met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(201)]
    *flood, one = (altered(each, source_queue=LANE) for each in met)
    flooding = [asyncio.create_task(ledger.claim(each, unknown(each).claimed(1), epoch)) for each in flood]
    await asyncio.sleep(0)  # all of them are asked
    await ledger.claim(altered(one, source_queue="calm"), unknown(one).claimed(1), calm)
    assert sum(claim.done() for claim in flooding) <= 4 * LANE_SHARE
    await asyncio.gather(*flooding)


SAVES_THEN_WAITS = """
    import asyncio, sys
    from tests.support.stores import ledger_at
    from tests.support.orders import order, unknown

    async def main(url: str) -> None:
        async with ledger_at(url) as ledger:
            epoch = await ledger.open_lane("signalq.orders")

            async def claim(number: int) -> None:
                met = order(message_id=f"intent {number}", created_ms=1_000_000_000_000)
                await ledger.claim(met, unknown(met).claimed(1), epoch)
                print("saved", number, file=sys.stderr, flush=True)

            await asyncio.gather(*(claim(number) for number in range(200)))
            await asyncio.Event().wait()

    asyncio.run(main(sys.argv[1]))
"""


async def test_every_save_that_returned_is_there_after_a_sigkill(store: Store) -> None:
    program = (sys.executable, "-c", textwrap.dedent(SAVES_THEN_WAITS), store.url)
    child = await asyncio.create_subprocess_exec(
        *program, cwd=REPOSITORY, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert child.stderr is not None
    async with asyncio.timeout(30):
        said = [(await child.stderr.readline()).decode().strip() for _ in range(200)]
        child.kill()
        assert await child.wait() == -signal.SIGKILL
    assert sorted(said) == sorted(f"saved {number}" for number in range(200))
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    assert (epoch.number, epoch.alive_before_ms is None) == (2, False)
    for number in range(200):
        known = await ledger.recall(order(message_id=f"intent {number}", created_ms=1_000_000_000_000), epoch)
        assert (known.state.status, known.state.in_doubt) == ("sending", True)


async def test_a_restart_finds_its_id_its_epochs_and_all_it_knew(store: Store) -> None:
    first = await store.ledger()
    epoch = await first.open_lane(LANE)
    met = order(message_id=new_id())
    known = await first.claim(met, (await first.recall(met, epoch)).state.claimed(1), epoch)
    known = await first.record(met, known.state.tried(ACCEPTED, was_in_doubt=False).delivered())
    await store.close(first)
    second = await store.ledger()
    assert second.ledger_id == first.ledger_id != ""
    next_epoch = await second.open_lane(LANE)
    assert next_epoch.number == epoch.number + 1
    assert await second.recall(met, next_epoch) == known


async def test_foreign_text_of_any_kind_is_saved_and_recalled(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    # What the lenient reading of an AMQP short string makes of 255 bytes that are no UTF-8.
    longest = (b"\xff" * 255).decode("utf-8", "backslashreplace")
    for text in ("a\x00b", longest, "'; DROP TABLE intents; --", "\U0001f600" * 60, "\x1b[31m"):
        met = order(
            body(clientOrderId=text[:32]),
            message_id=text,
            strategy=text[:255],
            headers={"signalq-origin-user": text},
        )
        known = await ledger.recall(met, epoch)
        async with asyncio.timeout(10):
            known = await ledger.claim(known.order, known.state.claimed(1), epoch)
        recalled = await ledger.recall(met, epoch)
        assert (recalled.state, recalled.order.intent_id) == (known.state, met.intent_id)
        assert (await ledger.recall(altered(met, strategy="another"), epoch)).state.status == "received"
    assert ledger.why_not_writable is None


async def test_a_value_that_no_column_can_hold_fails_its_own_save_alone(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    good, bad = (order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(2))
    impossible = replace(unknown(bad).claimed(1), next_attempt_ms=2**70)
    async with asyncio.timeout(10):
        outcomes = await claim_each(
            ledger,
            [
                (bad, impossible, epoch),
                (good, unknown(good).claimed(1), epoch),
                (bad, impossible, epoch),
            ],
        )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [True, False, True]
    assert (await ledger.recall(good, epoch)).state.status == "sending"
    assert ledger.why_not_writable is None


async def test_pruning_forgets_what_ended_before_the_retention_in_steps_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await store.ledger()
    epoch = await first.open_lane(LANE)
    met = {kind: [order(message_id=new_id()) for _ in range(35)] for kind in ("old", "fresh", "waiting", "leased")}

    async def bring_about(kind: str, one: Order) -> None:
        known = await first.recall(one, epoch)
        claimed = await first.claim(one, known.state.claimed(1), epoch)
        if kind in {"old", "fresh"}:
            await first.record(one, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered())
        elif kind == "waiting":
            await first.record(one, claimed.state.retrying(5))

    await asyncio.gather(*(bring_about(kind, one) for kind, orders in met.items() for one in orders))
    await store.close(first)
    aged = "received_ms = 1, updated_ms = 1, age_from_ms = 1, ended_ms = ended_ms - 8 * 86400000"
    spared = ", ".join(f"'{one.intent_id}'" for one in met["fresh"])
    await store.run(f"UPDATE intents SET {aged} WHERE intent_id NOT IN ({spared})")  # noqa: S608 - our own ids

    steps: list[int] = []
    prune = intents.prune

    def noted(*arguments: Any) -> int:
        steps.append(prune(*arguments))
        return steps[-1]

    monkeypatch.setattr(intents, "prune", noted)
    monkeypatch.setattr("signalq.consumer.ledger.pruning.PRUNE_ROWS_MAX", 10)
    pruning = await store.ledger(retention_days=7)
    await wait_until(lambda: sum(steps) == 35 and steps[-1] < 10)
    await pruning.join_lane(LANE)  # committed after the last step
    assert steps == [10, 10, 10, 5]
    left = {row[0] for row in await store.rows("SELECT intent_id FROM intents")}
    assert left == {one.intent_id for kind in ("fresh", "waiting", "leased") for one in met[kind]}


# --- opening it ------------------------------------------------------------------------------------------------------


def described(connection: Connection) -> dict[str, Any]:
    """Columns, keys and indexes of each table, partial ones with their condition."""
    found = inspect(connection)
    return {
        table: {
            "columns": [(one["name"], str(one["type"]), one["nullable"]) for one in found.get_columns(table)],
            "key": found.get_pk_constraint(table),
            "unique": found.get_unique_constraints(table),
            "indexes": sorted((one["name"], one["column_names"], _options(one)) for one in found.get_indexes(table)),
        }
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def _options(index: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in index.get("dialect_options", {}).items()}


async def test_the_migrations_make_exactly_the_tables_of_the_schema(
    store: Store, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    await store.ledger()
    kind = make_url(store.url).get_backend_name()
    made = database_at(await fresh_url(kind, request, tmp_path, store.stack), create=True)
    migrated = database_at(store.url, create=False)
    store.stack.push_async_callback(migrated.close)
    store.stack.push_async_callback(made.close)
    await made.transact(metadata.create_all)
    expected = await made.transact(described)
    found = await migrated.transact(described)
    differences = await migrated.transact(
        lambda opened: compare_metadata(MigrationContext.configure(opened, opts={"compare_type": True}), metadata)
    )
    assert differences == []
    assert found == expected
    ours = {"ledger", "lanes", "intents", "steps", "replicas", "switches", "switch_changes", "posted_opens"}
    ours |= {"paces", "clock_steps", "letters", "audit", "group_notes", "shift_notes"}
    assert set(found) == ours


async def test_a_ledger_of_a_newer_version_is_refused_with_a_sentence_and_left_as_it_is(store: Store) -> None:
    await store.close(await store.ledger())
    await store.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(SettingsError, match="the ledger has schema 9999, which a newer signalq made"):
        await store.ledger()
    assert await store.rows("SELECT version_num FROM alembic_version") == [("9999",)]


async def test_consumers_that_start_at_once_on_a_new_database_share_one_ledger(store: Store) -> None:
    ledgers = await asyncio.gather(*(store.ledger() for _ in range(4)))
    assert len({ledger.ledger_id for ledger in ledgers}) == 1
    assert await store.rows("SELECT ledger_id FROM ledger") == [(ledgers[0].ledger_id,)]


async def test_a_database_that_cannot_be_opened_is_a_settings_error_that_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for url in (
        f"sqlite+aiosqlite:///{tmp_path}/file/ledger.db",
        f"sqlite+aiosqlite:///{tmp_path}",
        "postgresql+asyncpg://me:hidden@127.0.0.1:1/none",
    ):
        with pytest.raises(SettingsError, match="can't be") as refused:
            await ledger_at(url).__aenter__()
        assert "hidden" not in str(refused.value)


async def test_a_postgresql_that_refuses_the_login_or_has_no_such_database_is_a_settings_error(
    postgres: PrivatePostgres,
) -> None:
    for url, why in (
        (postgres.url.replace("://signalq:", "://signalq:not-"), "password authentication failed"),
        (postgres.database_url("nowhere"), "does not exist"),
    ):
        with pytest.raises(SettingsError, match=why):
            await ledger_at(url).__aenter__()


@pytest.mark.parametrize("step", [b"pg_catalog.version", b"BEGIN", b"pg_advisory_xact_lock", b"COMMIT"])
async def test_a_postgresql_that_ends_the_session_in_the_middle_of_the_start_is_no_reason_to_give_up(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack, step: bytes
) -> None:
    """A failover of the database, or an operator who ends sessions, is no mistake in the settings."""
    async with CutsOnce(postgres.port, step) as proxy:
        store = Store(str(URL(postgres_url).with_port(proxy.port)), stack)
        ledger = await store.ledger()
        assert proxy.has_cut
        await ledger.open_lane(LANE)
        await store.close(ledger)


async def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are somebody's notes" * 100)
    with pytest.raises(SettingsError, match="not a database"):
        await ledger_at(f"sqlite+aiosqlite:///{path}").__aenter__()
    assert path.read_bytes() == b"these are somebody's notes" * 100


async def test_the_file_is_written_ahead_and_synced_at_every_commit_and_is_the_owners_alone(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    ledger = await Store(f"sqlite+aiosqlite:///{tmp_path}/new/ledger.db", stack).ledger()
    settings = await ledger._database.transact(
        lambda connection: [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")
        ]
    )
    assert settings == ["wal", 2], "2 is FULL"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


# --- when it can't be written ----------------------------------------------------------------------------------------


def engine_of(ledger: Ledger) -> Engine:
    """The ledger's own connection, to look at and to break."""
    assert isinstance(ledger._database, database.SqliteDatabase)
    return ledger._database._engine


async def save_while_it_is_broken(ledger: Ledger, epoch: Epoch, why: str) -> tuple[list[Order], asyncio.Task[Any]]:
    """Claim twenty intents on a ledger that can't be written; see that all of them wait, and that it says why."""
    met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(20)]
    claims = [(one, replace(unknown(one).claimed(1), why="a long tale " * 700), epoch) for one in met]
    saves = asyncio.create_task(claim_each(ledger, claims))
    await wait_until(lambda: ledger.why_not_writable, what="why_not_writable")
    assert ledger.why_not_writable is not None
    assert ledger.why_not_writable.startswith("the ledger can't be written (")
    assert why in ledger.why_not_writable
    assert not saves.done()
    return met, saves


async def assert_all_were_saved(
    ledger: Ledger, met: list[Order], saves: asyncio.Task[Any], store: Store, before: Sequence[Order] = ()
) -> None:
    """Its saves return, it says that all is well, and everything is there."""
    async with asyncio.timeout(20):
        assert [type(outcome) for outcome in await saves] == [LedgerEntry] * len(met)
    assert ledger.why_not_writable is None
    found = {row[0] for row in await store.rows("SELECT intent_id FROM intents WHERE status = 'sending'")}
    assert found == {one.intent_id for one in [*before, *met]}


async def test_a_locked_file_makes_saves_wait_until_it_is_free(
    tmp_path: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "SQLITE_BUSY_TIMEOUT_MS", 100)
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/ledger.db", stack)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        met, saves = await save_while_it_is_broken(ledger, epoch, "database is locked")
        other.execute("ROLLBACK")
        await assert_all_were_saved(ledger, met, saves, store)


async def test_a_full_disk_makes_saves_wait_until_there_is_room(tmp_path: Path, stack: AsyncExitStack) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/ledger.db", stack)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    pages_max = 1

    def limit(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages_max}")

    # SQLite itself then says what it says of a disk without room. Less than it has already is as much as it has.
    event.listen(engine_of(ledger), "begin", limit)
    met, saves = await save_while_it_is_broken(ledger, epoch, "database or disk is full")
    pages_max = 1_000_000
    await assert_all_were_saved(ledger, met, saves, store)


async def test_a_file_that_may_not_be_written_makes_saves_wait_until_it_may(
    tmp_path: Path, stack: AsyncExitStack
) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path}/ledger.db", stack)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    read_only = "ON"

    def protect(connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA query_only = {read_only}")

    event.listen(engine_of(ledger), "begin", protect)
    met, saves = await save_while_it_is_broken(ledger, epoch, "readonly database")
    read_only = "OFF"
    await assert_all_were_saved(ledger, met, saves, store)


@pytest.mark.parametrize("end", ["kill", "stop"])
async def test_a_postgresql_that_goes_away_makes_saves_wait_until_it_is_back_with_all_it_had(
    mortal_postgres: PrivatePostgres, stack: AsyncExitStack, end: str
) -> None:
    store = Store(mortal_postgres.url, stack)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    before = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(20)]
    await claim_each(ledger, [(one, unknown(one).claimed(1), epoch) for one in before])
    if end == "kill":
        await asyncio.to_thread(mortal_postgres.kill)
    else:
        await asyncio.to_thread(mortal_postgres.stop, keep_data=True)
    met, saves = await save_while_it_is_broken(ledger, epoch, "")
    await asyncio.to_thread(mortal_postgres.start)
    await assert_all_were_saved(ledger, met, saves, store, before)


async def test_a_postgresql_that_is_restarted_again_and_again_loses_nothing_and_makes_up_no_conflict(
    mortal_postgres: PrivatePostgres, stack: AsyncExitStack
) -> None:
    ledger = await Store(mortal_postgres.url, stack).ledger()
    epoch = await ledger.open_lane(LANE)
    saved: list[str] = []
    stopped = asyncio.Event()

    async def keep_saving() -> None:
        while not stopped.is_set():
            met = order(message_id=new_id(), created_ms=1_000_000_000_000)
            known = await ledger.claim(met, unknown(met).claimed(1), epoch)
            await ledger.record(met, known.state.tried(ACCEPTED, was_in_doubt=False).delivered())
            saved.append(met.intent_id)

    async def fifty_more() -> None:
        enough = len(saved) + 50
        await wait_until(lambda: len(saved) >= enough, what="50 more saves")

    async with asyncio.TaskGroup() as savers:
        for number in range(5):
            savers.create_task(keep_saving(), name=f"saver {number}")
        for _ in range(4):
            await fifty_more()
            await asyncio.to_thread(mortal_postgres.kill)
            await asyncio.to_thread(mortal_postgres.start)
        await fifty_more()
        stopped.set()
    rows = await Store(mortal_postgres.url, stack).rows("SELECT intent_id FROM intents WHERE status = 'delivered'")
    assert {row[0] for row in rows} == set(saved)


@pytest.mark.parametrize(
    "step", [b"WITH held", b"INSERT INTO intents", b"UPDATE intents SET generation", b"INSERT INTO steps"]
)
async def test_a_postgresql_that_ends_the_session_between_the_statements_of_a_save_has_all_of_it_in_the_end(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack, step: bytes
) -> None:
    async with CutsOnce(postgres.port, step) as proxy:
        store = Store(str(URL(postgres_url).with_port(proxy.port)), stack)
        ledger = await store.ledger()
        epoch = await ledger.open_lane(LANE)
        met = [order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(4)]
        for one in await claim_each(ledger, [(each, unknown(each).claimed(1), epoch) for each in met]):
            assert isinstance(one, LedgerEntry)
            delivered = one.state.tried(ACCEPTED, was_in_doubt=False).delivered()
            assert (await ledger.record(one.order, delivered, attempt=ACCEPTED)).state.version == 2
        assert proxy.has_cut
        await store.close(ledger)
    strangers = Store(postgres_url, stack)
    assert await strangers.rows("SELECT status, version FROM intents") == [("delivered", 2)] * 4
    assert await strangers.rows("SELECT count(*) FROM steps") == [(4,)]


async def test_a_commit_whose_answer_was_lost_is_not_taken_for_another_ones(
    postgres: PrivatePostgres, postgres_url: str, stack: AsyncExitStack
) -> None:
    async with LosesTheAnswerToACommit(postgres.port) as proxy:
        store = Store(str(URL(postgres_url).with_port(proxy.port)), stack)
        ledger = await store.ledger()
        epoch = await ledger.open_lane(LANE)
        met = order(message_id=new_id(), created_ms=1_000_000_000_000)
        proxy.armed = True
        known = await ledger.claim(met, unknown(met).claimed(1), epoch)
        assert proxy.lost == 1
        proxy.armed = True
        known = await ledger.record(met, known.state.tried(ACCEPTED, was_in_doubt=False).delivered())
        assert proxy.lost == 2
        assert (await ledger.recall(met, epoch)).state == known.state
        await store.close(ledger)
