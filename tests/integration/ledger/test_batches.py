"""A batch of saves is one transaction of a few statements: whatever goes wrong in it, no save is answered falsely."""

from __future__ import annotations

import asyncio
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from signalq.consumer.ledger import Conflict, Epoch, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import events
from signalq.consumer.ledger.transaction import Work
from signalq.consumer.ledger.writer import Writer
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt
from tests.support.orders import altered, new_id, order, unknown
from tests.support.stores import Store
from tests.support.waiting import wait_until

REPOSITORY = Path(__file__).parents[3]
LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="200", status=200)
STATES = "SELECT intent_id, status, version FROM intents"


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many works each transaction did."""
    sizes: list[int] = []
    do = Writer.do

    def noted(writer: Writer, connection: Connection, works: list[Work]) -> list[Any]:
        sizes.append(len(works))
        return do(writer, connection, works)

    monkeypatch.setattr(Writer, "do", noted)
    return sizes


def new_orders(count: int) -> list[Order]:
    """Orders that came by queues of their own: all of them can share a transaction."""
    return [
        altered(order(message_id=new_id(), created_ms=1_000_000_000_000), source_queue=f"lane {number}")
        for number in range(count)
    ]


async def claimed(ledger: Ledger, epoch: Epoch, orders: list[Order]) -> list[LedgerEntry]:
    """Claim each of them."""
    claims = await asyncio.gather(*(ledger.claim(one, unknown(one).claimed(1), epoch) for one in orders))
    return [one for one in claims if isinstance(one, LedgerEntry)]


def delivered(ledger: Ledger, claim: LedgerEntry) -> asyncio.Future[LedgerEntry]:
    """Record that the webhook took it."""
    state = claim.state.tried(ACCEPTED, was_in_doubt=False).delivered()
    return ledger.record(claim.order, state, attempt=ACCEPTED)


async def test_a_race_that_is_lost_amidst_a_batch_is_a_conflict_for_that_save_alone(
    store: Store, batches: list[int]
) -> None:
    ledger, other = await store.ledger(), await store.ledger()
    epoch = await ledger.open_lane(LANE)
    old, new = new_orders(20), new_orders(20)
    claims = await claimed(ledger, epoch, old)
    lost_old, lost_new = {1, 2, 11, 19}, {0, 7, 18}
    for number in lost_old:
        await other.record(old[number], claims[number].state.retrying(9))
    for number in lost_new:
        await other.record(new[number], unknown(new[number]).dead_lettering("expired", "by another"))
    batches.clear()
    saves: list[asyncio.Future[Any]] = []
    for claim, one in zip(claims, new, strict=True):
        saves.append(delivered(ledger, claim))
        saves.append(asyncio.ensure_future(ledger.claim(one, unknown(one).claimed(1), epoch)))
    answers = await asyncio.gather(*saves, return_exceptions=True)
    assert max(batches) >= 20, "most of them shared a transaction"
    expected = {one.intent_id: ("delivered", 2) for one in old} | {one.intent_id: ("sending", 1) for one in new}
    expected |= {old[number].intent_id: ("retrying", 2) for number in lost_old}
    expected |= {new[number].intent_id: ("dying", 1) for number in lost_new}
    assert [isinstance(one, Conflict) for one in answers[::2]] == [number in lost_old for number in range(20)]
    assert [isinstance(one, Conflict) for one in answers[1::2]] == [number in lost_new for number in range(20)]
    saved = [one for one in answers if isinstance(one, LedgerEntry)]
    assert len(saved) == 40 - len(lost_old) - len(lost_new)
    assert all((one.state.status, one.state.version) == expected[one.order.intent_id] for one in saved)
    assert {row[0]: row[1:] for row in await store.rows(STATES)} == expected
    noted = await store.rows("SELECT intents.intent_id FROM steps JOIN intents ON steps.intent = intents.number")
    assert {row[0] for row in noted} == {one.intent_id for number, one in enumerate(old) if number not in lost_old}


async def test_the_outcome_of_an_order_and_the_claim_of_the_next_are_one_transaction(
    store: Store, batches: list[int]
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    first, second = (order(message_id=new_id(), created_ms=1_000_000_000_000) for _ in range(2))
    (claim,) = await claimed(ledger, epoch, [first])
    batches.clear()
    outcome = delivered(ledger, claim)
    await ledger.claim(second, unknown(second).claimed(1), epoch)
    assert outcome.done()
    assert outcome.result().state.status == "delivered"
    assert 2 <= max(batches) <= 3, "a sign of life may be with them"


def _between_the_statements(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    write = events.write
    broken = True

    def breaks(connection: Connection, now_ms: int, noted: Any) -> None:
        if broken and noted:
            raise OSError("broken")
        write(connection, now_ms, noted)

    def mend() -> None:
        nonlocal broken
        broken = False

    del ledger
    monkeypatch.setattr(events, "write", breaks)
    return mend


def _before_the_commit(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    transact = ledger._database.transact
    broken = True

    async def breaks(work: Callable[[Connection], Any]) -> Any:
        def undone(connection: Connection) -> Any:
            answers = work(connection)
            if broken:
                raise OSError("broken")
            return answers

        return await transact(undone)

    def mend() -> None:
        nonlocal broken
        broken = False

    monkeypatch.setattr(ledger._database, "transact", breaks)
    return mend


@pytest.mark.parametrize("break_it", [_between_the_statements, _before_the_commit])
async def test_a_batch_that_is_rolled_back_is_answered_only_once_it_is_saved(
    store: Store, monkeypatch: pytest.MonkeyPatch, break_it: Callable[[Ledger, pytest.MonkeyPatch], Callable[[], None]]
) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    old, new = new_orders(4), new_orders(4)
    claims = await claimed(ledger, epoch, old)
    before = sorted(await store.rows(STATES))
    mend = break_it(ledger, monkeypatch)
    saves: list[asyncio.Future[Any]] = [delivered(ledger, one) for one in claims]
    saves += [asyncio.ensure_future(ledger.claim(one, unknown(one).claimed(1), epoch)) for one in new]
    await wait_until(lambda: ledger.why_not_writable, what="why_not_writable")
    assert not any(one.done() for one in saves)
    assert sorted(await store.rows(STATES)) == before
    mend()
    answers = await asyncio.gather(*saves)
    assert [(one.state.status, one.state.version) for one in answers] == [("delivered", 2)] * 4 + [("sending", 1)] * 4
    states = {one.intent_id: ("delivered", 2) for one in old} | {one.intent_id: ("sending", 1) for one in new}
    assert {row[0]: row[1:] for row in await store.rows(STATES)} == states
    assert await store.rows("SELECT count(*) FROM steps") == [(4,)]


DIES_IN_MID_BATCH = """
    import asyncio, os, signal, sys
    from signalq.consumer.ledger.queries import events
    from tests.integration.ledger.test_batches import LANE, claimed, delivered, new_orders
    from tests.support.orders import unknown
    from tests.support.stores import ledger_at

    async def main(url: str) -> None:
        async with ledger_at(url) as ledger:
            epoch = await ledger.open_lane(LANE)
            old, new = new_orders(4), new_orders(4)
            claims = await claimed(ledger, epoch, old)
            # The outcomes and the claims are written, and the events are not.
            events.write = lambda _connection, _now_ms, noted: noted and os.kill(os.getpid(), signal.SIGKILL)
            outcomes = [delivered(ledger, one) for one in claims]
            await asyncio.gather(*outcomes, *(ledger.claim(one, unknown(one).claimed(1), epoch) for one in new))

    asyncio.run(main(sys.argv[1]))
"""


async def test_of_a_batch_in_which_the_consumer_dies_nothing_is_saved(store: Store) -> None:
    program = (sys.executable, "-c", textwrap.dedent(DIES_IN_MID_BATCH), store.url)
    child = await asyncio.create_subprocess_exec(*program, cwd=REPOSITORY, stdout=asyncio.subprocess.DEVNULL)
    async with asyncio.timeout(30):
        assert await child.wait() == -signal.SIGKILL
    await store.ledger()
    assert [row[1:] for row in await store.rows(STATES)] == [("sending", 1)] * 4
    assert await store.rows("SELECT count(*) FROM steps") == [(0,)]
