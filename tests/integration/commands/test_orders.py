"""`signalq orders` from outside: what became of each intent that a real consumer dealt with (contract 5)."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from pamqp.commands import Basic

from signalq.local import PrivateRabbitMQ
from tests.support.amqp import RawProperties, publish_all
from tests.support.broker import ExternalBroker
from tests.support.commands import Ran, Signalq
from tests.support.consumer import Consumer, ledger_file
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, CutOff, Hang, Webhook

Broker = PrivateRabbitMQ | ExternalBroker

SETTINGS = {"delivery.backoff_base_s": 0.05, "delivery.backoff_max_s": 0.1}
ROW_FIELDS = [
    *("intent_id", "generation", "connector", "strategy", "action", "client_order_id", "status", "reason"),
    *("attempts", "http_status", "created_at", "due_at", "updated_at", "order"),
]
TOKEN = "a-secret-token"
LATER_S = 600


def intent(
    intent_id: str, action: str = "openLong", *, connector: str = "main", strategy: str = "momentum", **fields: object
) -> tuple[bytes, Basic.Properties]:
    whole = {"connectorName": connector, "connectorToken": TOKEN, "action": action} | fields
    stamps = {"signalq-created-ms": time.time_ns() // 1_000_000}
    properties = Basic.Properties(delivery_mode=2, message_id=intent_id, app_id=strategy, headers=stamps)
    return json.dumps(whole).encode(), properties


class Desk:
    """A consumer, and the commands beside it."""

    def __init__(self, broker: Broker, prefix: str, consumer: Consumer, signalq: Signalq) -> None:
        self.consumer = consumer
        self._broker = broker
        self._prefix = prefix
        self._signalq = signalq

    async def publish(self, *intents: tuple[bytes, Basic.Properties]) -> None:
        """To the shared lane, in this order."""
        await publish_all(self._broker.url, "", f"{self._prefix}.orders", intents)

    async def settled(self, *intents: tuple[bytes, Basic.Properties]) -> None:
        """Publish them, and wait until all of them have ended."""
        before = len(self.consumer.events("intent.settled"))
        await self.publish(*intents)
        await wait_until(lambda: len(self.consumer.events("intent.settled")) >= before + len(intents))

    async def orders(self, *arguments: str) -> Ran:
        """`signalq orders …`"""
        ran = await self._signalq("orders", *arguments)
        assert TOKEN not in ran.out + ran.err
        return ran

    async def listed(self, *arguments: str) -> list[str]:
        """The ids that `orders list` shows, in its order."""
        return [row["intent_id"] for row in (await self.orders("list", "--json", *arguments)).rows]

    async def shown(self, intent_id: str) -> dict[str, Any]:
        """What `orders show --json` tells of the one intent of that id."""
        ran = await self.orders("show", intent_id, "--json")
        assert (ran.status, ran.err) == (0, "")
        (order,) = ran.rows
        assert list(order) == [*ROW_FIELDS, "timeline"]
        moments = [entry["at"] for entry in order["timeline"]]
        assert moments == sorted(moments)
        return order


def story(order: dict[str, Any]) -> list[str]:
    """What happened, in words."""
    return [
        " ".join(str(entry[name]) for name in ("what", "certainty", "http_status", "reason") if entry.get(name))
        for entry in order["timeline"]
    ]


@pytest.fixture
async def desk(broker: Broker, prefix: str, webhook: Webhook, signalq: Signalq) -> Any:
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        yield Desk(broker, prefix, consumer, signalq)


async def test_the_timeline_of_an_order_that_was_retried_then_delivered(desk: Desk, webhook: Webhook) -> None:
    webhook.script(Answer(status=429), Answer(status=503, headers={"Retry-After": "0"}, delay_s=0.05))
    await desk.settled(intent("retried", percent="50", clientOrderId="Long Entry"))
    order = await desk.shown("retried")
    assert [order[name] for name in ROW_FIELDS[:10]] == [
        *("retried", 1, "main", "momentum", "openLong", "Long Entry", "delivered", None, 3, 200)
    ]
    assert order["due_at"] is None
    assert order["order"] == {
        "connectorName": "main",
        "action": "openLong",
        "percent": "50",
        "clientOrderId": "Long Entry",
    }
    assert story(order) == [
        "created",
        "received",
        "attempt not taken 429",
        "attempt not taken 503",
        "attempt accepted 200",
        "delivered",
    ]
    created, received, _, second, third, delivered = order["timeline"]
    assert created == {"at": order["created_at"], "what": "created", "generation": 1, "said_by": "signalq-created-ms"}
    assert (second["attempt"], second["detail"], third["attempt"]) == (2, "HTTP 503", 3)
    assert 50 <= second["duration_ms"] < 5_000
    assert received["at"] < second["at"] < third["at"] == delivered["at"] == order["updated_at"]


async def test_the_timelines_of_a_refused_and_of_an_unknown_outcome(desk: Desk, webhook: Webhook) -> None:
    webhook.script(Answer(status=400), CutOff())
    await desk.settled(intent("refused", percent="50"), intent("cut off", percent="50"))
    refused, cut_off = await desk.shown("refused"), await desk.shown("cut off")
    assert [refused[name] for name in ("status", "reason", "attempts", "http_status")] == ["dead", "rejected", 1, 400]
    assert story(refused)[2:] == ["attempt refused 400", "dead rejected"]
    assert refused["timeline"][-1]["detail"] == "the webhook refused it: HTTP 400"
    assert (cut_off["reason"], cut_off["http_status"]) == ("outcome-unknown", None)
    assert story(cut_off)[2:] == ["attempt unknown", "dead outcome-unknown"]
    assert await desk.listed("--status", "dead") == ["cut off", "refused"]
    assert await desk.listed("--reason", "rejected") == ["refused"]


async def test_the_timelines_of_a_delayed_and_of_a_canceled_intent(desk: Desk, signalq: Signalq) -> None:
    pending = [
        intent("by a person", delaySeconds=LATER_S, strategy="value", percent="50"),
        intent("by an intent", delaySeconds=LATER_S, percent="50"),
        intent("delayed", connector="other", delaySeconds=4, percent="50"),
    ]
    await desk.publish(*pending)
    await wait_until(lambda: len(desk.consumer.events("intent.scheduled")) == len(pending))
    assert {row["status"] for row in (await desk.orders("list", "--json")).rows} == {"scheduled"}
    assert (await signalq("scheduled", "cancel", "--id", "by a person")).status == 0
    await desk.publish(intent("the cancel", "cancelAll"))
    await wait_until(lambda: desk.consumer.events("intent.settled", intent_id="delayed"))
    await wait_until(lambda: desk.consumer.events("intent.settled", intent_id="the cancel"))

    delayed = await desk.shown("delayed")
    assert story(delayed) == ["created", "received", "scheduled", "attempt accepted 200", "delivered"]
    assert delayed["timeline"][2]["detail"] == f"until {delayed['due_at']}"
    assert delayed["timeline"][3]["at"] >= delayed["due_at"]
    for intent_id, by in (("by a person", "with `signalq scheduled cancel`"), ("by an intent", "the cancelAll")):
        canceled = await desk.shown(intent_id)
        assert (canceled["status"], canceled["attempts"]) == ("canceled", 0)
        assert story(canceled) == ["created", "received", "scheduled", "canceled"]
        assert by in canceled["timeline"][-1]["detail"]


async def test_an_intent_between_attempts_says_so_and_one_that_a_killed_consumer_was_sending_is_in_doubt(
    broker: Broker, prefix: str, webhook: Webhook, signalq: Signalq
) -> None:
    webhook.behave(lambda order: Hang() if order.connector == "hangs" else Answer(429, headers={"Retry-After": "30"}))
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as consumer:
        await consumer.started()
        desk = Desk(broker, prefix, consumer, signalq)
        await desk.publish(intent("waits", percent="50"), intent("hangs", connector="hangs", percent="50"))
        await webhook.received(2)
        await wait_until(lambda: consumer.events("delivery.attempted", intent_id="waits"))
        waits, hangs = await desk.shown("waits"), await desk.shown("hangs")
        assert (waits["status"], story(waits)[2:]) == ("retrying", ["attempt not taken 429", "next attempt"])
        assert waits["timeline"][-1]["at"] > waits["timeline"][-2]["at"]
        assert (hangs["status"], story(hangs)[2:]) == ("sending", ["sending"])
        assert hangs["timeline"][-1]["detail"] == "on its way: a consumer is sending it"
        consumer.kill()

        async def in_doubt() -> bool:
            return str((await desk.shown("hangs"))["timeline"][-1]["detail"]).startswith("in doubt")

        await wait_until(in_doubt, what="the end of its lease")
    webhook.behave(Answer())
    async with Consumer(broker.url, prefix, webhook.url, SETTINGS) as successor:
        await successor.started()
        await wait_until(lambda: successor.events("intent.settled", intent_id="hangs"))
        ended = await Desk(broker, prefix, successor, signalq).shown("hangs")
        assert story(ended)[2:] == ["attempt unknown", "dead outcome-unknown"]
        assert ended["timeline"][2]["detail"] == "the consumer ended while it was sending"


async def test_the_listing_is_newest_first_and_says_how_many_more_there_are(desk: Desk) -> None:
    await desk.settled(*(intent(f"n{number}", percent="50") for number in range(5)))
    first = await desk.orders("list", "--limit", "2", "--json")
    assert (first.status, first.err) == (0, "the 2 newest intents; 3 more fit: `--limit` shows more, `--all` all\n")
    assert [list(row) for row in first.rows] == [ROW_FIELDS] * 2
    assert await desk.listed("--limit", "2") == ["n4", "n3"]
    assert await desk.listed("--all") == await desk.listed("--limit", "5") == ["n4", "n3", "n2", "n1", "n0"]
    assert await desk.listed("--id", "n1", "--id", "n3", "--id", "nobody") == ["n3", "n1"]
    assert await desk.listed("--since", "15m", "--strategy", "momentum", "--connector", "main") == await desk.listed()
    assert await desk.listed("--since", "2099-01-01T12:00:00+09:00") == []
    table = await desk.orders("list", "--status", "delivered")
    assert (table.status, table.err) == (0, "5 intents\n")
    assert table.out.splitlines()[0].split()[:3] == ["CREATED", "AT", "INTENT"]
    assert all("openLong 50 %" in line for line in table.out.splitlines()[1:])
    assert [line.split()[1] for line in table.out.splitlines()[1:]] == ["n4", "n3", "n2", "n1", "n0"]
    none = await desk.orders("list", "--connector", "nobody")
    assert (none.status, none.out, none.err) == (0, "", "the ledger knows no intent that fits\n")


async def test_an_id_is_given_by_its_beginning_if_only_one_id_begins_so(desk: Desk) -> None:
    await desk.settled(*(intent(name, percent="50") for name in ("momentum-1", "momentum-12", "Momentum-2", "mom")))
    assert (await desk.shown("momentum-12"))["intent_id"] == "momentum-12"
    assert (await desk.shown("momentum-1"))["intent_id"] == "momentum-1", "it is whole, though another begins so"
    assert (await desk.shown("Mome"))["intent_id"] == "Momentum-2"
    assert (await desk.shown("mom…-12"))["intent_id"] == "momentum-12", "as a table cuts it"
    assert await desk.listed("--id", "Momentum", "--id", "momentum-12") == ["Momentum-2", "momentum-12"]
    for arguments in (["show", "mome"], ["list", "--id", "mome"]):
        ran = await desk.orders(*arguments)
        assert (ran.status, ran.out, len(ran.err.splitlines())) == (1, "", 1)
        assert "mome is short for several ids (momentum-1, momentum-12): give more of the one that you mean" in ran.err
    too_short = await desk.orders("show", "mo")
    assert (too_short.status, too_short.out) == (1, "")
    assert "no intent mo:" in too_short.err


async def test_columns_are_chosen_and_rows_sorted(desk: Desk) -> None:
    await desk.settled(*(intent(f"n{number}", percent=str(50 - number)) for number in range(3)))
    chosen = await desk.orders("list", "--columns", "order, intent_id", "--sort", "order")
    assert [line.split() for line in chosen.out.splitlines()] == [
        ["ORDER", "INTENT"],
        *(["openLong", str(50 - number), "%", f"n{number}"] for number in (2, 1, 0)),
    ]
    assert await desk.listed("--sort", "-intent_id") == ["n2", "n1", "n0"]
    assert await desk.listed("--sort", "intent_id") == ["n0", "n1", "n2"]
    assert await desk.listed("--sort", "due_at") == ["n2", "n1", "n0"], "none has one: they stay in their order"
    assert await desk.listed("--all", "--sort", "intent_id") == ["n0", "n1", "n2"]


async def test_one_id_of_two_strategies_is_shown_twice_and_foreign_text_escaped(desk: Desk) -> None:
    evil = "evil\x1b[31mid"
    await desk.settled(
        intent(evil, percent="50", clientOrderId="\u202eorder", strategy="a\nb"),
        intent(evil, percent="50", strategy="value"),
    )
    ran = await desk.orders("show", evil)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.count("Timeline\n") == 2
    assert all(line.isprintable() for line in ran.out.splitlines())
    assert r"evil\x1b[31mid" in ran.out
    assert r"a\nb" in ran.out
    assert (await desk.orders("show", evil, "--json")).out.isascii()
    listed = await desk.orders("list")
    assert all(line.isprintable() for line in listed.out.splitlines())


async def test_an_id_that_the_ledger_does_not_know_is_one_sentence_with_its_possible_meanings(desk: Desk) -> None:
    ran = await desk.orders("show", "nobody\x1b[31m")
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    for part in ("no intent nobody\\x1b[31m", "not taken up yet", "signalq dead list", "ended more than 7 days ago"):
        assert part in ran.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--status", "deliverd"], "deliverd is no status, the nearest is delivered"),
        (["--status", "duplicate"], "a duplicate has no row of its own"),
        (["--reason", "invlid"], "invlid is no reason, the nearest is invalid"),
        (["--since", "yesterday"], "yesterday is neither a duration like 15m"),
        (["--since", "9999999999999999d"], "neither a duration"),
        (["--limit", "0"], "--limit"),
        (["--all", "--limit", "3"], "--all and --limit contradict each other"),
        (["--columns", "intent_id,statsu"], "statsu is no column, the nearest is status"),
        (["--sort", "-statsu"], "statsu is no column, the nearest is status"),
        (["--columns", "status", "--json"], "--json has all fields"),
        (["--watch", "--json"], "--watch is for a table"),
        (["--watch"], "--watch takes a terminal"),
        (["--watch", "0"], "--watch"),
    ],
    ids=" ".join,
)
async def test_wrong_usage_is_one_sentence(signalq: Signalq, arguments: list[str], sentence: str) -> None:
    ran = await signalq("orders", "list", *arguments)
    assert (ran.status, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert sentence in ran.err


async def test_without_a_ledger_the_commands_say_where_they_looked(signalq: Signalq, prefix: str) -> None:
    for arguments in (["list"], ["show", "nobody"]):
        ran = await signalq("orders", *arguments)
        assert (ran.status, ran.out, len(ran.err.splitlines())) == (1, "", 1)
        assert str(ledger_file(prefix)) in ran.err
    assert not ledger_file(prefix).exists(), "only `consume` and `demo` create one"


async def test_check_names_the_strategies_that_publish_without_ids_or_dates(desk: Desk, signalq: Signalq) -> None:
    body, properties = intent("careful", percent="50")
    # As bytes: the library would give it an id.
    nameless = RawProperties(Basic.Properties(app_id="nameless", headers=properties.headers).marshal())
    await desk.settled((body, properties), (body, nameless), (body, Basic.Properties(app_id="raw", message_id="1")))
    found = {row["check"]: row for row in (await signalq("check", "--json")).rows}["producers"]
    assert found["state"] == "note"
    assert "strategy nameless: 1 without a message_id, of 1 recent intent" in found["found"]
    assert "strategy raw: 1 without a creation time, of 1 recent intent" in found["found"]
    assert "momentum" not in found["found"]
    assert "signalq-created-ms" in found["advice"]
