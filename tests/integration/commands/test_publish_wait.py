"""`signalq publish --wait` beside the real consumer: what became of each order, and that nothing is too late."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from signalq.amqp.address import user_of
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.support.amqp import depth, drain
from tests.support.broker import Broker, add_user, delete_user, set_rights, through
from tests.support.commands import TIMEOUT_S, Ran, Signalq, ended, run, start
from tests.support.consumer import Consumer
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.warm import command
from tests.support.webhook import Answer, Hang, Order, Webhook

ONE = ("publish", "--connector", "main", "--token", "t", "--action", "openLong", "--percent", "50")
SETTINGS = {"webhook.connect_timeout_s": 2, "webhook.timeout_s": 3, "delivery.drain_timeout_s": 8}

Consuming = Callable[..., AbstractAsyncContextManager[Consumer]]


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The state folder of these runs."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path / "state" / "signalq" / "publish"


@pytest.fixture
def consuming(broker: Broker, names: Names, webhook: Webhook) -> Consuming:
    """Starts a consumer with further settings."""

    @asynccontextmanager
    async def run(**settings: object) -> AsyncIterator[Consumer]:
        chosen = SETTINGS | {name.replace("__", "."): value for name, value in settings.items()}
        async with Consumer(broker.url, names.prefix, webhook.url, chosen) as consumer:
            await consumer.started()
            yield consumer

    return run


def numbered(path: Path, count: int, **fields: object) -> Path:
    """A file of so many opens, told apart by their `log`."""
    order = {"connectorName": "main", "connectorToken": "t", "action": "buy"} | fields
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(order | {"log": str(number)}) + "\n" for number in range(count))
    return path


def outcomes(ran: Ran) -> dict[str, Any]:
    """The counts of the summary."""
    found: dict[str, Any] = json.loads(ran.err.splitlines()[-1])["outcomes"]
    return {name: count for name, count in found.items() if count}


def posted(webhook: Webhook) -> list[str]:
    """The logs of the orders that came, in their order."""
    return [json.loads(order.body)["log"] for order in webhook.orders]


# ---- what became of it ----


async def test_one_intent_ends_with_what_became_of_it_and_its_exit_status(
    consuming: Consuming, signalq: Signalq, webhook: Webhook
) -> None:
    async with consuming():
        well = await signalq(*ONE, "--wait")
        published, delivered = well.out.splitlines()
        assert published.startswith("published openLong for main, message_id ")
        assert delivered.startswith("delivered in ")
        assert (well.status, well.err) == (0, "")
        webhook.script(Answer(status=400, body=b"no"))
        refused = await signalq(*ONE, "--wait=30", "--json", "--message-id", "id-1")
        (row,) = refused.rows
        assert refused.status == 1
        assert row | {"updated_at": ""} == {
            "line": None,
            "message_id": "id-1",
            "connector": "main",
            "action": "openLong",
            "status": "dead",
            "duplicate": False,
            "reason": "rejected",
            "attempts": 1,
            "http_status": 400,
            "due_at": None,
            "updated_at": "",
        }
        again = await signalq(*ONE, "--wait", "--message-id", "id-1")
        assert again.status == 1
        assert again.out.endswith("duplicate of one that is dead, rejected (HTTP 400) after 1 attempt\n")


async def test_a_file_shows_each_outcome_and_a_second_time_all_are_duplicates(
    consuming: Consuming, signalq: Signalq, webhook: Webhook, tmp_path: Path
) -> None:
    path = numbered(tmp_path / "orders.jsonl", 6)
    webhook.behave(lambda order: Answer(status=400 if json.loads(order.body)["log"] == "2" else 200))
    async with consuming():
        first = await signalq("publish", "--wait", str(path))
        assert first.status == 1
        *lines, summary = first.out.splitlines()
        assert [line.partition(":")[0] for line in lines] == [f"line {number}" for number in range(1, 7)]
        assert lines[2] == "line 3: dead, rejected (HTTP 400) after 1 attempt: buy for main"
        assert summary.startswith("published 6 intents: 5 delivered, 1 dead (1 rejected), in ")
        second = await signalq("publish", "--wait", "--json", str(path))
        assert second.status == 1
        assert outcomes(second) == {"duplicate": 6, "failed": 1}
        assert [row["status"] for row in second.rows] == ["delivered"] * 2 + ["dead"] + ["delivered"] * 3
    assert len(webhook.orders) == 6


async def test_a_delayed_order_is_waited_for_if_it_is_due_in_time_and_counts_as_scheduled_if_not(
    consuming: Consuming, signalq: Signalq, tmp_path: Path, webhook: Webhook
) -> None:
    lines = [
        {"connectorName": "main", "connectorToken": "t", "action": "buy", "log": str(delay), "delaySeconds": delay}
        for delay in (3600, 1)
    ]
    path = tmp_path / "orders.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    async with consuming():
        ran = await signalq("publish", "--wait=20", "--json", str(path))
    assert ran.status == 0, ran.err
    assert outcomes(ran) == {"delivered": 1, "scheduled": 1}
    by_line = {row["line"]: row for row in ran.rows}
    assert (by_line[1]["status"], by_line[2]["status"]) == ("scheduled", "delivered")
    assert by_line[1]["due_at"] > by_line[2]["due_at"] > "2026"
    assert posted(webhook) == ["1"]


@pytest.mark.parametrize("is_waited_for", [False, True])
async def test_a_long_file_kills_its_own_tail_unless_its_outcomes_are_waited_for(
    consuming: Consuming,
    signalq: Signalq,
    webhook: Webhook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_waited_for: bool,
) -> None:
    """40 orders of 50 ms each, which may be 1 s old."""
    monkeypatch.setenv("SIGNALQ_DELIVERY__OPEN_MAX_AGE_S", "1")
    webhook.behave(Answer(delay_s=0.05))
    path = numbered(tmp_path / "orders.jsonl", 40)
    async with consuming(delivery__open_max_age_s=1) as consumer:
        if is_waited_for:
            ran = await signalq("publish", "--wait", "--json", str(path))
            assert ran.status == 0, ran.err
            assert outcomes(ran) == {"delivered": 40}
            assert posted(webhook) == [str(number) for number in range(40)]
        else:
            ran = await signalq("publish", str(path))
            assert ran.status == 0
            assert "--wait holds them back" in ran.err
            await wait_until(lambda: len(consumer.events("intent.settled")) == 40)
            assert consumer.events("intent.settled", reason="expired")


async def test_an_order_that_was_too_late_ends_the_sending_before_the_others_die_too(
    consuming: Consuming, signalq: Signalq, webhook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The webhook is down: each attempt is known not to have been taken."""
    monkeypatch.setenv("SIGNALQ_DELIVERY__OPEN_MAX_AGE_S", "1")
    webhook.behave(Answer(status=429))
    path = numbered(tmp_path / "orders.jsonl", 30)
    async with consuming(delivery__open_max_age_s=1, delivery__attempts_max=1000):
        ran = await signalq("publish", "--wait", "--json", str(path))
    assert ran.status == 1
    assert outcomes(ran) == {"dead": 1, "failed": 1, "reasons": {"expired": 1}}
    sentence = ran.err.splitlines()[0]
    assert sentence.startswith("signalq: line 1 is dead, expired: its connector can't keep up, or its webhook is down")
    assert sentence.endswith(
        f"every outcome up to line 1 is known; go on with `signalq publish --resume --wait=90 {path}`"
    )
    assert json.loads(ran.err.splitlines()[-1])["published"] == 1


