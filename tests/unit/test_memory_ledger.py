"""The ledger in memory, where it differs: what it forgets, and when. The rest is in integration/test_ledger.py."""

from __future__ import annotations

import pytest

from signalq.consumer.ledger import Epoch, LedgerEntry
from signalq.consumer.ledger.memory import MemoryLedger
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt, Status
from tests.support.orders import body, order

LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)


async def deliver(ledger: MemoryLedger, of: Order, epoch: Epoch) -> None:
    claim = await ledger.claim(of, (await ledger.recall(of, epoch)).state.claimed(1_000), epoch)
    await ledger.record(of, claim.state.tried(ACCEPTED, was_in_doubt=False).delivered())


async def status_of(ledger: MemoryLedger, message_id: str, epoch: Epoch) -> Status:
    return (await ledger.recall(order(body(), message_id=message_id), epoch)).state.status


async def test_of_what_has_ended_only_the_last_are_kept_and_of_what_has_not_all() -> None:
    ledger = MemoryLedger(ended_max=10)
    epoch = await ledger.open_lane(LANE)
    parked = order(body(), message_id="parked")
    await ledger.record(parked, (await ledger.recall(parked, epoch)).state.scheduled())
    for number in range(100):
        await deliver(ledger, order(body(), message_id=str(number)), epoch)
    assert await status_of(ledger, "89", epoch) == "received"
    assert await status_of(ledger, "90", epoch) == "delivered"
    assert await status_of(ledger, "parked", epoch) == "scheduled"
    assert len(ledger._ended) == 10


async def test_of_the_bodies_without_an_id_only_the_last_are_remembered() -> None:
    ledger = MemoryLedger(ended_max=10)
    epoch = await ledger.open_lane(LANE)
    for number in range(100):
        await deliver(ledger, order(body(log=str(number))), epoch)

    async def is_doubtful(number: int) -> bool:
        return (await second_delivery(ledger, epoch, log=str(number))).state.maybe_second_delivery

    assert [number for number in range(100) if await is_doubtful(number)] == list(range(90, 100))
    assert len(ledger._met) == 10


async def test_what_is_open_does_not_grow_with_what_has_ended() -> None:
    ledger = MemoryLedger()
    epoch = await ledger.open_lane(LANE)
    for number in range(100):
        await deliver(ledger, order(body(), message_id=str(number)), epoch)
        await deliver(ledger, order(body()), epoch)
    assert not ledger._open


async def second_delivery(ledger: MemoryLedger, epoch: Epoch, **fields: object) -> LedgerEntry:
    return await ledger.recall(order(body(**fields), redelivered=True), epoch)


@pytest.mark.parametrize("status", ["received", "scheduled", "sending", "dying"])
async def test_an_equal_body_without_an_id_is_doubtful_as_soon_as_anything_of_it_was_saved(status: Status) -> None:
    """Not only after a POST: with the ledger gone from under it, a parked one would else be parked again."""
    ledger = MemoryLedger()
    epoch = await ledger.open_lane(LANE)
    first = order(body())
    fresh = (await ledger.recall(first, epoch)).state
    assert not (await second_delivery(ledger, epoch)).state.maybe_second_delivery, "it was met, and nothing is saved"
    if status == "sending":
        await ledger.claim(first, fresh.claimed(1), epoch)
    else:
        step = {"received": fresh, "scheduled": fresh.scheduled(), "dying": fresh.dying("expired", "too old")}[status]
        await ledger.record(first, step, epoch)
    assert (await second_delivery(ledger, epoch)).state.maybe_second_delivery


async def test_an_equal_body_is_not_doubtful_where_an_id_tells_what_it_is() -> None:
    ledger = MemoryLedger()
    epoch = await ledger.open_lane(LANE)
    await deliver(ledger, order(body()), epoch)
    with_id = await ledger.recall(order(body(), message_id="id", redelivered=True), epoch)
    assert not with_id.state.maybe_second_delivery
    await deliver(ledger, order(body(log="2"), message_id="2"), epoch)
    assert not (await second_delivery(ledger, epoch, log="2")).state.maybe_second_delivery, "the first one had an id"
