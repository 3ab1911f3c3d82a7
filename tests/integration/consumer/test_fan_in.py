"""Three strategies into one consumer: the programs of producers/strategies, a real `signalq consume`, the sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from signalq.ops.sandbox.server import Sandbox
from signalq.producers.strategies.ma_cross import BUNDLED, crosses, orders_of, read_candles
from signalq.producers.strategies.rebalancing import slot_at
from tests.support.broker import Broker
from tests.support.commands import Ran, ended
from tests.support.consumer import Consumer
from tests.support.waiting import wait_until
from tests.support.warm import command

TOKEN = "s3cret-of-the-desk"
WEEK = timedelta(days=7)
SETTLE_S = 1
# The strategies' tokens are the consumer's; the desk brings its own.
CONFIG = """
[connectors.main]
token = "a-configured-token"
[connectors.btc-spot]
token = "a-configured-token"
[connectors.eth-spot]
token = "a-configured-token"
[strategies.ma-cross]
connectors = ["main"]
[strategies.rebalancer]
connectors = ["btc-spot", "eth-spot"]
[strategies.desk]
connectors = ["by-hand"]
"""


@dataclass(frozen=True)
class Floor:
    """Where the three trade: each `run` starts one as its own process."""

    sandbox: Sandbox
    consumer: Consumer
    environment: dict[str, str]
    folder: Path

    async def run(self, program: str, *flags: str, typed: str = "") -> Ran:
        process = await command(f"signalq.producers.strategies.{program}", *flags, environment=self.environment)
        return await ended(process, typed.encode())

    async def rebalance(self) -> Ran:
        """In a slot that began three days ago, so that none begins during the test."""
        now = datetime.now(UTC)
        offset = now - timedelta(days=3) - slot_at(now - timedelta(days=3), every=WEEK, offset=timedelta(0))
        files = [f"--{name}={self.folder / file}" for name, file in FILES.items()]
        slot = ["--every", "7d", "--offset", f"{offset // timedelta(hours=1)}h"]
        return await self.run("rebalancer", *files, *slot, "--settle", str(SETTLE_S), "--once")

    def came(self, connector: str) -> list[tuple[Any, ...]]:
        """What arrived for a connector, in order."""
        bodies = [order.body or {} for order in self.sandbox.orders if order.connector == connector]
        return [(body["action"], body.get("percent") or body.get("fixed"), body.get("log")) for body in bodies]

    async def settled(self, count: int, **fields: object) -> None:
        """Wait for so many endings."""
        await wait_until(
            lambda: len(self.consumer.events("intent.settled", **fields)) >= count, 30, what=f"{count} endings {fields}"
        )


FILES = {"targets": "targets.toml", "weights": "weights.json", "plan": "plan.json"}


@pytest_asyncio.fixture
async def floor(broker: Broker, prefix: str, tmp_path: Path) -> AsyncIterator[Floor]:
    """A consumer that posts to a sandbox, and an environment in which the strategies find the broker."""
    (tmp_path / "targets.toml").write_text(
        '[btc]\nconnector = "btc-spot"\npercent = 60\n[eth]\nconnector = "eth-spot"\npercent = 40\n', "utf-8"
    )
    (tmp_path / "weights.json").write_text('{"btc": 20, "eth": 80}', "utf-8")
    environment = {
        "SIGNALQ_BROKER__URL": broker.url,
        "SIGNALQ_BROKER__PREFIX": prefix,
        "DESK_TOKEN": TOKEN,
    }
    async with (
        Sandbox() as sandbox,
        Consumer(
            broker.url, prefix, sandbox.url, {"log.level": "debug"}, config=CONFIG, command=("-m", "signalq", "consume")
        ) as consumer,
    ):
        await consumer.started()
        yield Floor(sandbox, consumer, environment, tmp_path)


async def test_three_strategies_fan_in_in_order_and_a_second_run_orders_nothing(floor: Floor) -> None:
    cross, balance, desk, unasked, refused = await asyncio.gather(
        floor.run("ma_cross", "--replay"),
        floor.rebalance(),
        floor.run("desk", "--token-env", "DESK_TOKEN", "openShort", "by-hand", "0.5", typed="yes\n"),
        floor.run("desk", "openShort", "by-hand", "0.5"),
        floor.run("desk", "--yes", "openShort", "main", "5%"),
    )
    assert [(ran.status, ran.err) for ran in (cross, balance, desk, unasked)] == [(0, "")] * 4
    assert refused.status == 1
    assert refused.err.startswith("`signalq dead show ")
    replayed = [
        intent
        for _, intent in orders_of(
            crosses(read_candles(BUNDLED), fast=10, slow=30), strategy="ma-cross", connector="main", percent="50"
        )
    ]
    orders = len(replayed) + 3
    await floor.settled(orders, status="delivered")
    assert floor.came("main") == [(intent.action, intent.percent, intent.log) for intent in replayed]
    assert [order[:2] for order in floor.came("eth-spot")] == [("sell", "50.00")]
    assert [order[:2] for order in floor.came("btc-spot")] == [("buy", "100.00")]
    assert floor.came("by-hand") == [("openShort", "0.5", None)]
    at = {order.connector: order.at for order in floor.sandbox.orders}
    assert at["btc-spot"] >= at["eth-spot"], "the buy waits for what the sell brings"

    assert "delivered, attempts: 1, the webhook answered 200" in desk.out
    assert '"connectorToken":"***"' in desk.out
    assert unasked.out.endswith("not sent\n")
    assert refused.out.endswith("dead (unauthorized), attempts: 0\n")
    assert TOKEN not in desk.out + desk.err + floor.consumer.log

    # The weights as they are after the orders, and then the plan lost besides: neither may order anything again.
    (floor.folder / "weights.json").write_text('{"btc": 60, "eth": 40}', "utf-8")
    cross, balance = await asyncio.gather(floor.run("ma_cross", "--replay"), floor.rebalance())
    assert (cross.status, balance.status, balance.out) == (0, 0, "")
    (floor.folder / "weights.json").write_text('{"btc": 20, "eth": 80}', "utf-8")
    (floor.folder / "plan.json").unlink()
    assert (await floor.rebalance()).out.count("published") == 2
    await floor.settled(len(replayed) + 2, status="duplicate")
    assert len(floor.sandbox.orders) == orders