# ---- what ends the waiting ----


async def test_no_outcome_in_time_ends_it_and_going_on_orders_each_line_once(
    consuming: Consuming, signalq: Signalq, webhook: Webhook, broker: Broker, topology: Topology, tmp_path: Path
) -> None:
    """Nobody consumes at first."""
    path = numbered(tmp_path / "orders.jsonl", 20)
    ran = await signalq("publish", "--wait=0.5", "--json", str(path))
    assert ran.status == 1
    assert outcomes(ran) == {"unknown": 4, "failed": 4}
    assert ran.err.splitlines()[0] == (
        "signalq: no outcome of line 1 came within 0.5 s (`signalq lanes list` says whether its lane is served): no "
        "outcome is known, 4 intents behind it may still be on the way; go on with "
        f"`signalq publish --resume --wait=0.5 {path}`"
    )
    assert await depth(broker.url, topology.names.orders) == 4
    async with consuming() as consumer:
        # They are told of before the command is there to listen: what comes of them then is a duplicate's.
        await wait_until(lambda: len(consumer.events("intent.settled")) == 4, what="the ends of the first four")
        gone_on = await signalq("publish", "--resume", "--wait", "--json", str(path))
    assert gone_on.status == 0, gone_on.err
    assert outcomes(gone_on) == {"delivered": 16, "duplicate": 4}
    assert posted(webhook) == [str(number) for number in range(20)]


