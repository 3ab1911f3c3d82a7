"""examples/shell, as somebody with curl would run it: a real gateway, the broker's real HTTP API, a real consumer."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from signalq.amqp.connection import connect
from signalq.amqp.topology import Topology
from signalq.local import BrokerFailed, Installation, PrivateRabbitMQ
from signalq.names import Names
from signalq.producers.gateway.answers import WEBHOOK_PATH
from tests.support.amqp import depth, drain
from tests.support.broker import Broker
from tests.support.commands import Ran
from tests.support.examples import ROOT, TOKEN, platform, run
from tests.support.gateways import gateway
from tests.support.skipping import skip_outside_ci
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, CutOff, Webhook

FOLDER = ROOT / "examples" / "shell"
OPEN = {"connectorName": "main", "connectorToken": TOKEN, "action": "openLong", "percent": "50"}
BODY = json.dumps(OPEN).encode()
QUICK = {"PAUSE_S": "0"}
# Bytes that a shell would spoil if it let them through its own hands.
AWKWARD = json.dumps(OPEN | {"log": 'a "quoted" $HOME \\ `line`\n% ä'}, ensure_ascii=False).encode() + b"\n"


@pytest.fixture(autouse=True)
def curl() -> None:
    if shutil.which("curl") is None:
        skip_outside_ci("there is no curl here")


async def script(name: str, *arguments: str, stdin: bytes = BODY, **environment: str) -> Ran:
    ran = await run(str(FOLDER / name), *arguments, stdin=stdin, environment=QUICK | environment)
    assert TOKEN not in ran.out + ran.err
    return ran


# ---- the gateway ----


async def by_gateway(url: str, *arguments: str, stdin: bytes = BODY) -> Ran:
    return await script("order-by-gateway.sh", *arguments, stdin=stdin, GATEWAY_URL=url)


async def test_an_order_by_the_gateway_arrives_with_its_bytes_and_a_bad_one_is_told(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with (
        platform(broker.url, prefix) as (sandbox, _),
        gateway(broker.url, prefix, CONNECTORS__MAIN__TOKEN=TOKEN, GATEWAY__PATH_SECRET="s3cret-path-of-16") as front,
    ):
        url = f"{front.url}/s3cret-path-of-16{WEBHOOK_PATH}"
        ran = await by_gateway(url)
        assert (ran.status, ran.out) == (0, ""), ran.err
        order = tmp_path / "an order.json"
        order.write_bytes(AWKWARD)
        assert (await by_gateway(url, str(order))).status == 0
        bodies = [came.body for came in await sandbox.received(2)]
        assert bodies == [{**json.loads(body), "connectorToken": "***"} for body in (BODY, AWKWARD)]

        bad = await by_gateway(url, stdin=json.dumps(OPEN | {"percent": "101"}).encode())
        assert (bad.status, bad.out) == (1, "")
        assert "refused with 400" in bad.err
        assert "must be at most 100" in bad.err
        assert (await by_gateway(f"{front.url}{WEBHOOK_PATH}")).status == 1, "without the path secret"
    for wrong in (("--colour",), ("no-such-file",), ("a", "b")):
        assert (await by_gateway(url, *wrong)).status == 2


async def test_an_order_that_was_not_answered_ok_is_sent_again_with_the_same_bytes(webhook: Webhook) -> None:
    webhook.script(CutOff(reset=True), Answer(status=503))
    ran = await by_gateway(webhook.url, stdin=AWKWARD)
    assert ran.status == 0, ran.err
    assert [came.body for came in webhook.orders] == [AWKWARD] * 3
    assert "answered 000" in ran.err
    assert "answered 503" in ran.err


async def test_an_order_that_the_broker_did_not_confirm_is_published_again_under_the_same_id(
    webhook: Webhook, tmp_path: Path
) -> None:
    """RabbitMQ 4.3 answers 400 where its own confirm does not come, and may have the message all the same."""
    late = b'{"error":"bad_request","reason":"confirm_timeout Timed out waiting for a publisher confirm."}'
    webhook.script(CutOff(), Answer(status=400, body=late), Answer(body=b'{"routed":true}'))
    ran = await script("order-by-broker.sh", "main", CURL_CONFIG=login(tmp_path), BROKER_API=webhook.url)
    assert ran.status == 0, ran.err
    first, *repeats = [came.body for came in webhook.orders]
    assert repeats == [first] * 2
    assert json.loads(first)["properties"]["message_id"] in ran.err


async def test_no_secret_is_among_the_arguments_of_curl(tmp_path: Path) -> None:
    """They are shown to everybody on the machine. A curl of our own notes what it is called with."""
    (tmp_path / "curl").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >>"${0%/*}/seen"\nprintf 400\n', "utf-8")
    (tmp_path / "curl").chmod(0o755)
    (tmp_path / "config").write_text('user = "guest:s3cret-password"\n', "utf-8")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CURL_CONFIG": str(tmp_path / "config")}
    url = f"http://127.0.0.1:9/s3cret-path-of-16{WEBHOOK_PATH}"
    assert (await script("order-by-gateway.sh", GATEWAY_URL=url, **environment)).status == 1
    assert (await script("order-by-broker.sh", "main", **environment)).status == 1
    seen = (tmp_path / "seen").read_text("utf-8")
    assert seen.count("--config") == 3
    assert "s3cret" not in seen
    assert TOKEN not in seen


# ---- the broker's HTTP API ----


@pytest.fixture(scope="module")
def managed_broker(installation: Installation) -> Iterator[PrivateRabbitMQ]:
    """A private node with the management plugin. It is not waited for: with that plugin an orderly stop takes 6 s."""
    with PrivateRabbitMQ(installation, plugins=("rabbitmq_management",), stop_timeout_s=0.1) as running:
        yield running


@pytest_asyncio.fixture
async def queue(managed_broker: PrivateRabbitMQ) -> str:
    """The shared lane of a topology under the default prefix."""
    names = Names()
    async with await connect(managed_broker.url, name="signalq test") as connection:
        await Topology(names).declare(connection)
    return names.orders


def login(folder: Path, password: str = "guest") -> str:  # noqa: S107 - of every private node
    """A file of options for curl."""
    file = folder / f"{password}.curl"
    file.write_text(f'user = "guest:{password}"\n', "utf-8")
    return str(file)


async def test_an_order_by_the_brokers_http_api_is_one_message_with_all_that_the_rules_ask_for(
    managed_broker: PrivateRabbitMQ, queue: str, tmp_path: Path
) -> None:
    settings = {"CURL_CONFIG": login(tmp_path), "BROKER_API": f"{managed_broker.management_url}/api"}
    url = managed_broker.url
    ran = await script("order-by-broker.sh", "main", stdin=AWKWARD, **settings, STRATEGY="desk", BROKER_USER="guest")
    assert (ran.status, ran.out) == (0, ""), ran.err
    (message,) = await drain(url, queue, 1)
    properties = message.properties
    assert (message.body, message.exchange, message.routing_key) == (AWKWARD, "signalq.orders", "main")
    assert (properties.app_id, properties.user_id, properties.delivery_mode) == ("desk", "guest", 2)
    assert properties.message_id is not None
    assert len(properties.message_id) == 32
    assert properties.message_id in ran.err
    created_ms = message.headers["signalq-created-ms"]
    assert isinstance(created_ms, int)
    assert created_ms > 1_700_000_000_000

    # Twice by hand, under one id: the consumer makes one order of it.
    again = {"MESSAGE_ID": "id-7", **settings}
    assert [(await script("order-by-broker.sh", "main", **again)).status for _ in range(2)] == [0, 0]
    async with platform(url, "signalq") as (sandbox, consumer):
        await wait_until(lambda: len(consumer.events("intent.settled")) == 2, what="both to end")
        assert [event["status"] for event in consumer.events("intent.settled")] == ["delivered", "duplicate"]
        assert [came.body for came in sandbox.orders] == [OPEN | {"connectorToken": "***"}]


async def test_an_order_that_the_brokers_http_api_refuses_is_told_and_not_tried_again(
    managed_broker: PrivateRabbitMQ, queue: str, tmp_path: Path
) -> None:
    settings = {"CURL_CONFIG": login(tmp_path), "BROKER_API": f"{managed_broker.management_url}/api"}
    for changed, says in (
        ({"BROKER_PREFIX": "elsewhere"}, "there is no exchange elsewhere.orders"),
        ({"CURL_CONFIG": login(tmp_path, "wrong")}, "refused with 401"),
        ({"BROKER_USER": "somebody"}, "refused with 400"),
    ):
        ran = await script("order-by-broker.sh", "main", **(settings | changed))
        assert (ran.status, ran.out) == (1, ""), says
        assert says in ran.err
        assert "again" not in ran.err
    async with await connect(managed_broker.url, name="signalq test") as connection:
        channel = await connection.channel()
        await channel.declare_exchange("bare.orders", durable=True)
    ran = await script("order-by-broker.sh", "main", **settings, BROKER_PREFIX="bare")
    assert (ran.status, "no queue takes it" in ran.err) == (1, True)
    assert await depth(managed_broker.url, queue) == 0


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [((), {}), (("main",), {"CURL_CONFIG": "/no/such/file"}), (('a"b',), {}), (("main", "no-such-file"), {})],
)
async def test_wrong_usage_is_status_2(arguments: tuple[str, ...], environment: dict[str, str], tmp_path: Path) -> None:
    assert (
        await script("order-by-broker.sh", *arguments, **({"CURL_CONFIG": login(tmp_path)} | environment))
    ).status == 2


def test_the_http_api_listens_on_loopback_only_and_there_is_none_without_the_plugin(
    managed_broker: PrivateRabbitMQ, installation: Installation
) -> None:
    host, _, port = managed_broker.management_url.removeprefix("http://").partition(":")
    assert host == "127.0.0.1"
    listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text("utf-8").splitlines()[1:]]
    assert f"0100007F:{int(port):04X}" in listening
    assert f"00000000:{int(port):04X}" not in listening
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5):
        pass
    with pytest.raises(BrokerFailed, match="rabbitmq_management"):
        _ = PrivateRabbitMQ(installation).management_url
