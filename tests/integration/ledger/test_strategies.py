"""An id alone is looked up in the index of the identities, by the known strategies; on SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, select

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.ledger import Ledger
from signalq.consumer.ledger.queries import orders
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.queries.strategies import of_any_strategy
from signalq.consumer.ledger.tables import intents
from tests.support.orders import order, unknown
from tests.support.stores import Store

STRATEGIES = ("-", "A", "a", "b" * 200, "momentum", "é", "~")


async def test_an_id_is_found_whatever_strategies_have_it(store: Store, ledger: Ledger) -> None:
    async with LedgerClient(store.url) as visit:
        assert await visit.read(lambda now: orders.timelines(now, "same")) == []
    for strategy in STRATEGIES:
        for intent_id in ("same", f"own-of-{strategy}"):
            met = order(message_id=intent_id, strategy=strategy)
            await ledger.record(met, unknown(met))
    async with LedgerClient(store.url) as visit:
        found = await visit.read(lambda now: orders.timelines(now, "same"))
        assert [one.strategy for one, _ in found] == list(STRATEGIES), "in the order in which they came"
        for strategy in STRATEGIES:
            ((one, _),) = await visit.read(lambda now, its=f"own-of-{strategy}": orders.timelines(now, its))
            assert one.strategy == strategy
        assert await visit.read(lambda now: orders.count(now, Filter(intent_ids=("same", "own-of-A", "none")))) == 8
        assert await visit.read(lambda now: orders.count(now, Filter(intent_ids=("same",), strategy="a"))) == 1
        assert await visit.read(lambda now: orders.ids_that_begin(now, "same", 5)) == ["same"]


async def test_the_index_of_the_identities_answers_for_an_id_alone(store: Store, ledger: Ledger) -> None:
    if not store.url.startswith("sqlite"):
        pytest.skip("a small table of PostgreSQL is read as a whole, whatever indexes it has")

    def plan(connection: Connection) -> str:
        query = select(intents.c.number).where(of_any_strategy(), intents.c.intent_id == "same")
        compiled = query.compile(connection.engine, compile_kwargs={"literal_binds": True})
        return " ".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}"))

    async with LedgerClient(store.url) as visit:
        found = await visit.read(plan)
    assert "(strategy=? AND intent_id=?)" in found
    assert "SCAN intents" not in found
