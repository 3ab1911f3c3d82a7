"""What the ledger knows of an AMQP expiration, on SQLite and PostgreSQL; the rest is in test_check.py."""

from __future__ import annotations

from sqlalchemy import Connection

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries.events import EXPIRATION
from signalq.consumer.ledger.queries.orders import Careless, careless
from signalq.consumer.orders.state import Attempt, IntentState
from tests.support.orders import altered, body, order
from tests.support.stores import Store


async def test_each_strategy_that_sets_one_is_counted_once_an_intent_whatever_became_of_it(store: Store) -> None:
    ledger = await store.ledger()
    epoch = await ledger.open_lane("signalq.orders")
    hasty = altered(order(body(log="a"), message_id="a", created_ms=1_700_000_000_000), may_vanish=True)
    # Claimed at once, tried twice; recorded by the look at it, as what is delayed is.
    known = await ledger.claim(hasty, IntentState("a", hasty.identity.digest).claimed(1_000), epoch)
    tried = known.state.tried(Attempt("not taken", sent=False, why="refused"), was_in_doubt=False)
    await ledger.record(hasty, tried.retrying(2_000), attempt=Attempt("not taken", sent=False, why="refused"))
    delayed = altered(
        order(body(log="b"), message_id="b", created_ms=1_700_000_000_000), may_vanish=True, came_early=True
    )
    for _ in range(2):
        known = await ledger.recall(delayed, epoch)
    await ledger.record(delayed, known.state.scheduled())
    careful = order(body(log="c"), message_id="c", created_ms=1_700_000_000_000)
    await ledger.claim(careful, IntentState("c", careful.identity.digest).claimed(1_000), epoch)

    def look(connection: Connection) -> list[Careless]:
        return careless(connection)

    async with LedgerClient(store.url) as visit:
        assert await visit.read(look) == [Careless(hasty.strategy, 3, 0, 0, 2)]
    assert await store.rows(f"SELECT count(*) FROM steps WHERE what = '{EXPIRATION}'") == [(2,)]  # noqa: S608
