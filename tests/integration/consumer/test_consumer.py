"""The consumer as a whole: the real process, a real RabbitMQ, a real HTTP server (contract 1 to 6).

Most tests share one consumer and take connectors of their own (`stage`); those that stop it, or break something,
run their own.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

import aiormq
import pytest
from pamqp.commands import Basic

from signalq.amqp.topology import Topology
from signalq.consumer.orders.delays import LADDER_SLACK_MS
from signalq.local import PrivateRabbitMQ
from signalq.message.strict_json import BODY_BYTES_MAX
from signalq.names import Names
from signalq.version import __version__
from tests.support.amqp import Message, RawProperties, depth, drain, plain_channel
from tests.support.broker import ExternalBroker, close_connections, written_down
from tests.support.consumer import Consumer
from tests.support.lanes import noted_queues
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.webhook import Answer, Behaviour, CutInTheMiddle, CutOff, EndlessBody, Garbage, Hang, Order, Webhook

T = TypeVar("T")

TOKEN = "token-from-the-message-55d1"
CONFIGURED_TOKEN = "token-from-the-settings-9c04"
WEBHOOK_TIMEOUT_S = 3.0
DRAIN_TIMEOUT_S = 6.0
SETTINGS = {
    "webhook.connect_timeout_s": 2,
    "webhook.timeout_s": WEBHOOK_TIMEOUT_S,
    "delivery.drain_timeout_s": DRAIN_TIMEOUT_S,
    "delivery.backoff_base_s": 0.05,
    "delivery.backoff_max_s": 0.4,
    "log.level": "debug",
}
CONFIG = f"""
[connectors.with-token]
token = "{CONFIGURED_TOKEN}"

[connectors.with-extra-fields]
extra_fields = ["notional", "position", "entryOrder"]

[connectors.taken-not-at-500]
not_taken_statuses = [500]

[connectors.resends-by-id]
resend_when_unknown = "with-client-order-id"

[connectors.says-thanks]
success_body = "Thank You"

[connectors.brief]
open_max_age_s = 2

[connectors.down]
url = "http://127.0.0.1:PORT/hook"
"""


# --- the stage -------------------------------------------------------------------------------------------------------


class Background:
    """An event loop in a thread: what lives longer than one test lives there."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it there and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Stage:
    """A running consumer with its broker and its webhook; every connector is answered as its test says."""

    def __init__(self, url: str, names: Names, hook: Webhook, consumer: Consumer, down_port: int) -> None:
        self.url = url
        self.names = names
        self.hook = hook
        self.consumer = consumer
        self.down_port = down_port
        self._scripts: dict[str, deque[Behaviour]] = defaultdict(deque)
        self._usual: dict[str, Callable[[Order], Behaviour]] = {}
        self._letters: list[Message] = []
        hook.behave(self._react)

    def connector(self, *script: Behaviour, then: Callable[[Order], Behaviour] | None = None) -> str:
        """A connector of this test alone, answered by this script first and then as `then` says (200 ok)."""
        return self.answer(f"c-{uuid.uuid4().hex[:10]}", *script, then=then)

    def answer(self, connector: str, *script: Behaviour, then: Callable[[Order], Behaviour] | None = None) -> str:
        """Answer this connector so; returns its name."""
        self._scripts[connector].extend(script)
        self._usual[connector] = then or (lambda _order: Answer())
        return connector

    def orders(self, *connectors: str) -> list[Order]:
        """What was POSTed for these connectors so far."""
        return [order for order in list(self.hook.orders) if order.connector in connectors]

    async def posted(self, count: int, *connectors: str, timeout_s: float = PATIENCE_S) -> list[Order]:
        """Wait for `count` POSTs for these connectors."""
        await wait_until(lambda: len(self.orders(*connectors)) >= count, timeout_s, what=f"{count} POSTs")
        return self.orders(*connectors)

    async def settled(self, count: int, *connectors: str, timeout_s: float = PATIENCE_S) -> list[dict[str, Any]]:
        """Wait until `count` intents of these connectors have ended; their log lines."""

        def ended() -> list[dict[str, Any]]:
            return [line for line in self.consumer.events("intent.settled") if line["connector"] in connectors]

        await wait_until(lambda: len(ended()) >= count, timeout_s, what=f"{count} endings of {connectors}")
        return ended()

    async def letters(self, count: int, *connectors: str, timeout_s: float = PATIENCE_S) -> list[Message]:
        """Wait for `count` dead letters of these connectors."""

        async def taken() -> list[Message] | None:
            found = await self.letters_so_far(*connectors)
            return found if len(found) >= count else None

        return await wait_until(taken, timeout_s, what=f"{count} dead letters of {connectors}")

    async def letter(self, connector: str) -> Message:
        """Wait for the one dead letter of this connector."""
        (letter,) = await self.letters(1, connector)
        return letter

    async def letters_so_far(self, *connectors: str) -> list[Message]:
        """The dead letters of these connectors; those of others are kept for later."""
        self._letters += await drain(self.url, self.names.dead)
        return [letter for letter in self._letters if letter.headers["signalq-connector"] in connectors]

    async def publish(self, body: bytes, properties: Basic.Properties | None = None) -> None:
        """Publish straight to the queue of the shared lane."""
        await publish_many(self.url, "", self.names.orders, [(body, properties or persistent())])

    def _react(self, order: Order) -> Behaviour:
        script = self._scripts[order.connector]
        usual = self._usual.get(order.connector, lambda _order: Answer())
        return script.popleft() if script else usual(order)


class WebhookAt(Webhook):
    """The webhook on a port that was chosen before."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        return self


@pytest.fixture(scope="module")
def stage(broker: PrivateRabbitMQ | ExternalBroker) -> Iterator[Stage]:
    """One consumer for most tests of this file."""
    names = Names(f"test-{uuid.uuid4().hex[:12]}")
    background = Background()
    hook = background.run(Webhook().__aenter__())
    down_port = free_port()
    consumer = Consumer(broker.url, names.prefix, hook.url, SETTINGS, config=CONFIG.replace("PORT", str(down_port)))
    try:
        consumer.start()
        asyncio.run(consumer.started())
        yield Stage(broker.url, names, hook, consumer, down_port)
        asyncio.run(consumer.end())
    finally:
        consumer.close()
        background.run(hook.__aexit__(None, None, None))
        background.close()
        asyncio.run(delete_topology(broker.url, names))


async def delete_topology(url: str, names: Names) -> None:
    topology = Topology(names)
    async with plain_channel(url) as channel:
        for queue in [*(queue.name for queue in topology.queues()), *noted_queues(names.prefix)]:
            await channel.queue_delete(queue, timeout=10)
        for exchange in topology.exchanges():
            await channel.exchange_delete(exchange.name, timeout=10)


def free_port() -> int:
    """A port on which nothing listens; below those that Linux gives to outgoing connections."""
    while True:
        port = random.randint(15_000, 19_999)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def body_for(connector: str, **fields: object) -> bytes:
    """A body with its connector, a token and an action; None leaves a field out."""
    whole = {"connectorName": connector, "connectorToken": TOKEN, "action": "openLong"} | fields
    return json.dumps({name: value for name, value in whole.items() if value is not None}).encode()


def persistent(message_id: str | None = None, **properties: Any) -> Basic.Properties:
    """Properties of a plain AMQP client."""
    return Basic.Properties(delivery_mode=2, message_id=message_id, **properties)


def created(at_ms: int, message_id: str | None = None) -> Basic.Properties:
    """Properties that say when the intent was created."""
    return persistent(message_id, headers={"signalq-created-ms": at_ms})


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def publish_many(
    url: str, exchange: str, routing_key: str | None, messages: Sequence[tuple[bytes, Basic.Properties]]
) -> None:
    """Publish in this order without waiting for each confirm; no routing key: that of each body's connector."""
    async with plain_channel(url) as channel, asyncio.timeout(30):
        await asyncio.gather(
            *(
                channel.basic_publish(
                    body,
                    exchange=exchange,
                    routing_key=json.loads(body)["connectorName"] if routing_key is None else routing_key,
                    properties=properties,
                    mandatory=True,
                )
                for body, properties in messages
            )
        )


