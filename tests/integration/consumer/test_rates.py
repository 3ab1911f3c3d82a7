"""`orders_per_minute_max`: places that claims take in the ledger, over all consumers; and whose an intent is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from signalq.consumer.ledger import Conflict, Epoch, LedgerEntry
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.orders.limits import Rate, RateExceeded
from signalq.consumer.orders.order import Order
from tests.support.orders import altered, new_id, order, unknown
from tests.support.stores import Store

LANE = "signalq.orders"


def rate(opens_max: int, key: str = "connector:main", *, enforced: bool = True) -> Rate:
    return Rate(key, "connector", opens_max, enforced)


async def claim(ledger: Ledger, rates: Sequence[Rate], epoch: Epoch | None = None, of: Order | None = None) -> bool:
    """Claim an order's first POST; whether there was a place for it."""
    of = of or order(message_id=new_id())
    epoch = epoch or await ledger.open_lane(LANE, alone=False)
    answer = await ledger.claim(of, unknown(of).claimed(1), epoch, rates=rates)
    assert isinstance(answer, LedgerEntry | RateExceeded)
    return isinstance(answer, LedgerEntry)


async def test_opens_are_claimed_until_all_places_are_taken_and_then_none(ledger: Ledger) -> None:
    assert [await claim(ledger, [rate(3)]) for _ in range(5)] == [True, True, True, False, False]
    assert await claim(ledger, [rate(3, "connector:other")])
    assert await claim(ledger, [rate(4)]), "the limit that counts is the one of the claim"


async def test_an_open_without_a_place_in_one_rate_is_not_saved_and_counts_for_no_other(ledger: Ledger) -> None:
    full, other = rate(1), rate(2, "strategy:s")
    assert await claim(ledger, [full, other])
    of = order(message_id=new_id(), created_ms=1_000_000_000_000)
    assert not await claim(ledger, [full, other], of=of)
    known = await ledger.recall(of, await ledger.open_lane(LANE))
    assert (known.state.version, known.state.attempts) == (0, 0)
    assert await claim(ledger, [other]), "its place in the other rate is still there"


async def test_a_claim_that_lost_its_race_takes_no_place(ledger: Ledger) -> None:
    of = order(message_id=new_id())
    assert await claim(ledger, [rate(2)], of=of)
    with pytest.raises(Conflict):
        await claim(ledger, [rate(2)], of=of)
    assert await claim(ledger, [rate(2)])


async def test_a_rate_that_is_only_reported_lets_pass_and_says_so(ledger: Ledger) -> None:
    reported = rate(1, enforced=False)
    epoch = await ledger.open_lane(LANE)
    for over in ((), (reported,)):
        of = order(message_id=new_id())
        known = await ledger.claim(of, unknown(of).claimed(1), epoch, rates=[reported])
        assert known.over_rates == over


async def test_a_place_is_free_again_after_a_minute_and_is_forgotten(store: Store) -> None:
    ledger = await store.ledger()
    assert [await claim(ledger, [rate(2)]) for _ in range(3)] == [True, True, False]
    await store.run("UPDATE posted_opens SET at_ms = at_ms - 59000")
    assert not await claim(ledger, [rate(2)])
    await store.run("UPDATE posted_opens SET at_ms = at_ms - 1001")
    assert await claim(ledger, [rate(2)])
    assert len(await store.rows("SELECT * FROM posted_opens")) == 1


@pytest.mark.parametrize("places", [1, 10])
async def test_two_consumers_never_take_the_last_place_both(store: Store, places: int) -> None:
    ledgers = [await store.ledger() for _ in range(3)]
    asked = [claim(ledger, [rate(places), rate(1000, "strategy:s")]) for _ in range(20) for ledger in ledgers]
    took = await asyncio.gather(*asked)
    assert took.count(True) == places
    assert len(await store.rows("SELECT * FROM posted_opens WHERE scope = 'connector:main'")) == places


