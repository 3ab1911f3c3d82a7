"""examples/notebook/orders.ipynb beside a real consumer, whose orders and metrics it reads."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from signalq import OrderIntent, OrderPublisher
from signalq.names import Names
from tests.support.broker import Broker
from tests.support.commands import ROOT
from tests.support.consumer import Consumer, ledger_url
from tests.support.examples import run
from tests.support.stores import ledger_at
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

NOTEBOOK = ROOT / "examples" / "notebook" / "orders.ipynb"
TABLES = ("outcomes", "latency", "lateness", "quantiles")


async def test_the_notebook_runs_and_its_tables_say_what_became_of_the_orders(
    broker: Broker, names: Names, webhook: Webhook
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
        environment = {
            "SIGNALQ_LEDGER__URL": ledger_url(names.prefix),
            "METRICS_URL": f"http://127.0.0.1:{consumer.ops_port}/metrics",
            "PATH": os.environ["PATH"],
        }
        command = (sys.executable, "-m", "tests.support.notebook", str(NOTEBOOK), *TABLES)
        ran = await run(*command, environment=environment)
    assert ran.status == 0, ran.err
    tables: dict[str, dict[str, Any]] = json.loads(ran.out)
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


async def test_without_an_order_the_notebook_says_so_and_without_a_ledger_where_it_looked(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path}/none.db"
    command = (sys.executable, "-m", "tests.support.notebook", str(NOTEBOOK), *TABLES)
    environment = {"SIGNALQ_LEDGER__URL": url, "PATH": os.environ["PATH"]}
    without = await run(*command, environment=environment)
    assert (without.status, "there is no ledger at" in without.err) == (1, True)
    async with ledger_at(url):
        pass
    empty = await run(*command, environment=environment)
    assert (empty.status, "the ledger knows no intent that fits" in empty.err) == (1, True)


def test_the_notebook_holds_no_output() -> None:
    """It would show the orders of its last reader."""
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