def by_connector(orders: Sequence[Order], field: str = "log") -> dict[str, list[Any]]:
    """One field of the orders that were POSTed, in their order, per connector."""
    found: dict[str, list[Any]] = defaultdict(list)
    for order in orders:
        found[order.connector].append(order.json[field])
    return dict(found)


# --- what comes in is what goes out ----------------------------------------------------------------------------------


@pytest.mark.bare_prefix
async def test_with_nothing_configured_a_plain_amqp_clients_order_reaches_the_webhook_as_it_is(
    broker: PrivateRabbitMQ | ExternalBroker, prefix: str, webhook: Webhook
) -> None:
    seed = (
        b'{"log":"Buy","action":"buy","percent":"100","connectorName":"YOUR_CONNECTOR","connectorToken":"YOUR_TOKEN"}'
    )
    async with Consumer(broker.url, prefix, webhook.url, is_cold=True) as consumer:
        await consumer.started()
        await publish_many(broker.url, "", f"{prefix}.orders", [(seed, Basic.Properties())])
        (order,) = await webhook.received(1)
        assert order.body == seed
        assert (order.method, order.headers["content-type"]) == ("POST", "application/json")
        await wait_until(lambda: consumer.events("intent.settled", status="delivered"))
    assert await depth(broker.url, f"{prefix}.orders") == 0
    assert await depth(broker.url, f"{prefix}.dead") == 0


async def test_the_exchange_takes_orders_by_their_connectors_name(stage: Stage) -> None:
    connector = stage.connector()
    await publish_many(stage.url, stage.names.orders, None, [(body_for(connector), persistent())])
    assert len(await stage.posted(1, connector)) == 1


async def test_the_delay_and_its_filter_are_not_forwarded_and_numbers_go_out_as_strings_with_their_digits(
    stage: Stage,
) -> None:
    connector = stage.connector()
    head = f'{{"connectorName":"{connector}","connectorToken":"t",'.encode()
    await stage.publish(
        head + b'"action":"openLong","fixed":0.10,"limit":1e3,"profit":"64000.50","log":"enter \\u00e9 \\ud83d\\ude80",'
        b'"clientOrderId":"x","delaySeconds":0.01,"delaySecondsFilter":"enter"}'
    )
    (order,) = await stage.posted(1, connector)
    assert (
        order.body
        == head
        + '"action":"openLong","fixed":"0.10","limit":"1000","profit":"64000.50",'
        '"log":"enter é 🚀","clientOrderId":"x"}'.encode()
    )


async def test_400_orders_over_20_connectors_are_each_posted_once_and_per_connector_in_order(stage: Stage) -> None:
    dice = random.Random(1)
    connectors = [stage.connector(then=lambda _: Answer(delay_s=dice.uniform(0, 0.03))) for _ in range(20)]
    bodies = [body_for(connectors[number % 20], log=str(number)) for number in range(400)]
    await publish_many(stage.url, "", stage.names.orders, [(body, persistent()) for body in bodies])
    await stage.settled(400, *connectors, timeout_s=30)
    expected = {connector: [str(number) for number in range(at, 400, 20)] for at, connector in enumerate(connectors)}
    assert by_connector(stage.orders(*connectors)) == expected
    assert await stage.letters_so_far(*connectors) == []


async def test_connectors_of_the_shared_lane_do_not_wait_for_one_whose_webhook_hangs(stage: Stage) -> None:
    hanging, quick = stage.connector(Hang()), stage.connector()
    await publish_many(
        stage.url,
        "",
        stage.names.orders,
        [(body_for(hanging), persistent()), *[(body_for(quick, log=str(n)), persistent()) for n in range(20)]],
    )
    await stage.settled(20, quick)
    assert not stage.consumer.events("intent.settled", connector=hanging), "it still hangs while they are through"
    await stage.letter(hanging)


# --- delays ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delayed:
    """What the test below publishes: a delay in ms, from one common moment."""

    connector: str
    number: int
    delay_ms: int