async def test_claims_under_rates_and_lanes_that_change_hands_do_not_wait_for_each_other(store: Store) -> None:
    """What takes places locks them before anything else: no circle of consumers that wait for each other."""
    ledgers = [await store.ledger() for _ in range(3)]

    async def work(ledger: Ledger, number: int) -> None:
        epoch = await ledger.open_lane(f"lane {number % 2}")
        rates = [rate(1000, f"connector:{key}") for key in (number % 3, (number + 1) % 3)]
        with suppress(Conflict):  # the lane may have changed hands meanwhile
            assert await claim(ledger, rates, epoch)

    began_s = time.monotonic()
    async with asyncio.timeout(30):
        await asyncio.gather(*(work(ledger, number) for number in range(20) for ledger in ledgers))
    assert time.monotonic() - began_s < 20
    assert all(ledger.why_not_writable is None for ledger in ledgers)


# --- whose an intent is ----------------------------------------------------------------------------------------------


async def test_the_ledger_tells_from_whom_a_copy_is_and_no_header_does(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    first = altered(order(message_id="x"), origin_user="the-user")
    await ledger.record(first, unknown(first).scheduled(), epoch)
    copy = altered(first, origin_user=None, is_own_copy=True, needs_proof=True)
    known = await ledger.recall(copy, epoch)
    assert (known.order.identity.origin_user, known.order.intent_id) == ("the-user", "x")
    assert known.state.status == "scheduled"


async def test_a_forged_copy_neither_finds_nor_takes_the_identity_that_it_claims(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    first = altered(order(message_id="x"), origin_user="the-user")
    await ledger.record(first, unknown(first).scheduled(), epoch)
    for claimed in ("x", "y"):
        forged = altered(order(message_id=claimed), is_own_copy=True, needs_proof=True)
        undated = altered(forged, creation=replace(forged.timing.creation, pinned=True))
        known = await ledger.recall(undated, epoch)
        assert known.order.intent_id not in ("x", "y")
        assert known.state.status == "received"
        assert known.order.identity.origin_user is None
        assert (await ledger.recall(undated, epoch)).order.intent_id == known.order.intent_id
    untouched = await ledger.recall(altered(order(message_id="y"), origin_user="the-user"), epoch)
    assert untouched.state.version <= 1, "the id is free for the one whose it is"


async def test_equal_bytes_of_another_user_are_no_second_delivery(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    first = altered(order(), origin_user="the-user")
    await ledger.claim(first, unknown(first).claimed(1), epoch)
    ledger.release(first)
    again = altered(first, redelivered=True, intent_id=new_id(), receipt=new_id())
    foreign = await ledger.recall(altered(again, origin_user="another"), epoch)
    assert not foreign.state.maybe_second_delivery
    assert foreign.state.attempts == 0
    own = (await ledger.recall(again, epoch)).state
    assert own.maybe_second_delivery or own.attempts == 1


async def test_without_an_id_what_comes_again_under_a_new_name_is_known_by_its_bytes(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    first = altered(order(strategy="old"), origin_user="the-user")
    await ledger.claim(first, unknown(first).claimed(1), epoch)
    ledger.release(first)
    given_id = new_id()
    renamed = {"strategy": "new", "by_label": ("old", given_id), "intent_id": given_id, "receipt": given_id}
    known = await ledger.recall(altered(first, redelivered=True, **renamed), epoch)
    assert known.state.maybe_second_delivery or known.state.attempts == 1
    assert known.order.strategy == ("old" if known.state.attempts else "new")


async def test_a_message_that_comes_again_under_a_new_name_is_found_under_its_old_one(ledger: Ledger) -> None:
    epoch = await ledger.open_lane(LANE)
    first = altered(order(message_id="x", strategy="old"), origin_user="the-user")
    await ledger.claim(first, unknown(first).claimed(1), epoch)
    again = altered(first, strategy="new", redelivered=True, by_label=("old", "x"))
    known = await ledger.recall(again, epoch)
    assert (known.order.strategy, known.state.attempts) == ("old", 1)
    foreign = await ledger.recall(altered(again, origin_user="another"), epoch)
    assert (foreign.order.strategy, foreign.state.attempts) == ("new", 0)
