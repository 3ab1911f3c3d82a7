"""The recent past of a lane and of the wire, as the console's pages show it; on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from signalq.consumer.ledger import Epoch, LedgerEntry
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import letters, recent, switches
from signalq.consumer.ledger.queries.recent import Lane
from signalq.consumer.orders.letters import LetterRecord, mark_of
from signalq.consumer.orders.order import Order
from signalq.consumer.orders.state import Attempt
from signalq.consumer.orders.switch import ALL
from tests.support.orders import body, new_id, order
from tests.support.stores import Store

T = TypeVar("T")

LANE = "signalq.orders"
MAIN, SHARED = Lane("main"), Lane(None, own=("main", "alpha"))
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200, duration_s=0.084)


async def read(store: Store, work: Callable[[Connection], T]) -> T:
    async with LedgerClient(store.url) as client:
        return await client.read(work)


def an(connector: str = "main") -> Order:
    return order(body(connectorName=connector), message_id=new_id())


async def claim(ledger: Ledger, epoch: Epoch, one: Order) -> LedgerEntry:
    known = await ledger.recall(one, epoch)
    return await ledger.claim(one, known.state.claimed(5_000), epoch)


async def deliver(ledger: Ledger, epoch: Epoch, one: Order) -> None:
    claimed = await claim(ledger, epoch, one)
    await ledger.record(one, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered(), attempt=ACCEPTED)


def letter(number: int, connector: str | None, reason: str | None) -> LetterRecord:
    """A letter of which no more is known."""
    name = f"id-{number}"
    unknown = dict.fromkeys(
        ("action", "client_order_id", "detail", "attempts", "http_status", "dead_ms", "order_fields")
    )
    mark = mark_of("momentum", name, 1, b"{}")
    return LetterRecord(
        mark=mark,
        strategy="momentum",
        intent_id=name,
        generation=1,
        connector=connector,
        reason=reason,
        body_bytes=2,
        **unknown,  # type: ignore[arg-type]
    )


async def test_the_newest_orders_are_those_of_the_lane(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    met = [an(connector) for connector in ("main", "beta", "main", "alpha", "gamma")]
    for one in met:
        await claim(ledger, epoch, one)
    ids = [one.intent_id for one in met]

    async def newest(lane: Lane, rows_max: int = 10) -> list[str]:
        return [one.intent_id for one in await read(store, lambda now: recent.newest_orders(now, lane, rows_max))]

    assert await newest(MAIN) == [ids[2], ids[0]]
    assert await newest(SHARED) == [ids[4], ids[1]]
    assert await newest(Lane(None)) == ids[::-1]
    assert await newest(MAIN, 1) == [ids[2]]
    assert await newest(Lane("nobody")) == []


async def test_a_listing_does_not_look_further_back_than_it_says(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "ORDERS_LOOKED_AT_MAX", 2)
    monkeypatch.setattr(recent, "EVENTS_LOOKED_AT_MAX", 1)
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for connector in ("main", "beta", "beta"):
        await deliver(ledger, epoch, an(connector))
    assert await read(store, lambda now: recent.newest_orders(now, MAIN, 10)) == []
    assert await read(store, lambda now: recent.posts(now, MAIN, 0, 10)) == []
    assert len(await read(store, lambda now: recent.posts(now, SHARED, 0, 10))) == 1


async def test_the_posts_of_a_lane_are_told_with_how_long_they_took(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    for connector in ("main", "beta", "main"):
        await deliver(ledger, epoch, an(connector))
    found = await read(store, lambda now: recent.posts(now, MAIN, 0, 10))
    assert [(one.duration_ms, one.certainty) for one in found] == [(84, "accepted")] * 2
    assert found[0].at_ms <= found[1].at_ms
    later_ms = found[1].at_ms + 1
    assert await read(store, lambda now: recent.posts(now, MAIN, later_ms, 10)) == []
    assert len(await read(store, lambda now: recent.posts(now, MAIN, 0, 1))) == 1


async def test_the_wire_has_the_orders_that_are_claimed_by_a_consumer_that_lives(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane(LANE)
    nothing = await read(store, lambda now: recent.wire(now, clock_ms(now), None))
    assert (nothing.out, nothing.last_ms) == (0, None)
    claimed = await claim(ledger, epoch, an("main"))
    await claim(ledger, epoch, an("beta"))
    everything = await read(store, lambda now: recent.wire(now, clock_ms(now), None))
    main = await read(store, lambda now: recent.wire(now, clock_ms(now), "main"))
    assert (everything.out, main.out) == (2, 1)
    assert everything.last_ms is not None
    far_ms = everything.last_ms + 3_600_000
    assert (await read(store, lambda now: recent.wire(now, far_ms, None))).out == 0
    done = claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered()
    await ledger.record(claimed.order, done, attempt=ACCEPTED)
    main = await read(store, lambda now: recent.wire(now, clock_ms(now), "main"))
    assert main.out == 0
    ((ended_ms,),) = await store.rows("SELECT at_ms FROM steps WHERE what = 'attempt'")
    assert main.last_ms == ended_ms - 84


async def test_letters_are_counted_by_reason_with_those_that_tell_none(store: Store) -> None:
    await store.ledger()
    reasons = [("main", "rejected"), ("main", "rejected"), ("main", None), ("beta", "expired"), (None, "invalid")]
    async with LedgerClient(store.url) as client:
        noted = [letter(number, connector, reason) for number, (connector, reason) in enumerate(reasons)]
        await client.transact(lambda now: letters.note(now, clock_ms(now), noted))
    assert await read(store, lambda now: recent.letters_by_reason(now, MAIN)) == {"rejected": 2, "unknown": 1}
    assert await read(store, lambda now: recent.letters_by_reason(now, SHARED)) == {"expired": 1, "invalid": 1}


async def test_the_history_of_a_switch_has_its_own_changes_and_those_of_all(store: Store) -> None:
    await store.ledger()

    def work(connection: Connection) -> list[int]:
        made = [("main", "paused"), ("beta", "paused"), (ALL, "open"), ("main", "close-only")]
        numbers = [
            switches.change(connection, clock_ms(connection), name, state, who="alice", why="").number  # type: ignore[arg-type]
            for name, state in made
        ]
        found = switches.history(connection, "main", 10)
        assert [(one.connector, one.state) for one in found] == [
            ("main", "close-only"),
            (ALL, "open"),
            ("main", "paused"),
        ]
        assert [one.state for one in switches.history(connection, ALL, 10)] == ["open"]
        assert len(switches.history(connection, "main", 2)) == 2
        assert switches.change_of(connection, numbers[1]) is not None
        return [one.number for one in found]

    async with LedgerClient(store.url) as client:
        numbers = await client.transact(work)
        assert await client.read(lambda now: switches.change_of(now, numbers[0] + 1)) is None
