"""Settings that change under a running consumer: the real process, a real RabbitMQ, a real HTTP server (contract 4)."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from pamqp.commands import Basic

from signalq.names import Names
from tests.support.amqp import depth, drain, publish_all
from tests.support.broker import Broker
from tests.support.consumer import Consumer
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

SETTINGS = {
    "webhook.connect_timeout_s": 2,
    "webhook.timeout_s": 3,
    "delivery.drain_timeout_s": 8,
    "delivery.open_max_age_s": 600,
    "delivery.exit_max_age_s": 600,
}
ORDERS = 600
ROTATIONS = 3


class Desk:
    """A folder with a settings file and a token file in it, and the consumer that has them."""

    def __init__(self, folder: Path, broker: Broker, names: Names, hook: Webhook) -> None:
        self.folder, self.broker, self.names, self.hook = folder, broker, names, hook
        self.file = folder / "signalq.toml"
        (folder / "token").write_text("token-1", "utf-8")
        self.write()
        self.consumer = self.new_consumer("-m", "signalq", "--config", str(self.file), "consume")

    def new_consumer(self, *command: str) -> Consumer:
        """A consumer by this command."""
        return Consumer(self.broker.url, self.names.prefix, self.hook.url, SETTINGS, command=command)

    def write(self, *lines: str, token: str | None = None) -> None:
        """Write the settings file: a connector with this token, or the one in the token file, and these lines."""
        secret = f'token = "{token}"' if token is not None else f'token_file = "{self.folder / "token"}"'
        self.file.write_text("\n".join(["[connectors.main]", 'lane = "shared"', secret, *lines]), "utf-8")

    async def publish(self, *names: str) -> None:
        """Opens of the connector `main`, which bring no token."""
        now_ms = time.time_ns() // 1_000_000
        messages = [
            (
                json.dumps({"connectorName": "main", "action": "openLong", "percent": "1", "log": name}).encode(),
                Basic.Properties(delivery_mode=2, message_id=name, headers={"signalq-created-ms": now_ms}),
            )
            for name in names
        ]
        await publish_all(self.broker.url, "", self.names.orders, messages)

    async def says(self, event: str, count: int = 1) -> dict[str, object]:
        """Wait until this was logged so often; the last line."""
        found = self.consumer.events
        await wait_until(lambda: len(found(f"settings.{event}")) >= count, what=f"{count} settings.{event}")
        return found(f"settings.{event}")[-1]

    @property
    def tokens(self) -> list[str]:
        """The tokens of the POSTs, in their order."""
        return [order.json["connectorToken"] for order in self.hook.orders]


@pytest_asyncio.fixture
async def desk(tmp_path: Path, broker: Broker, names: Names, webhook: Webhook) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path, broker, names, webhook)
    async with desk.consumer:
        await desk.consumer.started()
        yield desk
        log = desk.consumer.log
        assert not any(token in log for token in ("token-1", "token-2", "token-3", "token-4"))


async def test_a_token_that_is_rotated_in_its_file_is_used_and_never_logged(desk: Desk) -> None:
    await desk.publish("a")
    await desk.hook.received(1)
    (desk.folder / "token").write_text("token-2", "utf-8")
    assert (await desk.says("reloaded"))["keys"] == "connectors.main.token"
    await desk.publish("b by token-2")
    await desk.hook.received(2)
    assert desk.tokens == ["token-1", "token-2"]
    await wait_until(lambda: desk.consumer.events("intent.settled", intent_id="b by ***"), what="the end of b")


async def test_sighup_applies_the_file_and_says_so_also_if_nothing_is_new(desk: Desk) -> None:
    desk.consumer.signal(signal.SIGHUP)
    assert "hold already" in str((await desk.says("unchanged"))["why"])
    desk.write("[connectors.second]", 'lane = "shared"', 'token = "token-3"')
    desk.consumer.signal(signal.SIGHUP)
    assert (await desk.says("reloaded"))["keys"] == "connectors.second"


async def test_an_order_that_waits_goes_out_with_the_new_token(desk: Desk) -> None:
    """One between attempts, and one queued behind it."""
    desk.hook.behave(
        lambda order: Answer(200 if order.json["connectorToken"] == "token-2" else 429, headers={"Retry-After": "3"})
    )
    await desk.publish("between attempts", "queued")
    await desk.hook.received(1)
    (desk.folder / "token").write_text("token-2", "utf-8")
    await desk.says("reloaded")
    await wait_until(lambda: len(desk.consumer.events("intent.settled", status="delivered")) == 2)
    assert desk.tokens[-2:] == ["token-2", "token-2"]
    assert set(desk.tokens[:-2]) == {"token-1"}


async def test_an_order_whose_token_is_gone_is_dead_and_says_why(desk: Desk) -> None:
    desk.hook.script(Answer(429, headers={"Retry-After": "4"}))
    await desk.publish("a")
    await desk.hook.received(1)
    desk.file.write_text('[connectors.main]\nlane = "shared"\n', "utf-8")
    await desk.says("reloaded")
    (letter,) = await drain(desk.broker.url, desk.names.dead, 1)
    assert letter.headers["signalq-reason"] == "invalid"
    assert "settings have changed while it waited" in str(letter.headers["signalq-detail"])
    assert len(desk.hook.orders) == 1


async def test_under_load_a_rotation_by_symlink_and_by_file_loses_doubles_and_drops_nothing(desk: Desk) -> None:
    """As Kubernetes swaps what is mounted; meanwhile broken files come by."""
    for number in (1, 2, 3, 4):
        version = desk.folder / f"..v{number}"
        version.mkdir()
        (version / "token").write_text(f"token-{number}", "utf-8")
    (desk.folder / "token").unlink()
    (desk.folder / "..data").symlink_to("..v1")
    (desk.folder / "token").symlink_to("..data/token")
    desk.hook.behave(lambda _order: Answer(delay_s=0.002))
    keys = [f"order-{number}" for number in range(ORDERS)]
    part = ORDERS // ROTATIONS
    for rotation in range(ROTATIONS):
        await desk.publish(*keys[rotation * part : (rotation + 1) * part])
        (desk.folder / "..new").symlink_to(f"..v{rotation + 2}")
        (desk.folder / "..new").rename(desk.folder / "..data")
        await desk.says("reloaded", rotation + 1)
        desk.file.write_text("[half", "utf-8")
        await desk.says("refused", rotation + 1)
        desk.write()
        await desk.says("unchanged", rotation + 1)
    await desk.publish("last")
    await desk.hook.received(ORDERS + 1, 60)
    assert [order.json["log"] for order in desk.hook.orders] == [*keys, "last"], "each once, and in order"
    assert desk.tokens == sorted(desk.tokens), "no old token after a new one"
    assert desk.tokens[-1] == f"token-{ROTATIONS + 1}"
    assert Counter(line["status"] for line in desk.consumer.events("intent.settled"))["delivered"] >= ORDERS
    assert await depth(desk.broker.url, desk.names.dead) == 0


async def test_a_broken_file_is_refused_whole_and_a_change_of_lanes_alone(desk: Desk) -> None:
    desk.file.write_text("[connectors.main\ntoken = ", "utf-8")
    assert "is not TOML" in str((await desk.says("refused"))["why"])
    await desk.publish("a")
    await desk.hook.received(1)
    assert desk.tokens == ["token-1"]
    desk.file.write_text('[connectors.main]\ntoken = "token-2"\n[connectors.second]\n', "utf-8")
    why = str((await desk.says("refused", 2))["why"])
    assert 'connectors.main.lane stays "shared"' in why
    assert "connectors.second is new" in why
    await desk.says("reloaded")
    await desk.publish("b")
    await desk.hook.received(2)
    assert desk.tokens == ["token-1", "token-2"], "the token of a connector in the same file is applied"
    assert (await desk.consumer.get("/readyz"))[0] == 200


async def test_a_setting_that_takes_a_restart_is_named_and_the_rest_applied(desk: Desk) -> None:
    desk.write("[delivery]", "attempts_max = 3", token="token-2")
    assert (await desk.says("need_restart"))["keys"] == "delivery.attempts_max"
    assert (await desk.says("reloaded"))["keys"] == "connectors.main.token"


async def test_a_connector_that_is_new_is_a_label_of_the_metrics(desk: Desk) -> None:
    desk.hook.behave(Answer(400))
    desk.write("[connectors.second]", 'lane = "shared"')
    await desk.says("reloaded")
    body = json.dumps({"connectorName": "second", "connectorToken": "t", "action": "buy", "percent": "1"}).encode()
    await publish_all(desk.broker.url, "", desk.names.orders, [(body, Basic.Properties(message_id="x"))])
    await wait_until(lambda: desk.consumer.events("intent.settled"))
    assert await desk.consumer.metric("signalq_attempts_total", connector="second", certainty="refused") == 1


async def test_the_file_that_the_environment_names_is_read_again(
    tmp_path: Path, broker: Broker, names: Names, webhook: Webhook
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[connectors.main]\nlane = "shared"\n', "utf-8")
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS | {"config": file}) as consumer:
        await consumer.started()
        file.write_text('[connectors.main]\nlane = "shared"\nspot_sell_is_exit = true\n', "utf-8")
        (line,) = await wait_until(lambda: consumer.events("settings.reloaded"))
        assert line["keys"] == "connectors.main.spot_sell_is_exit"


async def test_a_consumer_says_where_orders_go_from_now_on(
    tmp_path: Path, broker: Broker, names: Names, webhook: Webhook
) -> None:
    file = tmp_path / "signalq.toml"
    file.write_text('[connectors.main]\nlane = "shared"\n', "utf-8")
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS | {"config": file}) as consumer:
        await consumer.started()
        file.write_text('[connectors.main]\nlane = "shared"\nurl = "http://localhost:1/x"\n', "utf-8")
        await wait_until(lambda: consumer.events("settings.reloaded"))
        (line,) = consumer.events("environment.changed")
        assert line["environment"] == "127.0.0.1; localhost for main"


async def test_without_a_settings_file_sighup_says_so(broker: Broker, names: Names, webhook: Webhook) -> None:
    async with Consumer(broker.url, names.prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        consumer.signal(signal.SIGHUP)
        (line,) = await wait_until(lambda: consumer.events("settings.unchanged"))
        assert "no settings file" in line["why"]


async def test_sighups_while_it_starts_and_while_it_ends_do_not_kill_it(desk: Desk) -> None:
    """From the moment when our code runs: before, it is Python that starts."""
    consumer = desk.new_consumer("-m", "signalq", "--config", str(desk.file), "consume")
    async with consumer:
        await wait_until(lambda: _ignores_hang_ups(consumer.pid), what="SIGHUP to be ignored or followed")

        def hung_up() -> bool:
            consumer.signal(signal.SIGHUP)
            return consumer.exit_code is not None or bool(consumer.events("service.started"))

        await wait_until(hung_up, what="its start")
        assert consumer.exit_code is None
        consumer.signal(signal.SIGTERM)
        await wait_until(lambda: consumer.exit_code is not None or consumer.signal(signal.SIGHUP), what="its end")
        assert consumer.exit_code == 0


def _ignores_hang_ups(pid: int) -> bool:
    """Whether SIGHUP is ignored or caught by a process, as the kernel says it."""
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    masks = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith(("SigIgn:", "SigCgt:"))]
    return any(mask >> (signal.SIGHUP - 1) & 1 for mask in masks)
