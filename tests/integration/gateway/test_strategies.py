"""Who may do what, on a broker with one user per strategy (contract 3, fan-in): the real process, a real RabbitMQ."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pamqp.commands import Basic
from yarl import URL

from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from tests.conftest import skip_outside_ci
from tests.support.amqp import Message, depth, drain, publish
from tests.support.broker import Broker, add_user, delete_user, set_rights
from tests.support.commands import Signalq
from tests.support.consumer import Consumer
from tests.support.graveyard import in_ledger
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.webhook import Answer, Webhook

TOKEN = "the-configured-token"
SETTINGS = {"delivery.backoff_base_s": 0.05, "delivery.backoff_max_s": 0.2, "log.level": "debug"}
SHARED = f'[connectors.main]\nlane = "shared"\ntoken = "{TOKEN}"\n[connectors.other]\nlane = "shared"\n'


class Users:
    """Users of the broker, each with the right to publish and no other."""

    def __init__(self, broker: PrivateRabbitMQ) -> None:
        self._broker = broker
        self._suffix = uuid.uuid4().hex[:8]
        self._names: list[str] = []

    def add(self, name: str) -> None:
        self._names.append(self[name])
        add_user(self._broker, self[name])
        set_rights(self._broker, self[name], "^$", r"^(test-[0-9a-f]+\.orders|amq\.default)$", "^$")

    def delete(self) -> None:
        for name in self._names:
            delete_user(self._broker, name)

    def __getitem__(self, name: str) -> str:
        """The broker's user."""
        return f"{name}-{self._suffix}"

    def url(self, name: str) -> str:
        return str(URL(self._broker.url).with_user(self[name]).with_password("password"))


@pytest.fixture(scope="module")
def users(broker: Broker) -> Iterator[Users]:
    """`momentum` and `carry` have a strategy; `stranger` has none."""
    if not isinstance(broker, PrivateRabbitMQ):
        skip_outside_ci("adds users to the broker, which only a private one allows")
    added = Users(broker)
    try:
        for name in ("momentum", "carry", "stranger"):
            added.add(name)
        yield added
    finally:
        added.delete()


