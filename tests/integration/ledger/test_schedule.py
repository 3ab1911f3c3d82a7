"""The schedule in the ledger: what is pending, and who wins where it is canceled and claimed at once."""

from __future__ import annotations

import asyncio

import pytest

from signalq.consumer.ledger import Conflict, Fenced
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import schedule
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.orders.order import Order
from tests.support.orders import altered, body, new_id, order
from tests.support.stores import Store

LANE = "signalq.orders"
CREATED_MS, RECEIVED_MS = 1_000_001_000_000, 1_000_001_001_000
EVERYTHING = Filter()


def delayed(name: str = "", *, created_ms: int = CREATED_MS, strategy: str = "momentum", **fields: object) -> Order:
    """An intent that is due 60 s after its creation."""
    content = body(**{"delaySeconds": 60, "log": name} | fields)
    return order(
        content, message_id=name or new_id(), strategy=strategy, created_ms=created_ms, received_ms=RECEIVED_MS
    )


def cancel(action: str = "cancelAll", *, created_ms: int = RECEIVED_MS, **fields: object) -> Order:
    return order(
        body(**{"action": action, "percent": None} | fields),
        message_id=new_id(),
        created_ms=created_ms,
        received_ms=RECEIVED_MS,
    )


async def test_a_delayed_order_is_recorded_at_its_first_receipt_and_by_that_message(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = delayed()
    first = await ledger.recall(met, epoch)
    assert (first.state.status, first.state.version, first.order.provenance.recorded) == ("received", 1, True)
    again = await ledger.recall(altered(met, receipt=new_id()), epoch)
    assert (again.state, again.order.provenance.recorded) == (first.state, False)


async def test_an_order_without_an_id_is_recorded_only_while_the_lane_is_ours(ledger: Ledger) -> None:
    """The lane's next consumer has the same message, and could not tell that it is the same."""
    old = await ledger.open_lane(LANE)
    new = await ledger.open_lane(LANE)
    met = order(body(delaySeconds=60), created_ms=CREATED_MS, received_ms=RECEIVED_MS)
    with pytest.raises(Fenced):
        await ledger.recall(met, old)
    assert (await ledger.recall(met, new)).state.version == 1


async def test_the_claim_of_a_cancel_cancels_what_is_pending_and_tells(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    meant = delayed("meant", clientOrderId="c1")
    parked = delayed("parked", clientOrderId="c1", strategy="value")
    others = [
        delayed("another order", clientOrderId="c2"),
        delayed("newer", clientOrderId="c1", created_ms=RECEIVED_MS - 1),
        delayed("another connector", clientOrderId="c1", connectorName="other"),
    ]
    known = {one.intent_id: await ledger.recall(one, epoch) for one in (meant, parked, *others)}
    await ledger.record(parked, known["parked"].state.scheduled())
    by = cancel("cancel", clientOrderId="c1", created_ms=RECEIVED_MS - 2)
    claimed = await ledger.claim(by, (await ledger.recall(by, epoch)).state.claimed(RECEIVED_MS), epoch)
    assert {(one.strategy, one.intent_id) for one in claimed.canceled} == {("momentum", "meant"), ("value", "parked")}
    assert (await ledger.recall(meant, epoch)).state.status == "canceled"
    assert (await ledger.recall(parked, epoch)).state.status == "canceled"
    assert {(await ledger.recall(one, epoch)).state.status for one in others} == {"received"}
    with pytest.raises(Conflict):
        await ledger.claim(meant, known["meant"].state.claimed(RECEIVED_MS), epoch)


async def test_a_cancel_leaves_a_claimed_order_alone(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    met = delayed()
    claimed = await ledger.claim(met, (await ledger.recall(met, epoch)).state.claimed(RECEIVED_MS), epoch)
    by = cancel()
    after = await ledger.claim(by, (await ledger.recall(by, epoch)).state.claimed(RECEIVED_MS), epoch)
    assert after.canceled == ()
    assert (await ledger.recall(met, epoch)).state == claimed.state


async def test_an_order_that_is_not_delayed_is_never_pending(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    undated, by = order(message_id=new_id(), received_ms=RECEIVED_MS), cancel()
    assert (await ledger.recall(undated, epoch)).state.version == 1
    claimed = await ledger.claim(by, (await ledger.recall(by, epoch)).state.claimed(RECEIVED_MS), epoch)
    assert claimed.canceled == ()


async def test_a_claim_that_is_refused_cancels_nothing(store: Store) -> None:
    ledger = await store.ledger()
    old = await ledger.open_lane(LANE)
    await ledger.recall(delayed(), await ledger.open_lane(LANE))
    by = cancel()
    with pytest.raises(Fenced):
        await ledger.claim(by, (await ledger.recall(by, old)).state.claimed(RECEIVED_MS), old)
    assert await store.rows("SELECT status FROM intents") == [("received",)]


async def test_exactly_one_of_a_persons_cancel_and_a_claim_wins(store: Store) -> None:
    ledger, person = await store.ledger(), await store.ledger()
    epoch = await ledger.open_lane(LANE)
    known = [await ledger.recall(delayed(str(number)), epoch) for number in range(40)]

    async def claim(number: int) -> bool:
        try:
            await ledger.claim(known[number].order, known[number].state.claimed(RECEIVED_MS), epoch)
        except Conflict:
            return False
        return True

    async def cancel_it(number: int) -> bool:
        wanted = Filter(intent_ids=[str(number)])
        return bool(
            await person._writer.ask(lambda now: schedule.cancel(now.connection, now.now_ms, wanted, "by a test"))
        )

    won = await asyncio.gather(*(work(number) for number in range(40) for work in (claim, cancel_it)))
    assert [claimed + canceled for claimed, canceled in zip(won[::2], won[1::2], strict=True)] == [1] * 40
    rows = await store.rows("SELECT status FROM intents ORDER BY number")
    assert [status for (status,) in rows] == ["sending" if claimed else "canceled" for claimed in won[::2]]


async def test_pending_orders_are_found_by_id_connector_and_strategy_the_soonest_due_first(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for met in (
        delayed("late", created_ms=CREATED_MS + 500),
        delayed("soon", connectorName="other"),
        delayed("value", strategy="value", created_ms=CREATED_MS + 100),
    ):
        await ledger.recall(met, epoch)

    async def found(wanted: Filter, rows_max: int = 10) -> list[str]:
        rows = await ledger._writer.ask(lambda now: schedule.pending(now.connection, wanted, rows_max))
        return [row.intent_id for row in rows]

    assert await found(EVERYTHING) == ["soon", "value", "late"]
    assert await found(EVERYTHING, 2) == ["soon", "value"]
    assert await found(Filter(connector="other")) == ["soon"]
    assert await found(Filter(strategy="value")) == ["value"]
    assert await found(Filter(intent_ids=["late", "soon"], connector="main")) == ["late"]
    assert await ledger._writer.ask(lambda now: schedule.count(now.connection, EVERYTHING)) == 3


async def test_a_cancelation_is_an_event_with_its_author_and_ends_the_intent(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await ledger.recall(delayed("met"), epoch)
    await ledger._writer.ask(lambda now: schedule.cancel(now.connection, 5_000, EVERYTHING, "by a test"))
    assert await store.rows("SELECT status, why, ended_ms FROM intents") == [("canceled", "canceled by a test", 5_000)]
    assert await store.rows("SELECT generation, at_ms, what, detail FROM steps") == [
        (1, 5_000, "canceled", "by a test")
    ]


async def test_the_ledger_counts_what_is_pending_every_few_seconds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalq.consumer.ledger.heartbeat.ALIVE_PERIOD_S", 0.02)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    await asyncio.gather(*(ledger.recall(delayed(), epoch) for _ in range(5)))
    async with asyncio.timeout(10):
        while ledger.scheduled != 5:  # noqa: ASYNC110 - nothing tells that it has counted
            await asyncio.sleep(0.01)