async def test_300_delayed_orders_come_on_time_and_in_order_and_hold_up_none_of_300_immediate_ones(
    stage: Stage,
) -> None:
    slow, quick = [[stage.connector() for _ in range(10)] for _ in range(2)]
    delays = [Delayed(slow[n % 10], n, 300 * (1 + (7 * n // 10) % 10)) for n in range(300)]
    base_ms = now_ms()
    messages = []
    for delayed in delays:
        fields = {"log": str(delayed.number), "delaySeconds": delayed.delay_ms / 1000}
        messages.append((body_for(delayed.connector, **fields), created(base_ms, f"delayed {delayed.number}")))
        messages.append((body_for(quick[delayed.number % 10], log=str(delayed.number)), persistent()))
    await publish_many(stage.url, "", stage.names.orders, messages)
    await stage.settled(600, *slow, *quick, timeout_s=30)

    due_ms = {str(delayed.number): base_ms + delayed.delay_ms for delayed in delays}
    early = [order for order in stage.orders(*slow) if order.at_ns < due_ms[order.json["log"]] * 1_000_000]
    assert early == []
    last_quick, last_slow = (max(order.at_ns for order in stage.orders(*which)) for which in (quick, slow))
    assert last_quick < last_slow, "immediate ones are through before the last delayed one"
    # One that the machine brought back too late takes its place then; the others take it by due time.
    on_time = numbers_back_on_time(stage, due_ms)
    in_order = sorted(delays, key=lambda delayed: (delayed.delay_ms, delayed.number))
    for connector in slow:
        expected = [str(delayed.number) for delayed in in_order if delayed.connector == connector]
        posted = [order.json["log"] for order in stage.orders(connector)]
        assert sorted(posted) == sorted(expected)
        assert [number for number in posted if number in on_time] == [n for n in expected if n in on_time]
    assert by_connector(stage.orders(*quick)) == {
        connector: [str(n) for n in range(at, 300, 10)] for at, connector in enumerate(quick)
    }


def numbers_back_on_time(stage: Stage, due_ms: dict[str, int]) -> set[str]:
    """Which of them were back in their lane before they were due, as the log tells."""
    last_ms: dict[str, float] = {}
    for line in stage.consumer.events("intent.received"):
        at_ms = datetime.fromisoformat(line["timestamp"]).timestamp() * 1000
        last_ms[line["intent_id"].removeprefix("delayed ")] = at_ms
    return {number for number, at_ms in due_ms.items() if last_ms[number] < at_ms}


async def test_equal_due_times_keep_the_order_of_publishing_when_a_second_passes_between_them(stage: Stage) -> None:
    """The first ten are parked for a second longer than the last ten: they must not come back behind them.

    An order that a busy machine's ladder hands back after its due time can't wait for the others any more: those that
    are in their lane in time are in order, and the ladder has some rounds to bring all back in time.
    """
    for round_ in range(8):
        connector, due_ms = await twenty_with_one_due_time(stage, round_)
        on_time = numbers_back_on_time(stage, due_ms)
        posted = [order.json["log"] for order in stage.orders(connector)]
        numbers = list(due_ms)
        assert sorted(posted) == numbers
        assert [number for number in posted if number in on_time] == [number for number in numbers if number in on_time]
        if posted == numbers:
            return
    pytest.fail("in no round were all in order")


async def twenty_with_one_due_time(stage: Stage, round_: int) -> tuple[str, dict[str, int]]:
    """Publish ten, and ten more once a whole second less remains for the ladder; return once they are settled."""
    connector = stage.connector()
    due_ms = now_ms() + 3_900  # so the first ten are back 0.9 s before they are due, the last ten 1.1 s
    numbers = [f"{round_}-{number:02}" for number in range(20)]
    async with plain_channel(stage.url) as channel:
        for ten in (numbers[:10], numbers[10:]):
            for number in ten:
                body = body_for(connector, log=number, delaySeconds=10)
                properties = created(due_ms - 10_000, f"delayed {number}")
                await channel.basic_publish(body, routing_key=stage.names.orders, properties=properties, mandatory=True)
            await asyncio.sleep(max(0, due_ms - 3_000 - LADDER_SLACK_MS - now_ms()) / 1000)
    await stage.settled(20, connector)
    return connector, dict.fromkeys(numbers, due_ms)


async def test_a_delay_counts_from_the_creation_and_from_the_end_of_a_whole_second(stage: Stage) -> None:
    by_ms, by_second = stage.connector(), stage.connector()
    created_ms = now_ms() - 5_000
    second = datetime.now(UTC).replace(microsecond=0)
    await asyncio.gather(
        stage.publish(body_for(by_ms, delaySeconds=6), created(created_ms)),
        stage.publish(body_for(by_second, delaySeconds=2), persistent(timestamp=second)),
    )
    (first,) = await stage.posted(1, by_ms)
    (second_order,) = await stage.posted(1, by_second)
    assert first.at_ns >= (created_ms + 6_000) * 1_000_000
    due = datetime.fromisoformat(stage.consumer.events("intent.scheduled", connector=by_second)[0]["due_at"])
    posted_at = datetime.fromtimestamp(second_order.at_ns / 1e9, tz=UTC)
    assert second + timedelta(seconds=2) < due <= posted_at
    assert posted_at - due < timedelta(seconds=0.9), "the due time that was announced is the one that holds"


async def test_a_delay_survives_the_kill_of_the_consumer_and_what_is_overdue_comes_in_order_of_due_time(
    broker: PrivateRabbitMQ | ExternalBroker, prefix: str, webhook: Webhook
) -> None:
    base_ms = now_ms()
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        base_ms = now_ms()
        delays_ms = [2_900, 2_100, 2_500, 2_300, 2_700, 5_000]
        bodies = [(body_for("main", log=str(ms), delaySeconds=ms / 1000), created(base_ms)) for ms in delays_ms]
        await publish_many(broker.url, "", f"{prefix}.orders", bodies)
        await wait_until(lambda: len(consumer.events("intent.scheduled")) == len(delays_ms))
        consumer.kill()
        assert await consumer.exited() != 0
    await wait_until(lambda: now_ms() > base_ms + 3_000, what="five of them to be overdue")
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as successor:
        await successor.started()
        orders = await webhook.received(len(delays_ms))
        assert [order.json["log"] for order in orders] == [str(ms) for ms in sorted(delays_ms)]
        assert orders[-1].at_ns >= (base_ms + 5_000) * 1_000_000
        await wait_until(lambda: len(successor.events("intent.settled")) == len(delays_ms))


# --- what is refused -------------------------------------------------------------------------------------------------


SECRET_VALUE = "must-not-be-quoted"


def bad(**fields: object) -> bytes:
    """A body that is right but for these fields."""
    return body_for("bad-bodies", **fields)


BAD_BODIES: list[tuple[str, bytes, list[str]]] = [
    ("an empty body", b"", ["empty"]),
    ("bytes that are no text", bytes(range(256)), ["not UTF-8"]),
    ("UTF-16", bad().decode().encode("utf-16"), ["not UTF-8"]),
    ("a byte-order mark", b"\xef\xbb\xbf" + bad(), ["byte-order mark"]),
    ("text", b"buy 100 " + SECRET_VALUE.encode(), ["not JSON"]),
    ("half an object", bad(log=SECRET_VALUE)[:-2], ["not JSON"]),
    ("two objects", bad() + bad(), ["not JSON"]),
    ("a list", b"[" + bad() + b"]", ["not an object"]),
    ("a string", b'"must-not-be-quoted"', ["not an object"]),
    ("null", b"null", ["not an object"]),
    ("70 KB", bad(log="x" * 70_000), ["bytes", str(BODY_BYTES_MAX)]),
    ("deep nesting", b'{"connectorName":' + b"[" * 30_000 + b"]" * 30_000 + b"}", ["more than 64 values"]),
    ("a key twice", bad()[:-1] + b',"action":"buy"}', ["action: is there more than once"]),
    ("NaN", bad()[:-1] + b',"fixed":NaN}', ["NaN"]),
    ("Infinity", bad()[:-1] + b',"fixed":-Infinity}', ["Infinity"]),
    ("a lone surrogate", bad()[:-1] + b',"log":"\\ud800"}', ["log", "lone surrogate"]),
    ("nothing in it", b"{}", ["connectorName: is missing", "connectorToken: is missing", "action: is missing"]),
    ("nulls", bad(action=None)[:-1] + b',"action":null}', ["action: is missing"]),
    ("an unknown action", bad(action=SECRET_VALUE), ["action: must be one of buy, sell"]),
    ("the wrong case", bad(action="BUY"), ["action: must be one of"]),
    ("a misspelt field", bad(percnt="50"), ["percnt", "the nearest is percent"]),
    ("Python's names", bad(connector_name="x"), ["connector_name", "the nearest is connectorName"]),
    ("several at once", bad(fixed="-1", percent="101", limit=SECRET_VALUE), ["fixed", "percent", "limit"]),
    ("an exponent in a string", bad(fixed="1e3"), ["fixed: must be a decimal number"]),
    ("zero", bad(percent=0), ["percent: must be greater than 0"]),
    ("a boolean", bad(fixed=True), ["fixed"]),
    ("a stop for a spot order", bad(action="buy", profit="1", loss="2"), ["profit: is only for", "loss: is only for"]),
    ("cancel without an id", bad(action="cancel"), ["clientOrderId: is needed"]),
    ("a delay that is none", bad(delaySeconds="soon"), ["delaySeconds: must be a number"]),
    ("a delay below zero", bad(delaySeconds=-1), ["delaySeconds: must be between"]),
    ("a delay beyond the limit", bad(delaySeconds=604_801), ["delaySeconds: must be between 0 and 604800"]),
    ("no token", bad(connectorToken=None), ["connectorToken: is missing"]),
    ("a token that is no string", bad(connectorToken=12), ["connectorToken: must be a string"]),
    ("a name with a control character", body_for("a\x1b[2J"), ["connectorName: must not hold control"]),
    ("a name too long", body_for("é" * 65), ["connectorName: must have 1 to 128 bytes"]),
]


async def test_every_refused_body_lies_unchanged_in_the_dead_letters_with_every_bad_field_named(stage: Stage) -> None:
    messages = [(body, persistent(f"bad {number}")) for number, (_, body, _) in enumerate(BAD_BODIES)]
    await publish_many(stage.url, "", stage.names.orders, messages)
    letters = await stage.letters(len(BAD_BODIES), "bad-bodies", "é" * 65, stage.names.orders)
    by_id = {letter.properties.message_id: letter for letter in letters}
    for number, (what, body, named) in enumerate(BAD_BODIES):
        letter = by_id[f"bad {number}"]
        detail = str(letter.headers["signalq-detail"])
        assert letter.body == body, what
        assert letter.headers["signalq-reason"] == "invalid", what
        assert [name for name in named if name not in detail] == [], (what, detail)
        assert SECRET_VALUE not in detail, what
        assert TOKEN not in detail, what
        assert detail.isprintable(), what
    assert not any(order.connector == "bad-bodies" for order in stage.hook.orders)


async def test_a_dead_letter_has_all_its_headers_and_keeps_what_its_producer_set(stage: Stage) -> None:
    connector = stage.connector(Answer(status=400, body=b"no"))
    stamp = datetime.now(UTC).replace(microsecond=0)
    properties = persistent(
        "id-1",
        app_id="momentum",
        timestamp=stamp,
        user_id="guest",
        expiration="600000",
        correlation_id="corr",
        content_type="application/json",
        headers={
            "signalq-created-ms": now_ms(),
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "mine": {"nested": [1, "zwei", True]},
            "x-death": [{"count": 1, "reason": "expired", "queue": "q", "exchange": ""}],
            "x-first-death-queue": "q",
            "signalq-reason": "forged",
            "signalq-attempts": 99,
        },
    )
    before = datetime.now(UTC)
    await stage.publish(body_for(connector), properties)
    letter = await stage.letter(connector)
    kept = letter.properties
    assert (kept.message_id, kept.app_id, kept.timestamp, kept.correlation_id, kept.delivery_mode) == (
        "id-1",
        "momentum",
        stamp,
        "corr",
        2,
    )
    assert kept.expiration is None, "a dead letter must not vanish"
    headers = letter.headers
    dead_at = datetime.fromisoformat(str(headers.pop("signalq-dead-at")))
    assert before - timedelta(seconds=1) < dead_at < datetime.now(UTC) + timedelta(seconds=1)
    assert dead_at.utcoffset() == timedelta(0)
    assert "HTTP 400" in str(headers.pop("signalq-detail"))
    assert headers.pop("signalq-seal")
    assert headers.pop("signalq-created-ms") == (properties.headers or {})["signalq-created-ms"]
    assert headers == {
        "signalq-reason": "rejected",
        "signalq-attempts": 1,
        "signalq-http-status": 400,
        "signalq-answer": "no",
        "signalq-intent-id": "id-1",
        "signalq-generation": 1,
        "signalq-connector": connector,
        "signalq-strategy": "momentum",
        "signalq-origin-user": "guest",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "mine": {"nested": [1, "zwei", True]},
    }


def raw_properties(*, timestamp: int | None = None, message_id: bytes | None = None, headers: bytes = b"") -> Any:
    """Properties as bytes, to say what no Python client would (AMQP 0-9-1, 4.2.6.1 and 4.2.5.3)."""
    flags = 1 << 12 | (1 << 13 if headers else 0)
    fields = (struct.pack(">I", len(headers)) + headers if headers else b"") + b"\x02"
    if message_id is not None:
        flags |= 1 << 7
        fields += bytes([len(message_id)]) + message_id
    if timestamp is not None:
        flags |= 1 << 6
        fields += struct.pack(">Q", timestamp)
    return RawProperties(struct.pack(">H", flags) + fields)


HOSTILE_PROPERTIES: list[tuple[str, Basic.Properties]] = [
    ("no properties at all", Basic.Properties()),
    ("a timestamp in microseconds", raw_properties(timestamp=1_700_000_000_000_000)),
    ("a message_id that is not UTF-8", raw_properties(message_id=b"\xff\xfe id")),
    ("an empty message_id", raw_properties(message_id=b"")),
    ("forged internal headers", persistent(headers={"signalq-intent-id": "x", "signalq-generation": -1})),
    ("a strategy that is no text", persistent(headers={"signalq-strategy": [1, 2]})),
    ("a strategy that draws on a terminal", persistent(headers={"signalq-strategy": "\x1b[2J\n\r"})),
    ("headers of 60 KB", persistent(headers={f"h{number}": "x" * 1000 for number in range(60)})),
    ("a death in its past", persistent(headers={"x-death": [{"count": 1}], "x-delivery-count": 77})),
    ("another content type", persistent(content_type="text/plain", content_encoding="gzip", priority=9)),
    ("a wild reply address", persistent(reply_to="somewhere", message_type="kind", correlation_id="c" * 255)),
]


@pytest.mark.parametrize(("what", "properties"), HOSTILE_PROPERTIES, ids=[what for what, _ in HOSTILE_PROPERTIES])
async def test_a_good_body_is_posted_and_a_bad_one_becomes_a_letter_whatever_the_properties(
    stage: Stage, what: str, properties: Basic.Properties
) -> None:
    connector = stage.connector()
    await stage.publish(body_for(connector, action="hodl"), properties)
    letter = await stage.letter(connector)
    assert letter.headers["signalq-reason"] == "invalid"
    assert "action" in str(letter.headers["signalq-detail"])
    assert {"x-death", "x-delivery-count"} & letter.headers.keys() == set()
    await stage.publish(body_for(connector), properties)
    assert len(await stage.posted(1, connector)) == 1


async def test_a_date_that_is_none_is_refused_with_whatever_else_is_wrong_and_one_in_digits_is_taken(
    stage: Stage,
) -> None:
    connector = stage.connector()
    dates = ["yesterday", 2**62, 1.7e12, 1_700_000_000, datetime.fromtimestamp(1_700_000_000, tz=UTC)]
    for date in dates:
        await stage.publish(body_for(connector), persistent(headers={"signalq-created-ms": date}))
    await stage.publish(body_for(connector, action="hodl"), persistent(headers={"signalq-created-ms": "yesterday"}))
    letters = await stage.letters(len(dates) + 1, connector)
    assert {letter.headers["signalq-reason"] for letter in letters} == {"invalid"}
    details = [str(letter.headers["signalq-detail"]) for letter in letters]
    assert [detail for detail in details if "signalq-created-ms: " not in detail] == []
    assert [detail for detail in details if "an integer is expected" not in detail] == []
    assert any("action" in detail for detail in details)
    digits = str(time.time_ns() // 1_000_000)
    await stage.publish(body_for(connector), persistent(headers={"signalq-created-ms": digits}))
    assert len(await stage.posted(1, connector)) == 1


async def test_headers_that_cannot_be_read_are_refused_and_the_next_order_is_delivered(stage: Stage) -> None:
    connector = stage.connector()
    await stage.publish(body_for(connector), raw_properties(message_id=b"odd", headers=b"\x02\xff\xfet\x01"))
    await stage.publish(body_for(connector))
    assert len(await stage.posted(1, connector)) == 1
    letters = await stage.letters(1, stage.names.orders, connector)
    assert [(letter.headers["signalq-reason"], letter.properties.message_id) for letter in letters[-1:]] == [
        ("invalid", "odd")
    ]


# --- what the webhook answers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(stage: Stage, status: int) -> None:
    connector = stage.connector(Answer(status=status, headers={"Location": stage.hook.url + "/elsewhere"}))
    await stage.publish(body_for(connector))
    letter = await stage.letter(connector)
    assert (letter.headers["signalq-reason"], letter.headers["signalq-http-status"]) == ("rejected", status)
    assert [(order.method, order.path) for order in stage.orders(connector)] == [("POST", "/trading-signal/webhook")]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 431])
async def test_another_4xx_is_final(stage: Stage, status: int) -> None:
    connector = stage.connector(Answer(status=status, body=b"no", headers={"Retry-After": "0"}))
    await stage.publish(body_for(connector))
    letter = await stage.letter(connector)
    assert (letter.headers["signalq-reason"], letter.headers["signalq-http-status"]) == ("rejected", status)
    assert len(stage.orders(connector)) == 1


async def test_a_429_is_retried_not_before_its_retry_after(stage: Stage) -> None:
    connector = stage.connector(Answer(status=429, headers={"Retry-After": "2"}))
    await stage.publish(body_for(connector))
    first, second = await stage.posted(2, connector)
    assert second.at_ns // 1_000_000 - first.at_ns // 1_000_000 >= 2_000
    assert first.body == second.body


async def test_the_next_order_of_the_connector_waits_for_the_same_retry_after(stage: Stage) -> None:
    connector = stage.connector(Answer(status=429, headers={"Retry-After": "1"}))
    for number in range(3):
        await stage.publish(body_for(connector, log=str(number)))
    orders = await stage.posted(4, connector)
    assert [order.json["log"] for order in orders] == ["0", "0", "1", "2"]
    assert orders[1].at_ns // 1_000_000 - orders[0].at_ns // 1_000_000 >= 1_000


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=503, headers={"Retry-After": "0"}),
        Answer(status=408, headers={"Retry-After": "0"}),
        Answer(status=429),
        Answer(status=425),
        *[Answer(status=status) for status in (521, 523, 525, 526)],
    ],
    ids=lambda answer: f"{answer.status}{' with Retry-After' if answer.headers else ''}",
)
async def test_an_answer_that_says_not_taken_is_retried(stage: Stage, answer: Answer) -> None:
    connector = stage.connector(answer)
    await stage.publish(body_for(connector))
    (line,) = await stage.settled(1, connector)
    assert line["status"] == "delivered"
    assert len(stage.orders(connector)) == 2


