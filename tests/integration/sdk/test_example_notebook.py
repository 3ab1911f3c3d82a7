"""examples/notebook/orders.ipynb beside a real consumer, whose orders and metrics it reads."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from signalq import OrderIntent, OrderPublisher
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.commands import ROOT
from tests.support.consumer import Consumer, ledger_url
from tests.support.notebook import run_cells
from tests.support.stores import ledger_at
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

NOTEBOOK = ROOT / "examples" / "notebook" / "orders.ipynb"
TABLES = ("outcomes", "latency", "lateness", "quantiles")

# Here a warning of the libraries for tables and drawings is no error.
pytestmark = pytest.mark.filterwarnings("default")


async def test_the_notebook_runs_and_its_tables_say_what_became_of_the_orders(
    broker: Broker, names: Names, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook.behave(lambda order: Answer(status=400 if order.json.get("log") == "refuse" else 200, body=b"ok"))
    async with (
        Consumer(broker.url, names.prefix, webhook.url) as consumer,
        OrderPublisher(broker.url, strategy="momentum", prefix=names.prefix) as orders,
    ):
        await consumer.started()
        intent = OrderIntent(connector_name="main", connector_token="t", action="openLong", percent="5")
        for changed in ({}, {"connector_name": "alt"}, {"delay_seconds": 1.2}, {"log": "refuse"}):
            await orders.publish(intent.model_copy(update=changed))
        await wait_until(lambda: len(consumer.events("intent.settled")) == 4, what="their ends")
        monkeypatch.setenv("SIGNALQ_LEDGER__URL", ledger_url(names.prefix))
        monkeypatch.setenv("METRICS_URL", f"http://127.0.0.1:{consumer.ops_port}/metrics")
        left = await asyncio.to_thread(run_cells, NOTEBOOK)
    tables: dict[str, dict[str, Any]] = {name: json.loads(left[name].to_json(orient="split")) for name in TABLES}
    outcomes = tables["outcomes"]
    assert (outcomes["index"], outcomes["columns"]) == (["alt", "main"], ["dead: rejected", "delivered"])
    assert outcomes["data"] == [[0, 1], [1, 2]]
    assert tables["latency"]["index"] == ["alt", "main"]
    (lateness,) = tables["lateness"]["data"]
    by_name = dict(zip(tables["lateness"]["columns"], lateness, strict=True))
    assert by_name["count"] == 1
    assert by_name["min"] >= 0, "an order was delivered before it was due"
    assert tables["quantiles"]["columns"] == ["50%", "99%"]
    assert all(p50 <= p99 for p50, p99 in tables["quantiles"]["data"])


async def test_without_an_order_the_notebook_says_so_and_without_a_ledger_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/none.db"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", url)
    with pytest.raises(RuntimeError, match="there is no ledger at"):
        await asyncio.to_thread(run_cells, NOTEBOOK)
    async with ledger_at(url):
        pass
    with pytest.raises(RuntimeError, match="the ledger knows no intent that fits"):
        await asyncio.to_thread(run_cells, NOTEBOOK)


def test_the_notebook_holds_no_output() -> None:
    """It would show the orders of its last reader."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
