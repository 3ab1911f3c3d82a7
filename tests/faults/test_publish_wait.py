"""`signalq publish --wait` while its broker dies; its link breaks in the test of this name of the integration tests."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.integration.commands.test_publish_wait import SETTINGS, numbered, outcomes, posted
from tests.support.amqp import depth
from tests.support.broker import Broker, through, written_down
from tests.support.commands import TIMEOUT_S, ended, start
from tests.support.consumer import Consumer
from tests.support.proxy import Proxy
from tests.support.webhook import Answer, Webhook


@pytest.mark.long
async def test_a_broker_killed_while_outcomes_are_waited_for_costs_no_order_and_no_outcome(
    mortal_broker: PrivateRabbitMQ, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = Names("waited")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", mortal_broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", names.prefix)
    webhook.behave(Answer(delay_s=0.02))
    path = numbered(tmp_path / "orders.jsonl", 60)
    settings = SETTINGS | {"delivery.open_max_age_s": 600}
    async with Consumer(mortal_broker.url, names.prefix, webhook.url, settings) as consumer:
        await consumer.started()
        await written_down(mortal_broker, *(queue.name for queue in Topology(names).queues()))
        process = await start("publish", "--wait", "--json", str(path))
        await webhook.received(10)
        await asyncio.to_thread(mortal_broker.kill)
        await asyncio.to_thread(mortal_broker.start)
        ran = await ended(process, timeout_s=3 * TIMEOUT_S)
    assert ran.status == 0, ran.err
    assert sorted(row["line"] for row in ran.rows) == list(range(1, 61))
    assert outcomes(ran) == {"delivered": 60}
    assert posted(webhook) == [str(number) for number in range(60)]


@pytest.mark.long
async def test_a_second_ctrl_c_in_the_goodbye_to_a_broker_that_does_not_answer_ends_it(
    broker: Broker, topology: Topology, link: Proxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", topology.names.prefix)
    process = await start("publish", "--wait", "--json", str(numbered(tmp_path / "orders.jsonl", 3)))
    async with asyncio.timeout(TIMEOUT_S):
        while await depth(broker.url, topology.names.orders) != 3:  # noqa: ASYNC110 - only the broker knows
            await asyncio.sleep(0.05)
    link.stall()
    process.send_signal(signal.SIGINT)
    await asyncio.sleep(1)
    process.send_signal(signal.SIGINT)
    assert (await ended(process)).status == 130