UNKNOWN: dict[str, Behaviour] = {
    "503 without Retry-After": Answer(status=503),
    "408 without Retry-After": Answer(status=408),
    "500": Answer(status=500),
    "502": Answer(status=502),
    "504 with Retry-After": Answer(status=504, headers={"Retry-After": "0"}),
    "200 with another body": Answer(body=b"maintenance"),
    "200 with an empty body": Answer(body=b""),
    "204": Answer(status=204, body=b""),
    "200 with a body that never ends": EndlessBody(pause_s=0),
    "200 with a body that trickles": EndlessBody(pause_s=1.0),
    "a connection cut after the request": CutOff(),
    "a connection reset after the request": CutOff(reset=True),
    "a connection cut in the body": CutInTheMiddle(),
    "an answer that is no HTTP": Garbage(),
    "no answer": Hang(),
}


async def test_an_open_whose_outcome_is_unknown_is_never_repeated(stage: Stage) -> None:
    connectors = {stage.connector(behaviour): what for what, behaviour in UNKNOWN.items()}
    messages = [(body_for(connector), persistent()) for connector in connectors]
    began_s = time.monotonic()
    await publish_many(stage.url, "", stage.names.orders, messages)
    letters = await stage.letters(len(connectors), *connectors)
    reasons = {connectors[str(letter.headers["signalq-connector"])]: reason(letter) for letter in letters}
    assert reasons == dict.fromkeys(UNKNOWN, "outcome-unknown")
    assert time.monotonic() - began_s < 3 * WEBHOOK_TIMEOUT_S, "each within its time-out"
    assert {connectors[name]: len(stage.orders(name)) for name in connectors} == dict.fromkeys(UNKNOWN, 1)


