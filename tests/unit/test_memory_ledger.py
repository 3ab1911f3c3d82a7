"""The ledger in memory: what was saved is found, by identity within the strategy, for as long as it matters."""

from __future__ import annotations

import json
from typing import Any

from pamqp.commands import Basic

from consumer.history import Attempt
from consumer.ledger.memory import MemoryLedger
from consumer.order import Message, Order, read
from consumer.settings import Settings

ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200)


def order(message_id: str | None = "id", *, strategy: str = "s", redelivered: bool = False, **fields: Any) -> Order:
    whole = {"connectorName": "main", "connectorToken": "t", "action": "openLong"} | fields
    properties = Basic.Properties(message_id=message_id, app_id=strategy)
    message = Message(json.dumps(whole).encode(), properties, "main", redelivered)
    found = read(message, Settings(), 1_700_000_000_000)
    assert isinstance(found, Order)
    return found


async def deliver(ledger: MemoryLedger, of: Order) -> None:
    claim = (await ledger.recall(of)).claimed(1_000)
    await ledger.save(of, claim)
    await ledger.save(of, claim.concluded(ACCEPTED, was_in_doubt=False))


async def test_what_was_never_saved_is_received() -> None:
    known = await MemoryLedger().recall(order())
    assert (known.status, known.attempts, known.maybe_second_delivery) == ("received", 0, False)
    assert (known.intent_id, known.digest) == ("id", order().digest)


async def test_what_was_saved_is_recalled() -> None:
    ledger = MemoryLedger()
    for history in ((await ledger.recall(order())).scheduled(), (await ledger.recall(order())).claimed(1_000)):
        await ledger.save(order(), history)
        assert await ledger.recall(order()) == history


async def test_an_ending_replaces_what_was_open() -> None:
    ledger = MemoryLedger()
    await deliver(ledger, order())
    assert (await ledger.recall(order())).status == "delivered"


async def test_an_identity_holds_within_its_strategy() -> None:
    ledger = MemoryLedger()
    await deliver(ledger, order())
    assert (await ledger.recall(order(strategy="another"))).status == "received"
    assert (await ledger.recall(order("another"))).status == "received"


async def test_other_bytes_under_a_known_identity_find_the_first_ones_digest() -> None:
    ledger = MemoryLedger()
    await deliver(ledger, order())
    assert (await ledger.recall(order(log="other"))).digest == order().digest


async def test_an_equal_body_without_an_id_is_doubtful_only_when_redelivered_and_only_after_a_post() -> None:
    ledger = MemoryLedger()
    assert not (await ledger.recall(order(None, redelivered=True))).maybe_second_delivery, "nothing was POSTed yet"
    await deliver(ledger, order(None))
    assert (await ledger.recall(order(None, redelivered=True))).maybe_second_delivery
    assert not (await ledger.recall(order(None))).maybe_second_delivery, "a second publish, not a second delivery"
    assert not (await ledger.recall(order("id", redelivered=True))).maybe_second_delivery, "known by its id"
    assert not (await ledger.recall(order(None, redelivered=True, log="other"))).maybe_second_delivery
    assert not (await ledger.recall(order(None, redelivered=True, strategy="another"))).maybe_second_delivery


async def test_of_what_has_ended_only_the_last_are_kept_and_of_what_has_not_all() -> None:
    ledger = MemoryLedger(ended_max=10)
    await ledger.save(order("parked"), (await ledger.recall(order("parked"))).scheduled())
    for number in range(100):
        await deliver(ledger, order(str(number)))
    assert (await ledger.recall(order("89"))).status == "received"
    assert (await ledger.recall(order("90"))).status == "delivered"
    assert (await ledger.recall(order("parked"))).status == "scheduled"
    assert len(ledger._ended) == len(ledger._posted) + 9 == 10, "one body was POSTed a hundred times"


async def test_what_is_open_does_not_grow_with_what_has_ended() -> None:
    ledger = MemoryLedger()
    for number in range(100):
        await deliver(ledger, order(str(number)))
    assert not ledger._open
