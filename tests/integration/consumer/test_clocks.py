"""A machine whose clock is set while lanes back off: nothing waits longer for it, and no exit dies of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from pamqp.commands import Basic

from signalq import names as header
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import depth, publish
from tests.support.broker import ExternalBroker
from tests.support.consumer import Consumer
from tests.support.set_clock import FILE
from tests.support.waiting import elapsed
from tests.support.webhook import Answer, Webhook

HOUR_S = 3600
BACKOFF_S = 0.4
# Until the consumer is there again, its own work, and this machine's.
SLACK_S = 1.0
SETTINGS = {"delivery.backoff_base_s": BACKOFF_S, "delivery.backoff_max_s": BACKOFF_S}
DOWN = Answer(status=429)
COMMAND = ("-m", "tests.support.set_clock")


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says how far the consumer's clock is ahead."""
    file = tmp_path / "ahead_s"
    file.write_text("0", "ascii")
    monkeypatch.setenv(FILE, str(file))
    return file


def set_to(file: Path, ahead_s: int) -> None:
    beside = file.with_suffix(".new")
    beside.write_text(str(ahead_s), "ascii")
    beside.replace(file)


async def publish_exit(broker: PrivateRabbitMQ | ExternalBroker, names: Names, log: str, delay_s: float = 0.0) -> None:
    order = {"connectorName": "main", "connectorToken": "t", "action": "closeLong", "percent": "100", "log": log}
    order |= {"delaySeconds": str(delay_s)} if delay_s else {}
    properties = Basic.Properties(
        delivery_mode=2, message_id=log, headers={header.CREATED_MS: time.time_ns() // 1_000_000}
    )
    await publish(broker.url, names.orders, "main", json.dumps(order).encode(), properties)


@pytest.mark.parametrize("ahead_s", [HOUR_S, -HOUR_S], ids=["forth", "back"])
async def test_exits_go_out_within_two_backoffs_of_the_webhooks_recovery_however_the_clock_was_set(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook, clock: Path, ahead_s: int
) -> None:
    """Set while they back off, with and without a restart, and set right again."""
    webhook.behave(DOWN)

    async def recovers(expected: list[str]) -> None:
        before = len(webhook.orders)
        webhook.behave(Answer())
        began = time.monotonic()
        await webhook.received(before + len(expected))
        assert time.monotonic() - began <= 2 * BACKOFF_S + SLACK_S
        assert [order.json["log"] for order in webhook.orders[before:]] == expected
        webhook.behave(DOWN)

    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, command=COMMAND) as consumer:
        await consumer.started()
        await publish_exit(broker, names, "a")
        await publish_exit(broker, names, "b")
        await webhook.received(2)
        set_to(clock, ahead_s)
        await webhook.received(4)
        await recovers(["a", "b"])
        await publish_exit(broker, names, "c")
        await webhook.received(len(webhook.orders) + 2)
        set_to(clock, 0)
        await publish_exit(broker, names, "d")
        await recovers(["c", "d"])
        await publish_exit(broker, names, "e")
        await webhook.received(len(webhook.orders) + 1)
    set_to(clock, ahead_s)
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, command=COMMAND) as consumer:
        await consumer.started()
        await publish_exit(broker, names, "f")
        await recovers(["e", "f"])
        assert await depth(broker.url, names.dead) == 0


async def test_a_delayed_order_goes_out_once_the_clock_is_right_again_and_once_tried_it_does_not_wait_for_that(
    broker: PrivateRabbitMQ | ExternalBroker, names: Names, webhook: Webhook, clock: Path
) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, command=COMMAND) as consumer:
        await consumer.started()
        await publish_exit(broker, names, "set back in its last second", delay_s=1.0)
        await elapsed(0.5)
        set_to(clock, -HOUR_S)
        await elapsed(0.8)
        assert not webhook.orders, "a due time follows the clock"
        set_to(clock, 0)
        await webhook.received(1, 2 * SLACK_S)
        webhook.behave(DOWN)
        await publish_exit(broker, names, "set back while it backs off", delay_s=0.3)
        await webhook.received(2)
        set_to(clock, -HOUR_S)
    webhook.behave(Answer())
    before = len(webhook.orders)
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, command=COMMAND):
        await webhook.received(before + 1)
    assert webhook.orders[before].json["log"] == "set back while it backs off"
    assert await depth(broker.url, names.dead) == 0