async def test_a_cancel_all_whose_outcome_is_unknown_is_repeated(stage: Stage) -> None:
    connectors = {stage.connector(behaviour): what for what, behaviour in UNKNOWN.items()}
    messages = [(body_for(connector, action="cancelAll"), persistent()) for connector in connectors]
    await publish_many(stage.url, "", stage.names.orders, messages)
    lines = await stage.settled(len(connectors), *connectors)
    assert {connectors[line["connector"]]: line["status"] for line in lines} == dict.fromkeys(UNKNOWN, "delivered")
    assert all(len(stage.orders(connector)) == 2 for connector in connectors)


def reason(letter: Message) -> object:
    return letter.headers["signalq-reason"]


@pytest.mark.parametrize(
    ("fields", "repeated"),
    [
        ({"action": "cancel", "clientOrderId": "x"}, True),
        ({"action": "cancellAll"}, True),
        ({"action": "cancel_all"}, True),
        ({"action": "closeLong", "percent": "100"}, True),
        ({"action": "closeShort", "percent": "100.0"}, True),
        ({"action": "closeLong", "percent": "50"}, False),
        ({"action": "closeLong"}, False),
        ({"action": "closeLong", "percent": "100", "fixed": "1"}, False),
        ({"action": "closeShort", "percent": "100", "limit": "1"}, False),
        ({"action": "sell", "percent": "100"}, False),
        ({"action": "openLong", "clientOrderId": "x"}, False),
    ],
)
async def test_only_an_order_that_can_do_no_harm_twice_is_repeated(
    stage: Stage, fields: dict[str, object], repeated: bool
) -> None:
    connector = stage.connector(Answer(status=500))
    await stage.publish(body_for(connector, **fields))
    (line,) = await stage.settled(1, connector)
    assert (line["status"], len(stage.orders(connector))) == (("delivered", 2) if repeated else ("dead", 1))