async def test_ctrl_c_ends_the_waiting_and_says_what_is_known_and_how_to_go_on(
    consuming: Consuming, webhook: Webhook, signalq: Signalq, tmp_path: Path
) -> None:
    def answer(order: Order) -> Answer | Hang:
        return Hang() if json.loads(order.body)["log"] == "2" else Answer()

    webhook.behave(answer)
    path = numbered(tmp_path / "orders.jsonl", 8)
    async with consuming():
        process = await start("publish", "--wait", "--json", str(path))
        await webhook.received(3)
        assert process.stdout
        rows = [json.loads(await process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        ran = await ended(process)
        assert [row["status"] for row in (*rows, *ran.rows)][:2] == ["delivered"] * 2
        assert ran.status == 130
        assert {row["status"] for row in ran.rows} == {"unknown"}
        assert ran.err.splitlines()[0].startswith("signalq: stopped by SIGINT: every outcome up to line 2 is known, ")
        assert "go on with `signalq publish --resume --wait=90 " in ran.err
        webhook.behave(Answer())
        gone_on = await signalq("publish", "--resume", "--wait", "--json", str(path))
    assert json.loads(gone_on.err.splitlines()[-1])["skipped_lines"] == 2
    # The one that hung was taken or not: nobody knows, and it is not POSTed again.
    assert posted(webhook) == [str(number) for number in range(8)]
    assert outcomes(gone_on)["failed"] == 1


async def test_one_intent_without_an_outcome_says_how_to_ask_again(signalq: Signalq, topology: Topology) -> None:
    ran = await signalq(*ONE, "--wait=0.3", "--message-id", "id-1")
    assert ran.status == 1
    assert ran.out.splitlines()[1] == "not known"
    assert ran.err == (
        "signalq: it is published, and its outcome is not known yet: `signalq orders show id-1` says what became of "
        "it, and the same command with --message-id id-1 waits again, and orders nothing twice; see `signalq help "
        "outcome-timeout`\n"
    )


async def test_without_the_rights_for_outcomes_nothing_is_sent(
    own_broker: PrivateRabbitMQ,
    topology: Topology,
    signalq: Signalq,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    user = f"user-{uuid.uuid4().hex[:8]}"
    await asyncio.to_thread(add_user, own_broker, user)
    await asyncio.to_thread(set_rights, own_broker, user, "", f"^{topology.names.orders}$", "")
    monkeypatch.setenv("SIGNALQ_BROKER__URL", str(URL(own_broker.url).with_user(user).with_password("password")))
    ran = await signalq(*ONE, "--wait")
    without = await signalq(*ONE)
    await asyncio.to_thread(delete_user, own_broker, user)
    assert (ran.status, ran.out, without.status) == (1, "", 0)
    assert ran.err.startswith(
        "signalq: nothing was sent, no outcome could be waited for: RabbitMQ does not let this user"
    )
    assert ran.err.endswith("; or leave --wait out; see `signalq help outcomes-unavailable`\n")
    assert ran.err.count("\n") == 1
    assert await depth(own_broker.url, topology.names.orders) == 1


async def test_an_outcome_that_a_lost_connection_missed_is_asked_for_and_nothing_is_ordered_twice(
    consuming: Consuming,
    broker: Broker,
    environment: None,
    link: Proxy,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The publisher's connections are cut while an order is at the webhook, and healed once that has ended."""
    path = numbered(tmp_path / "orders.jsonl", 6)
    webhook.script(Answer(), Answer(delay_s=1.0))
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    async with consuming() as consumer:
        process = await start("publish", "--wait", "--json", str(path))
        await webhook.received(2)
        await link.cut(refuse=True)
        await wait_until(lambda: len(consumer.events("intent.settled")) >= 2)
        link.heal()
        async with asyncio.timeout(TIMEOUT_S):
            ran = await ended(process)
    assert ran.status == 0, ran.err
    assert sorted(row["line"] for row in ran.rows) == list(range(1, 7))
    assert outcomes(ran) == {"delivered": 6}
    assert posted(webhook) == [str(number) for number in range(6)]


async def test_ctrl_c_ends_the_waiting_although_the_broker_does_not_answer(
    consuming: Consuming,
    broker: Broker,
    environment: None,
    link: Proxy,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    webhook.behave(Answer(delay_s=0.05))
    path = numbered(tmp_path / "orders.jsonl", 40)
    async with consuming():
        monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
        process = await command("tests.support.brisk", "publish", "--wait", "--json", str(path), environment=os.environ)
        await webhook.received(5)
        link.stall()
        process.send_signal(signal.SIGINT)
        stopped = await ended(process)
        assert stopped.status == 130
        assert "go on with `signalq publish --resume --wait=90 " in stopped.err
        link.heal()
        gone_on = await run("publish", "--resume", "--wait", "--json", str(path))
    assert gone_on.status == 0, gone_on.err
    assert posted(webhook) == [str(number) for number in range(40)]


async def test_outcomes_come_under_the_name_that_the_settings_have_for_the_user(
    broker: Broker, names: Names, webhook: Webhook, signalq: Signalq, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = f'[strategies.bot]\nuser = "{user_of(broker.url)}"\n'
    file = tmp_path / "signalq.toml"
    file.write_text(config, encoding="utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(file))
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS, config=config) as consumer:
        await consumer.started()
        ran = await signalq(*ONE, "--strategy", "of-my-own", "--wait")
    assert ran.status == 0, ran.err
    assert "\ndelivered in " in ran.out


async def test_lines_of_a_pipe_are_waited_for_as_they_come(consuming: Consuming, signalq: Signalq) -> None:
    async with consuming():
        process = await start("publish", "--wait", "--json", "-")
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"connectorName":"main","connectorToken":"t","action":"buy"}\n')
        async with asyncio.timeout(TIMEOUT_S):
            assert json.loads(await process.stdout.readline())["status"] == "delivered"
        ran = await ended(process)
    assert ran.status == 0
    assert outcomes(ran) == {"delivered": 1}


async def test_bodies_are_not_changed_by_the_waiting(
    broker: Broker, topology: Topology, signalq: Signalq, tmp_path: Path
) -> None:
    path = numbered(tmp_path / "orders.jsonl", 1)
    await signalq("publish", "--wait=0.1", str(path))
    await signalq("publish", str(path))
    first, second = await drain(broker.url, topology.names.orders, 2)
    assert (first.body, first.properties.message_id) == (second.body, second.properties.message_id)