class Play:
    """What the tests of one broker prefix do: publish as a user, and look at what became of it."""

    def __init__(self, users: Users, names: Names, url: str) -> None:
        self.users = users
        self.names = names
        self.url = url
        self.letters: dict[str, Message] = {}

    def config(self, **strategies: dict[str, Any]) -> str:
        """`momentum` and `carry` by their users, `labelled` by its label; others instead, where some are given."""
        chosen = strategies or {
            "momentum": {"user": self.users["momentum"], "connectors": ["main"]},
            "carry": {"user": self.users["carry"], "actions": ["closeLong", "cancelAll"]},
            "labelled": {"connectors": ["main"]},
        }
        lines = [SHARED]
        for name, table in chosen.items():
            lines += [f"[strategies.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
        return "\n".join(lines)

    async def send(
        self,
        user: str,
        message_id: str | None,
        *,
        says_user: bool = True,
        app_id: str | None = None,
        headers: dict[str, Any] | None = None,
        straight: bool = False,
        body: bytes | None = None,
        **fields: Any,
    ) -> bytes:
        """Publish an open for `main` as a user; `straight`: to the queue, past the exchange."""
        content = (
            body
            or json.dumps(
                {"connectorName": "main", "action": "openLong", "percent": "5", "log": message_id} | fields
            ).encode()
        )
        properties = Basic.Properties(
            delivery_mode=2,
            message_id=message_id,
            app_id=app_id,
            user_id=self.users[user] if says_user else None,
            headers={"signalq-created-ms": time.time_ns() // 1_000_000} | (headers or {}),
        )
        exchange, key = ("", self.names.orders) if straight else (self.names.orders, "main")
        await publish(self.users.url(user), exchange, key, content, properties)
        return content

    async def dead(self, count: int, timeout_s: float = PATIENCE_S) -> dict[str, Message]:
        """Wait for so many dead letters and take them out; all that were taken so far, by what they say in `log`."""
        await wait_until(lambda: self._has_letters(count), timeout_s, what=f"{count} dead letters")
        for letter in await drain(self.url, self.names.dead):
            self.letters[json.loads(letter.body).get("log")] = letter
        return self.letters

    async def _has_letters(self, count: int) -> bool:
        return (await depth(self.url, self.names.dead) or 0) >= count


@pytest.fixture
def play(users: Users, names: Names, broker: Broker) -> Play:
    return Play(users, names, broker.url)


def is_settled(consumer: Consumer, count: int) -> bool:
    return len(consumer.events("intent.settled")) >= count


async def test_a_strategy_without_the_right_is_unauthorized_on_every_path_and_one_with_it_is_delivered(
    play: Play, webhook: Webhook
) -> None:
    """Immediate, delayed, and straight to the queue; also with every header forged that we know."""
    momentum = play.users["momentum"]
    forged = {"signalq-strategy": "momentum", "signalq-origin-user": momentum, "signalq-intent-id": "x"}
    bad: dict[str, dict[str, Any]] = {
        "missing user_id": {"user": "momentum", "says_user": False, "app_id": "momentum"},
        "a stranger": {"user": "stranger"},
        "a stranger with a label": {"user": "stranger", "app_id": "momentum"},
        "a forged strategy header": {"user": "stranger", "headers": {"signalq-strategy": "momentum"}},
        "forged headers and no user": {"user": "stranger", "says_user": False, "headers": forged},
        "forged headers and a user": {"user": "stranger", "headers": forged},
        "an unknown strategy": {"user": "stranger", "says_user": False, "app_id": "unknown"},
        "nothing at all": {"user": "stranger", "says_user": False},
        "a wrong token": {"user": "momentum", "connectorToken": "another-token"},
        "another connector": {"user": "momentum", "connectorName": "other", "connectorToken": "t"},
        "another action": {"user": "carry"},
        "a labelled one, another connector": {
            "user": "stranger",
            "says_user": False,
            "app_id": "labelled",
            "connectorName": "other",
            "connectorToken": "t",
        },
    }
    good: dict[str, dict[str, Any]] = {
        "its user": {"user": "momentum"},
        "its user, whatever it says": {"user": "momentum", "app_id": "carry", "headers": forged},
        "its user and the token": {"user": "momentum", "connectorToken": TOKEN},
        "an action it may": {"user": "carry", "action": "closeLong"},
        "a label": {"user": "stranger", "says_user": False, "app_id": "labelled"},
        "a label, from a user who is no strategy": {"user": "stranger", "app_id": "labelled"},
    }
    paths: dict[str, dict[str, Any]] = {"at once": {}, "delayed": {"delaySeconds": 2}, "straight": {"straight": True}}
    async with Consumer(play.url, play.names.prefix, webhook.url, SETTINGS, config=play.config()) as consumer:
        await consumer.started()
        for path, how in paths.items():
            for what, case in (bad | good).items():
                given_ = dict(case | how)
                await play.send(given_.pop("user"), f"{what}, {path}", **given_)
        delivered = await webhook.received(len(good) * len(paths), 20)
        letters = await play.dead(len(bad) * len(paths))
        await wait_until(lambda: is_settled(consumer, (len(bad) + len(good)) * len(paths)), what="all settled")
        assert TOKEN not in consumer.log
        assert "another-token" not in consumer.log
    assert sorted(order.json["log"] for order in delivered) == sorted(f"{w}, {p}" for w in good for p in paths)
    assert sorted(letters) == sorted(f"{what}, {path}" for what in bad for path in paths)
    for what, letter in letters.items():
        assert letter.headers["signalq-reason"] == "unauthorized", what
        assert letter.properties.user_id is None, what
        detail = str(letter.headers["signalq-detail"])
        assert "token" not in detail.replace("connectorToken", ""), (what, detail)
        known = letter.headers["signalq-strategy"] in ("carry", "labelled") or what.startswith(
            ("a wrong token", "another connector")
        )
        assert (letter.headers["signalq-intent-id"] == what) is known, "nobody's takes no other's identity"
    assert letters["a stranger, at once"].headers["signalq-origin-user"] == play.users["stranger"]
    assert "signalq-origin-user" not in letters["forged headers and no user, at once"].headers


async def test_a_copy_of_foreign_bytes_is_unauthorized_and_one_of_the_same_bytes_changes_nothing(
    play: Play, webhook: Webhook
) -> None:
    headers = {"signalq-strategy": "momentum", "signalq-origin-user": play.users["momentum"]}
    async with Consumer(play.url, play.names.prefix, webhook.url, SETTINGS, config=play.config()) as consumer:
        await consumer.started()
        delivered = await play.send("momentum", "delivered")
        delayed = await play.send("momentum", "delayed", delaySeconds=3)
        await webhook.received(1)
        for intent_id, content in (("delivered", delivered), ("delayed", delayed)):
            copied = {"says_user": False, "headers": headers | {"signalq-intent-id": intent_id}}
            await play.send("stranger", intent_id, body=content, **copied)
            await play.send("stranger", intent_id, percent="99", log=f"forged {intent_id}", **copied)
        letters = await play.dead(2)
        assert sorted(letters) == ["forged delayed", "forged delivered"]
        assert {letter.headers["signalq-reason"] for letter in letters.values()} == {"unauthorized"}
        await webhook.received(2)
        await play.send("momentum", "the last")
        await webhook.received(3)
    posted = [order.json["log"] for order in webhook.orders]
    assert posted == ["delivered", "delayed", "the last"], "each once, whatever was forged"
    created_ms = in_ledger(play.names.prefix, "SELECT delay_from_ms FROM intents WHERE intent_id = 'delayed'")[0][0]
    assert webhook.orders[1].at_ns >= (created_ms + 3000) * 1_000_000
    rows = in_ledger(play.names.prefix, "SELECT status FROM intents WHERE intent_id IN ('delivered', 'delayed')")
    assert rows == [("delivered",), ("delivered",)]


async def test_a_replay_is_judged_again_and_has_the_sender_that_the_ledger_says(
    play: Play, webhook: Webhook, signalq: Signalq, tmp_path: Path
) -> None:
    config = tmp_path / "signalq.toml"
    config.write_text(play.config(), "utf-8")
    webhook.behave(Answer(status=400, body=b"no"))
    async with Consumer(play.url, play.names.prefix, webhook.url, SETTINGS, config=play.config()) as consumer:
        await consumer.started()
        await play.send("momentum", "rejected")
        await play.send("momentum", "rejected later", delaySeconds=1)
        await play.send("stranger", "unauthorized", app_id="momentum")
        await play.send("momentum", "a wrong token", connectorToken="another-token")
        await wait_until(lambda: is_settled(consumer, 4), what="four dead letters")
        webhook.behave(Answer())
        ran = await signalq("--config", str(config), "dead", "replay", "--all", "--force")
        assert ran.status == 0, ran
        posted = await webhook.received(4)
        letters = await play.dead(2)
        await wait_until(lambda: is_settled(consumer, 8), what="four replays")
    assert sorted(order.json["log"] for order in posted[2:]) == ["rejected", "rejected later"]
    assert sorted(letters) == ["a wrong token", "unauthorized"]
    for letter in letters.values():
        assert letter.headers["signalq-reason"] == "unauthorized"
        assert letter.headers["signalq-generation"] == 2
    origin = letters["unauthorized"].headers["signalq-origin-user"]
    assert origin == play.users["stranger"], "kept in the ledger, and told again"


async def test_a_delayed_one_whose_strategy_lost_its_right_is_unauthorized_under_its_own_id(
    play: Play, webhook: Webhook
) -> None:
    started = play.config()
    async with Consumer(play.url, play.names.prefix, webhook.url, SETTINGS, config=started) as consumer:
        await consumer.started()
        await play.send("momentum", "no connector any more", delaySeconds=5)
        await play.send("carry", "no strategy any more", delaySeconds=5, action="closeLong")
        await play.send("stranger", "a user of its own now", says_user=False, app_id="labelled", delaySeconds=5)
        await play.send("momentum", "renamed", delaySeconds=5, connectorName="main", percent="7")
        await wait_until(lambda: len(consumer.events("intent.scheduled")) == 4, what="all parked")
    changed = play.config(
        sprint={"user": play.users["momentum"], "actions": ["openLong"]}, labelled={"user": "somebody-else"}
    )
    async with Consumer(play.url, play.names.prefix, webhook.url, SETTINGS, config=changed) as consumer:
        await consumer.started()
        letters = await play.dead(2)
        posted = await webhook.received(2)
    assert sorted(letters) == ["a user of its own now", "no strategy any more"]
    for what, letter in letters.items():
        assert letter.headers["signalq-reason"] == "unauthorized"
        assert letter.headers["signalq-intent-id"] == what
    assert letters["no strategy any more"].headers["signalq-origin-user"] == play.users["carry"]
    assert sorted(order.json["log"] for order in posted) == ["no connector any more", "renamed"], "it is its user's"
    statuses = in_ledger(play.names.prefix, "SELECT intent_id, status FROM intents ORDER BY intent_id")
    assert statuses == [
        ("a user of its own now", "dead"),
        ("no connector any more", "delivered"),
        ("no strategy any more", "dead"),
        ("renamed", "delivered"),
    ]


async def test_a_user_id_breaks_no_republish(play: Play, webhook: Webhook) -> None:
    """Through the ladder into its lane, and through a dead letter: by our own user, who may not publish as another."""
    webhook.behave(lambda order: Answer(status=400 if order.json["log"] == "to be dead" else 200))
    async with Consumer(play.url, play.names.prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        await play.send("stranger", "delayed", delaySeconds=2, connectorToken="t")
        await play.send("stranger", "to be dead", delaySeconds=2, connectorToken="t")
        letters = await play.dead(1)
        await webhook.received(2)
        assert not consumer.events("broker.lane_lost")
    headers = letters["to be dead"].headers
    assert (headers["signalq-reason"], headers["signalq-origin-user"]) == ("rejected", play.users["stranger"])
    assert headers["signalq-strategy"] == play.users["stranger"], "without strategies a user is a label, too"
    assert letters["to be dead"].properties.user_id is None