async def test_while_nothing_listens_it_is_retried_and_delivered_in_order_when_the_webhook_comes_up(
    stage: Stage,
) -> None:
    for number in range(5):
        await stage.publish(body_for("down", log=str(number)))
    await wait_until(
        lambda: len(stage.consumer.events("delivery.attempted", connector="down", certainty="not taken")) > 10,
        what="more attempts than delivery.attempts_max, which does not count those that sent nothing",
    )
    async with WebhookAt(stage.down_port) as late:
        await late.received(5)
        await stage.settled(5, "down")
        assert by_connector(late.orders) == {"down": ["0", "1", "2", "3", "4"]}


async def test_an_open_that_is_turned_away_attempts_max_times_is_exhausted(stage: Stage) -> None:
    connector = stage.connector(then=lambda _: Answer(status=429))
    await stage.publish(body_for(connector))
    letter = await stage.letter(connector)
    assert (reason(letter), letter.headers["signalq-attempts"], letter.headers["signalq-http-status"]) == (
        "exhausted",
        8,
        429,
    )
    assert len(stage.orders(connector)) == 8


# --- deadlines -------------------------------------------------------------------------------------------------------


async def test_an_open_older_than_its_deadline_is_expired_and_never_posted(stage: Stage) -> None:
    connector = stage.connector()
    await stage.publish(body_for(connector), created(now_ms() - 61_000))
    letter = await stage.letter(connector)
    assert (reason(letter), letter.headers["signalq-attempts"]) == ("expired", 0)
    assert "clock" in str(letter.headers["signalq-detail"]), "its age lies in the producer's clock, and it says so"
    assert stage.orders(connector) == []


async def test_an_exit_of_the_same_age_is_posted(stage: Stage) -> None:
    connector = stage.connector()
    await stage.publish(body_for(connector, action="closeLong"), created(now_ms() - 61_000))
    assert len(await stage.posted(1, connector)) == 1


async def test_a_wait_past_the_deadline_is_not_begun(stage: Stage) -> None:
    stage.answer("brief", Answer(status=503, headers={"Retry-After": "30"}))
    began_s = time.monotonic()
    await stage.publish(body_for("brief"))
    letter = await stage.letter("brief")
    assert reason(letter) == "expired"
    assert time.monotonic() - began_s < 10
    assert len(stage.orders("brief")) == 1


# --- the settings of a connector -------------------------------------------------------------------------------------


async def test_the_configured_token_is_filled_in_where_the_message_has_none(stage: Stage) -> None:
    stage.answer("with-token")
    await stage.publish(body_for("with-token", connectorToken=None, log="without"))
    await stage.publish(body_for("with-token", connectorToken=None, delaySeconds=0.2, log="delayed"))
    orders = await stage.posted(2, "with-token")
    assert [order.json["connectorToken"] for order in orders] == [CONFIGURED_TOKEN] * 2
    assert CONFIGURED_TOKEN not in stage.consumer.log


async def test_extra_fields_go_through_byte_for_byte(stage: Stage) -> None:
    extras = b'"notional":1.50e+2,"position":{"a":[1.0,null,"\xc3\xa9"],"b":{}},"entryOrder":null'
    head = b'{"connectorName":"with-extra-fields","connectorToken":"t","action":"openLong",'
    await stage.publish(head + extras + b"}")
    (order,) = await stage.posted(1, "with-extra-fields")
    assert order.body == head + extras + b"}"


async def test_a_connectors_not_taken_statuses_are_retried(stage: Stage) -> None:
    stage.answer("taken-not-at-500", Answer(status=500))
    await stage.publish(body_for("taken-not-at-500"))
    (line,) = await stage.settled(1, "taken-not-at-500")
    assert (line["status"], len(stage.orders("taken-not-at-500"))) == ("delivered", 2)


async def test_with_client_order_id_an_unknown_outcome_is_repeated_only_for_orders_that_have_one(stage: Stage) -> None:
    stage.answer("resends-by-id", Answer(status=500), Answer(), CutOff())
    await stage.publish(body_for("resends-by-id", clientOrderId="entry-1", log="with"))
    await stage.publish(body_for("resends-by-id", log="without"))
    letter = await stage.letter("resends-by-id")
    assert reason(letter) == "outcome-unknown"
    assert by_connector(stage.orders("resends-by-id")) == {"resends-by-id": ["with", "with", "without"]}


async def test_a_connectors_success_body_is_trimmed_and_compared_without_case(stage: Stage) -> None:
    stage.answer("says-thanks", Answer(body=b"  THANK you\n"), Answer(body=b"ok"))
    await stage.publish(body_for("says-thanks", log="thanks"))
    await stage.publish(body_for("says-thanks", log="ok"))
    letter = await stage.letter("says-thanks")
    assert (reason(letter), json.loads(letter.body)["log"]) == ("outcome-unknown", "ok")
    assert len(stage.consumer.events("intent.settled", connector="says-thanks", status="delivered")) == 1


# --- identity --------------------------------------------------------------------------------------------------------


async def test_the_same_message_twice_is_posted_once(stage: Stage) -> None:
    connector = stage.connector(then=lambda _: Answer(delay_s=0.1))
    message = (body_for(connector), persistent("twice"))
    await publish_many(stage.url, "", stage.names.orders, [message, message, message])
    lines = await stage.settled(3, connector)
    assert [line["status"] for line in lines] == ["delivered", "duplicate", "duplicate"]
    assert len(stage.orders(connector)) == 1
    assert await stage.letters_so_far(connector) == []


async def test_the_same_delayed_message_twice_is_posted_once(stage: Stage) -> None:
    connector = stage.connector()
    message = (body_for(connector, delaySeconds=1.3), persistent("twice delayed"))
    await publish_many(stage.url, "", stage.names.orders, [message, message])
    await stage.publish(*message)
    await stage.posted(1, connector)
    await wait_until(lambda: stage.consumer.events("intent.settled", connector=connector, status="delivered"))
    await stage.publish(*message)
    await wait_until(lambda: stage.consumer.events("intent.settled", connector=connector, status="duplicate"))
    assert len(stage.orders(connector)) == 1


async def test_the_same_message_id_from_another_strategy_is_another_intent(stage: Stage) -> None:
    connector = stage.connector()
    for strategy in ("momentum", "carry"):
        await stage.publish(body_for(connector), persistent("order-1", app_id=strategy))
    assert len(await stage.posted(2, connector)) == 2


async def test_another_body_under_a_known_message_id_is_invalid_and_gets_an_identity_of_its_own(stage: Stage) -> None:
    connector = stage.connector()
    await stage.publish(body_for(connector, log="first"), persistent("taken"))
    await stage.publish(body_for(connector, log="second"), persistent("taken"))
    letter = await stage.letter(connector)
    assert reason(letter) == "invalid"
    assert "message_id" in str(letter.headers["signalq-detail"])
    assert json.loads(letter.body)["log"] == "second"
    assert letter.headers["signalq-intent-id"] != "taken"
    assert by_connector(stage.orders(connector)) == {connector: ["first"]}


# --- its own HTTP, its log, its settings -----------------------------------------------------------------------------


async def test_the_consumer_is_healthy_and_ready_and_says_so_with_its_port_and_version(stage: Stage) -> None:
    assert await stage.consumer.get("/startupz") == (200, "started\n")
    assert await stage.consumer.get("/healthz") == (200, "ok\n")
    assert await stage.consumer.get("/readyz") == (200, "ready\n")
    line = stage.consumer.events("service.started")[0]
    assert (line["ops_port"], line["version"], line["level"]) == (stage.consumer.ops_port, __version__, "info")
    assert {"ledger", "lanes", "timestamp"} <= line.keys()
    assert line["environment"] == "127.0.0.1", "the test's webhook is neither the platform nor our sandbox"


async def test_metrics_have_the_names_and_labels_of_the_contract_and_count(stage: Stage) -> None:
    accepted, refused, unheard = stage.connector(), stage.connector(then=lambda _: Answer(status=400)), "never-accepted"
    await stage.publish(body_for(accepted))
    await stage.settled(1, accepted)
    await stage.publish(body_for(accepted))
    await stage.publish(body_for(accepted, delaySeconds=0.1))
    await stage.settled(3, accepted)
    await stage.publish(body_for(refused))
    await stage.publish(body_for(unheard, action="hodl"))
    await stage.settled(2, refused, unheard)
    metric = stage.consumer.metric
    assert await metric("signalq_intents_total", connector=accepted, status="delivered", reason="") == 3
    assert await metric("signalq_attempts_total", connector=accepted, certainty="accepted") >= 2
    assert await metric("signalq_intents_total", connector="other", status="dead", reason="rejected") >= 1
    assert await metric("signalq_intents_total", connector="other", status="dead", reason="invalid") >= 1
    assert await metric("signalq_broker_connected") == 1
    await wait_until(lambda: metric_is(stage, "signalq_in_flight", 0))
    for histogram in ("webhook", "end_to_end", "delay_error", "receipt_age"):
        assert await metric(f"signalq_{histogram}_seconds_count") >= 1
    _, text = await stage.consumer.get("/metrics")
    assert refused not in text, "only configured and accepted connectors are labels"
    assert unheard not in text


async def metric_is(stage: Stage, name: str, value: float) -> bool:
    return await stage.consumer.metric(name) == value


async def test_neither_a_token_nor_the_brokers_password_is_ever_told(
    own_broker: PrivateRabbitMQ, prefix: str, webhook: Webhook
) -> None:
    password = "pass/word-4711"
    await asyncio.to_thread(own_broker.ctl, "add_user", prefix, password)
    await asyncio.to_thread(own_broker.ctl, "set_permissions", prefix, ".*", ".*", ".*")
    answers: list[Behaviour] = [
        Answer(),
        Answer(status=400, body=TOKEN.encode()),
        Answer(status=429),
        Answer(body=f"{TOKEN} {CONFIGURED_TOKEN}".encode()),
        CutOff(),
        Garbage(f"HTTP/1.1 {TOKEN} {CONFIGURED_TOKEN}\r\n\r\n".encode()),
    ]
    url = own_broker.url.replace("guest:guest", f"{prefix}:{password.replace('/', '%2F')}")
    connectors = {f"c{number}": answer for number, answer in enumerate(answers)}
    seen: set[str] = set()

    def react(order: Order) -> Behaviour:
        first = order.connector not in seen
        seen.add(order.connector)
        return connectors[order.connector] if first and order.connector in connectors else Answer()

    webhook.behave(react)
    config = "\n".join(f'[connectors.{name}]\ntoken = "{CONFIGURED_TOKEN}"' for name in connectors)
    bodies = [body_for(name, connectorToken=token) for name in connectors for token in (TOKEN, None)]
    bodies += [
        body_for("c0", connectorToken=TOKEN, action=TOKEN, fixed=TOKEN, delaySeconds=TOKEN),
        body_for("c0", connectorToken=[TOKEN]),
        b"not JSON " + TOKEN.encode(),
        body_for("c0", connectorToken=TOKEN, delaySeconds=0.2),
    ]
    try:
        async with Consumer(url, prefix, webhook.url, SETTINGS, config=config) as consumer:
            await consumer.started()
            await publish_many(
                own_broker.url, "", f"{prefix}.orders", [(body, persistent(app_id="s")) for body in bodies]
            )
            await wait_until(lambda: len(consumer.events("intent.settled")) == len(bodies), what="all endings")
            _, metrics = await consumer.get("/metrics")
            log = consumer.log
        letters = await drain(own_broker.url, f"{prefix}.dead")
    finally:
        await asyncio.to_thread(own_broker.ctl, "delete_user", prefix)
    assert {reason(letter) for letter in letters} == {"rejected", "outcome-unknown", "invalid", "unauthorized"}
    told = log + metrics + "".join(str(letter.properties.headers) for letter in letters)
    for secret in (TOKEN, CONFIGURED_TOKEN, password, password.replace("/", "%2F")):
        assert secret not in told


async def ending(consumer: Consumer) -> tuple[int, str]:
    """The exit status and the words of a consumer that can't start."""
    consumer.start()
    try:
        return await consumer.exited(), consumer.log
    finally:
        consumer.close()


async def test_an_unknown_setting_ends_it_with_2_and_the_nearest_known_one(
    broker: PrivateRabbitMQ | ExternalBroker,
) -> None:
    in_file, in_environment = await asyncio.gather(
        ending(Consumer(broker.url, "never-declared", config="[delivery]\nattempts_maximum = 3\n")),
        ending(Consumer(broker.url, "never-declared", settings={"webhook.timeouts": 3})),
    )
    assert (in_file[0], in_environment[0]) == (2, 2)
    assert "delivery.attempts_maximum is not a setting, the nearest is delivery.attempts_max" in in_file[1]
    assert "webhook.timeouts is not a setting, the nearest is webhook.timeout_s" in in_environment[1]
    assert "Traceback" not in in_file[1] + in_environment[1]


async def test_a_port_in_use_ends_it_with_2_and_what_to_do(stage: Stage) -> None:
    status, log = await ending(Consumer(stage.url, "never-declared", settings={"ops.port": stage.consumer.ops_port}))
    assert status == 2
    assert "set ops.port to another" in log
    assert "Traceback" not in log


@pytest.mark.bare_prefix
async def test_a_queue_with_other_arguments_ends_it_with_1_and_is_left_as_it_is(
    broker: PrivateRabbitMQ | ExternalBroker, prefix: str
) -> None:
    async with plain_channel(broker.url) as channel:
        await channel.queue_declare(f"{prefix}.due", durable=True, arguments={"x-queue-type": "quorum"})
    status, log = await ending(Consumer(broker.url, prefix))
    assert status == 1
    assert f"{prefix}.due is there with other arguments" in log
    assert "Traceback" not in log
    assert await depth(broker.url, f"{prefix}.due") == 0


# --- stopping, standing by, and a broker that goes away --------------------------------------------------------------


async def test_sigterm_finishes_what_is_on_the_wire_and_leaves_the_rest_in_order_for_the_next_consumer(
    broker: PrivateRabbitMQ | ExternalBroker, prefix: str, webhook: Webhook
) -> None:
    connectors = [f"c{number}" for number in range(5)]
    webhook.behave(Answer(delay_s=0.7))
    bodies = [body_for(connectors[number % 5], log=str(number)) for number in range(25)]
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as first:
        await first.started()
        await publish_many(broker.url, "", f"{prefix}.orders", [(body, persistent()) for body in bodies])
        await wait_until(lambda: webhook.in_flight == 5)
        on_the_wire = len(webhook.orders)
        began_s = time.monotonic()
        assert await first.terminate() == 0
        assert time.monotonic() - began_s < DRAIN_TIMEOUT_S
        assert len(first.events("intent.settled", status="delivered")) == len(webhook.orders) == on_the_wire
        assert first.events("service.draining")
    assert await depth(broker.url, f"{prefix}.orders") == len(bodies) - on_the_wire
    webhook.behave(Answer())
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as second:
        await second.started()
        await wait_until(lambda: len(second.events("intent.settled")) == len(bodies) - on_the_wire)
    assert by_connector(webhook.orders) == {
        connector: [str(number) for number in range(at, 25, 5)] for at, connector in enumerate(connectors)
    }
    assert await depth(broker.url, f"{prefix}.dead") == 0


async def test_while_it_drains_it_is_healthy_but_not_ready(
    broker: PrivateRabbitMQ | ExternalBroker, prefix: str, webhook: Webhook
) -> None:
    webhook.behave(Answer(delay_s=1.5))
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as consumer:
        port = (await consumer.started())["ops_port"]
        await publish_many(broker.url, "", f"{prefix}.orders", [(body_for("main"), persistent())])
        await webhook.received(1)
        ended = asyncio.create_task(consumer.terminate())
        await wait_until(lambda: consumer.events("service.draining"))
        assert await consumer.get("/readyz", port) == (503, "draining\n")
        assert (await consumer.get("/healthz", port))[0] == 200
        assert await ended == 0


async def test_a_standby_is_ready_and_takes_over_in_order_when_the_active_one_is_stopped(
    broker: PrivateRabbitMQ | ExternalBroker, prefix: str, webhook: Webhook
) -> None:
    webhook.behave(Answer(delay_s=0.05))
    bodies = [body_for(f"c{number % 4}", log=str(number)) for number in range(80)]
    async with (
        Consumer(broker.url, prefix, webhook.url, SETTINGS) as active,
        Consumer(broker.url, prefix, webhook.url, SETTINGS) as standby,
    ):
        await asyncio.gather(active.started(), standby.started())
        assert (await standby.get("/readyz"))[0] == (await active.get("/readyz"))[0] == 200
        await publish_many(broker.url, "", f"{prefix}.orders", [(body, persistent()) for body in bodies])
        await webhook.received(12)
        busy, idle = (active, standby) if active.events("delivery.attempted") else (standby, active)
        assert not idle.events("intent.received")
        assert await busy.terminate() == 0
        done = len(busy.events("intent.settled"))
        assert 0 < done < 80
        await wait_until(lambda: len(idle.events("intent.settled")) == 80 - done)
    assert by_connector(webhook.orders) == {f"c{at}": [str(number) for number in range(at, 80, 4)] for at in range(4)}


async def test_a_broker_that_closes_all_connections_costs_nothing_and_repeats_nothing(
    stage: Stage, own_broker: PrivateRabbitMQ
) -> None:
    connectors = [stage.connector(then=lambda _: Answer(delay_s=0.2)) for _ in range(10)]
    bodies = [body_for(connectors[number % 10], log=str(number)) for number in range(200)]
    messages = [(body, persistent(f"blip {number}")) for number, body in enumerate(bodies)]
    await publish_many(stage.url, "", stage.names.orders, messages)
    await stage.posted(20, *connectors)
    await close_connections(own_broker, "signalq consumer")
    await wait_until(lambda: stage.consumer.events("broker.lane_lost"))
    await stage.settled(200, *connectors, timeout_s=30)
    assert by_connector(stage.orders(*connectors)) == {
        connector: [str(number) for number in range(at, 200, 10)] for at, connector in enumerate(connectors)
    }
    assert await stage.letters_so_far(*connectors) == []
    assert [line["status"] for line in await stage.settled(200, *connectors)] == ["delivered"] * 200


async def test_after_the_broker_was_killed_it_reconnects_by_itself_and_goes_on(
    stage: Stage, own_broker: PrivateRabbitMQ
) -> None:
    queues = [queue.name for queue in Topology(stage.names).queues()]
    await written_down(own_broker, *queues, *noted_queues(stage.names.prefix))
    connector = stage.connector(Answer(delay_s=1.0))
    bodies = [(body_for(connector, log=str(number)), persistent(f"kill {number}")) for number in range(5)]
    await publish_many(stage.url, "", stage.names.orders, bodies)
    await stage.posted(1, connector)
    await asyncio.to_thread(own_broker.kill)
    await wait_until(lambda: readiness_is(stage, 503), what="503 of /readyz")
    assert (await stage.consumer.get("/healthz"))[0] == 200
    await asyncio.to_thread(own_broker.start)
    await wait_until(lambda: readiness_is(stage, 200), 60, what="200 of /readyz")
    await stage.settled(5, connector, timeout_s=30)
    assert by_connector(stage.orders(connector)) == {connector: [str(number) for number in range(5)]}
    assert stage.consumer.events("broker.reconnected")


async def readiness_is(stage: Stage, status: int) -> bool:
    return (await stage.consumer.get("/readyz"))[0] == status


async def test_a_broker_that_is_not_there_yet_is_waited_for(prefix: str, stage: Stage) -> None:
    """Last but not least: nothing is wrong with settings that name a broker which is still starting."""
    with socket.socket() as taken:  # nobody listens there, and no other test's broker can begin to
        taken.bind(("127.0.0.1", 0))
        url = f"amqp://guest:guest@127.0.0.1:{taken.getsockname()[1]}/"
        async with Consumer(url, prefix, stage.hook.url, SETTINGS) as consumer:
            await wait_until(lambda: len(consumer.events("broker.unreachable")) >= 3, what="three tries")
            assert consumer.exit_code is None
            assert aiormq.exceptions.AMQPError.__name__ not in consumer.log
