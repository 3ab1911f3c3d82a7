"""The commands against a real RabbitMQ, each as the process that a person starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import pytest
from pamqp.commands import Basic

from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.topology import Topology
from signalq.local import PrivateRabbitMQ
from signalq.names import Names
from signalq.ops.dead_letters.reader import open_letters
from signalq.settings.sources import load_settings
from signalq.times import iso_ms
from tests.support.amqp import depth, drain, publish_all
from tests.support.broker import ExternalBroker
from tests.support.commands import TIMEOUT_S, Ran, Signalq, start
from tests.support.consumer import ledger_file, ledger_url
from tests.support.stores import ledger_at
from tests.support.webhook import Webhook

BODY = b'{"connectorName":"main","connectorToken":"s3cret","action":"openLong","percent":"50","clientOrderId":"c1"}'
ROW_FIELDS = [
    "intent_id",
    "generation",
    "connector",
    "strategy",
    "action",
    "client_order_id",
    "reason",
    "detail",
    "attempts",
    "http_status",
    "dead_at",
    "order",
]

Broker = PrivateRabbitMQ | ExternalBroker


def letter(number: int, **headers: Any) -> tuple[bytes, Basic.Properties]:
    """A dead letter as the consumer leaves it."""
    ours = {
        "signalq-intent-id": f"id-{number}",
        "signalq-generation": 0,
        "signalq-connector": "main" if number % 2 else "other",
        "signalq-strategy": "momentum",
        "signalq-reason": "rejected" if number % 2 else "expired",
        "signalq-detail": "the webhook answered 400",
        "signalq-attempts": 1,
        "signalq-http-status": 400,
        "signalq-dead-at": "2026-01-31T12:00:00.000Z",
    }
    return BODY, Basic.Properties(delivery_mode=2, message_id=f"id-{number}", headers={**ours, **headers})


@pytest.fixture
def bury(broker: Broker, topology: Topology) -> Callable[[Sequence[tuple[bytes, Basic.Properties]]], Awaitable[None]]:
    """Puts letters into the dead-letter queue, in this order."""

    async def publish(letters: Sequence[tuple[bytes, Basic.Properties]]) -> None:
        await publish_all(broker.url, "", topology.names.dead, letters)

    return publish


async def test_publishing_one_intent_from_flags_puts_exactly_it_on_the_broker(
    broker: Broker, topology: Topology, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIN_TOKEN", "s3cret")
    flags = "--connector=main --action=openLong --percent=12.50 --limit=9.10 --profit=11 --loss=8 --log=bye --fixed=1"
    more = (
        "--client-order-id=c1 --delay-seconds=1.5 --delay-seconds-filter=by --token-env=MAIN_TOKEN --strategy=momentum"
    )
    ran = await signalq("publish", *flags.split(), *more.split(), "--message-id=m1", "--json")
    assert (ran.status, ran.err) == (0, "")
    (message,) = await drain(broker.url, topology.names.orders)
    due_at = iso_ms(message.headers["signalq-created-ms"] + 1500)
    assert ran.rows == [{"line": None, "message_id": "m1", "connector": "main", "action": "openLong", "due_at": due_at}]
    assert json.loads(message.body) == {
        "connectorName": "main",
        "connectorToken": "s3cret",
        "action": "openLong",
        "fixed": "1",
        "percent": "12.50",
        "limit": "9.10",
        "profit": "11",
        "loss": "8",
        "log": "bye",
        "clientOrderId": "c1",
        "delaySeconds": 1.5,
        "delaySecondsFilter": "by",
    }
    properties = message.properties
    assert (properties.message_id, properties.app_id, properties.delivery_mode) == ("m1", "momentum", 2)


@pytest.mark.bare_prefix
async def test_publishing_without_a_topology_is_an_error_with_advice(signalq: Signalq, prefix: str) -> None:
    ran = await signalq("publish", "--connector=main", "--action=buy")
    assert ran.status == 1
    assert ran.err == (
        f"signalq: there is no exchange {prefix}.orders: start the consumer once, or run `signalq topology apply`; "
        "see `signalq help unroutable`\n"
    )


@pytest.mark.bare_prefix
async def test_topology_apply_declares_the_objects_that_show_called_missing(signalq: Signalq) -> None:
    before = await signalq("topology", "show", "--json")
    assert before.status == 1
    assert {row["state"] for row in before.rows} == {"missing"}
    (applied,) = (await signalq("topology", "apply", "--json")).rows
    assert len(applied["added"]) == applied["objects"]
    after = await signalq("topology", "show", "--json")
    assert after.status == 0
    assert {row["state"] for row in after.rows} == {"present"}
    assert {row["object"] for row in after.rows} == {"exchange", "queue", "binding"}
    (again,) = (await signalq("topology", "apply", "--json")).rows
    assert again["added"] == []


async def test_check_finds_nothing_wrong_where_nothing_is_and_sends_no_order(
    topology: Topology, signalq: Signalq, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
    ran = await signalq("check", "--json")
    assert ran.status == 0, ran.out
    found = {row["check"]: row for row in ran.rows}
    checks = ("settings", "environment", "broker", "topology", "consumer", "dead letters", "ledger", "webhook")
    assert tuple(found) == checks
    assert found["broker"]["found"].startswith("RabbitMQ ")
    assert "SIGNALQ_WEBHOOK__URL" in found["settings"]["found"]
    assert webhook.orders == []


@pytest.mark.bare_prefix
async def test_check_names_faults_with_advice_and_changes_nothing(
    broker: Broker, signalq: Signalq, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", "http://127.0.0.1:1/")
    ran = await signalq("check", "--json")
    assert ran.status == 1
    wrong = {row["check"]: row for row in ran.rows if row["state"] == "wrong"}
    assert list(wrong) == ["webhook"], "what `consume` makes next is not wrong (contract, section 5)"
    (topology,) = (row for row in ran.rows if row["check"] == "topology")
    assert topology["state"] == "note"
    assert "signalq topology apply" in topology["advice"]
    assert await depth(broker.url, names.orders) is None


async def make_ledger(url: str) -> LedgerMark:
    """As a consumer makes one at its start."""
    async with ledger_at(url) as ledger:
        return LedgerMark(ledger.ledger_id, ledger.name)


async def mark_on(broker: Broker, names: Names, mark: LedgerMark) -> LedgerMark:
    """What a consumer with this ledger finds on the broker, or leaves there."""
    async with await connect(broker.url, name="signalq test") as connection:
        return await claim_mark(connection, names, mark)


async def ledger_finding(signalq: Signalq, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("SIGNALQ_WEBHOOK__URL", webhook.url)
    ran = await signalq("check", "--json")
    (found,) = (row for row in ran.rows if row["check"] == "ledger")
    assert ran.status == (1 if found["state"] == "wrong" else 0), ran.out
    return found


async def test_check_says_where_a_ledger_will_be_and_makes_none(
    topology: Topology, prefix: str, signalq: Signalq, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await ledger_finding(signalq, webhook, monkeypatch)
    assert found["state"] == "note"
    assert str(ledger_file(prefix)) in found["found"]
    assert not ledger_file(prefix).exists()


async def test_check_says_that_the_lanes_belong_to_the_ledger_and_leaves_the_mark_where_it_is(
    broker: Broker,
    topology: Topology,
    signalq: Signalq,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mark = await make_ledger(ledger_url(topology.names.prefix))
    assert (await ledger_finding(signalq, webhook, monkeypatch))["found"] == f"{mark.ledger} is there, of schema 0006"
    assert await mark_on(broker, topology.names, mark) == mark
    for _ in range(2):
        found = await ledger_finding(signalq, webhook, monkeypatch)
        assert found["state"] == "ok"
        assert found["found"] == f"{mark.ledger} is there, of schema 0006, and the lanes on the broker belong to it"
    other = LedgerMark("another", "elsewhere")
    assert await mark_on(broker, topology.names, other) == mark


async def test_check_names_both_where_the_lanes_belong_to_another_ledger_until_it_is_adopted(
    broker: Broker,
    topology: Topology,
    signalq: Signalq,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = LedgerMark("another", "sqlite+aiosqlite:////elsewhere/signalq.db")
    await mark_on(broker, topology.names, other)
    found = await ledger_finding(signalq, webhook, monkeypatch)
    assert found["state"] == "wrong", "there is none, but the broker remembers one"
    assert other.ledger in found["found"]
    mine = await make_ledger(ledger_url(topology.names.prefix))
    found = await ledger_finding(signalq, webhook, monkeypatch)
    assert found["state"] == "wrong"
    assert all(part in found["found"] for part in (mine.ledger_id, mine.ledger, other.ledger_id, other.ledger))
    assert "adopt-ledger" in found["advice"]
    adopted = await signalq("topology", "adopt-ledger", "--json")
    assert adopted.rows == [{"ledger_id": mine.ledger_id, "ledger": mine.ledger}]
    assert (await ledger_finding(signalq, webhook, monkeypatch))["state"] == "ok"


async def test_adopting_a_ledger_that_is_not_there_fails_with_the_path_and_makes_none(
    topology: Topology, prefix: str, signalq: Signalq
) -> None:
    ran = await signalq("topology", "adopt-ledger")
    assert ran.status == 1
    assert str(ledger_file(prefix)) in ran.err
    assert not ledger_file(prefix).exists()


async def test_check_tells_an_empty_postgresql_from_one_that_is_away_and_shows_no_password(
    topology: Topology, signalq: Signalq, webhook: Webhook, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", postgres_url)
    assert (await ledger_finding(signalq, webhook, monkeypatch))["state"] == "note"
    mark = await make_ledger(postgres_url)
    assert (await ledger_finding(signalq, webhook, monkeypatch))["found"] == f"{mark.ledger} is there, of schema 0006"
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", "postgresql+asyncpg://signalq:s3cret@127.0.0.1:1/signalq")
    found = await ledger_finding(signalq, webhook, monkeypatch)
    assert found["state"] == "wrong"
    assert "127.0.0.1:1/signalq" in found["found"]
    assert "s3cret" not in json.dumps(found)


async def test_listing_the_dead_twice_shows_the_same_in_order_and_takes_nothing(
    broker: Broker, names: Names, bury: Any, signalq: Signalq
) -> None:
    await bury([letter(number) for number in range(300)])
    first, second = [await signalq("dead", "list", "--queue", "--json") for _ in range(2)]
    assert first == second
    assert [row["intent_id"] for row in first.rows] == [f"id-{number}" for number in range(300)]
    assert await depth(broker.url, names.dead) == 300
    assert [message.properties.message_id for message in await drain(broker.url, names.dead)] == [
        f"id-{number}" for number in range(300)
    ]


async def test_a_row_has_exactly_the_fields_that_are_promised(bury: Any, signalq: Signalq) -> None:
    await bury([letter(1)])
    (row,) = (await signalq("dead", "list", "--queue", "--json")).rows
    assert list(row) == ROW_FIELDS
    assert row == {
        "intent_id": "id-1",
        "generation": 0,
        "connector": "main",
        "strategy": "momentum",
        "action": "openLong",
        "client_order_id": "c1",
        "reason": "rejected",
        "detail": "the webhook answered 400",
        "attempts": 1,
        "http_status": 400,
        "dead_at": "2026-01-31T12:00:00.000Z",
        "order": {"connectorName": "main", "action": "openLong", "percent": "50", "clientOrderId": "c1"},
    }


async def test_a_letter_that_is_there_twice_is_shown_and_counted_once_and_its_next_generation_again(
    bury: Any, signalq: Signalq
) -> None:
    await bury([letter(1), letter(1), letter(1, **{"signalq-generation": 1})])
    ran = await signalq("dead", "list", "--queue", "--json")
    assert [row["generation"] for row in ran.rows] == [0, 1]
    assert ran.err == "2 dead letters\n"


async def test_filters_show_the_letters_that_fit_and_a_limit_the_oldest_of_them(bury: Any, signalq: Signalq) -> None:
    await bury([letter(number) for number in range(10)])
    for option, wanted in (
        ("--reason=expired", {0, 2, 4, 6, 8}),
        ("--connector=main", {1, 3, 5, 7, 9}),
        ("--id=id-3", {3}),
    ):
        ran = await signalq("dead", "list", "--queue", option, "--json")
        assert [row["intent_id"] for row in ran.rows] == [f"id-{number}" for number in sorted(wanted)]
    ran = await signalq("dead", "list", "--queue", "--strategy=momentum", "--limit=2", "--json")
    assert [row["intent_id"] for row in ran.rows] == ["id-0", "id-1"]


async def test_a_letter_is_chosen_by_the_beginning_of_its_id_if_only_one_begins_so(bury: Any, signalq: Signalq) -> None:
    await bury([letter(1), letter(12), letter(23)])
    (shown,) = (await signalq("dead", "show", "id-2", "--json")).rows
    assert shown["intent_id"] == "id-23"
    (cut,) = (await signalq("dead", "show", "id…23", "--json")).rows
    assert cut["intent_id"] == "id-23", "as a table cuts it"
    (listed,) = (await signalq("dead", "list", "--queue", "--id", "id-1", "--json")).rows
    assert listed["intent_id"] == "id-1", "it is whole, though another begins so"
    await bury([letter(24)])
    for arguments in (
        ["show", "id-2"],
        ["list", "--queue", "--id", "id-2"],
        ["discard", "--id", "id-2", "--yes"],
        ["replay", "--id", "id-2"],
    ):
        ran = await signalq("dead", *arguments)
        assert (ran.status, ran.out) == (1, "")
        assert "id-2 is short for several ids (id-23, id-24): give more of the one that you mean" in ran.err
    assert (await signalq("dead", "list", "--queue", "--json")).err == "4 dead letters\n"


async def test_no_letter_is_thrown_away_for_another_that_is_gone_and_whose_id_its_own_begins_with(
    bury: Any, signalq: Signalq
) -> None:
    await bury([letter(345), letter(6)])
    for action in (["discard", "--yes"], ["replay"]):
        ran = await signalq("dead", *action, "--id", "id-34")
        assert (ran.status, ran.out) == (1, "")
        assert "there is no id-34, and id-345 may be another order: give the whole id, or id-34…" in ran.err
    assert (await signalq("dead", "list", "--queue", "--json")).err == "2 dead letters\n"
    found = await signalq("dead", "list", "--queue", "--id", "id-34", "--json")
    assert [row["intent_id"] for row in found.rows] == ["id-345"]


async def test_letters_that_are_not_ours_are_shown_with_their_known_fields_and_their_content_escaped(
    bury: Any, signalq: Signalq
) -> None:
    hostile = Basic.Properties(delivery_mode=2, message_id="\x1b[31mred\n", app_id="someone")
    await bury([(b"\xff{", hostile), (BODY, Basic.Properties(delivery_mode=2))])
    ran = await signalq("dead", "list", "--queue")
    assert "\x1b" not in ran.out
    assert r"\x1b[31mred\n" in ran.out
    assert "someone" in ran.out
    assert ran.err == "2 dead letters\n"


async def test_the_list_says_that_there_are_no_dead_letters(topology: Topology, signalq: Signalq) -> None:
    assert await signalq("dead", "list", "--queue", "--json") == Ran(0, "", "there are no dead letters\n")


async def test_showing_a_letter_shows_it_whole_but_for_its_token(bury: Any, signalq: Signalq) -> None:
    unreadable = b'{"connectorName":"main","connectorToken":"s3cret","action":'
    await bury([letter(1), (unreadable, letter(2)[1])])
    readable, broken = await signalq("dead", "show", "id-1"), await signalq("dead", "show", "id-2")
    for ran in (readable, broken):
        assert ran.status == 0
        assert '"connectorToken":"***"' in ran.out
        assert "s3cret" not in ran.out
        assert "signalq-reason" in ran.out
    (whole,) = (await signalq("dead", "show", "id-1", "--json")).rows
    assert list(whole) == [*ROW_FIELDS, "properties", "headers", "body"]


async def test_showing_a_letter_that_is_not_there_is_one_sentence(bury: Any, signalq: Signalq) -> None:
    await bury([letter(1)])
    ran = await signalq("dead", "show", "id-2")
    assert ran.status == 1
    assert ran.err == (
        "signalq: there is no dead letter id-2: `signalq dead list` shows those there are; see `signalq help "
        "unknown-id`\n"
    )


async def test_a_second_reader_waits_says_so_and_then_sees_everything(bury: Any, environment: None) -> None:
    await bury([letter(number) for number in range(20)])
    async with open_letters(load_settings(), on_wait=lambda _sentence: None) as first:
        second = await start("dead", "list", "--queue", "--json")
        assert second.stderr
        async with asyncio.timeout(TIMEOUT_S):
            assert b"another reader has" in await second.stderr.readline()
        assert [found.intent_id async for found in first] == [f"id-{number}" for number in range(20)]
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await second.communicate()
    assert second.returncode == 0
    assert [json.loads(line)["intent_id"] for line in out.splitlines()] == [f"id-{number}" for number in range(20)]


async def test_a_second_reader_gives_up_with_a_sentence(
    bury: Any, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury([letter(1)])
    monkeypatch.setattr("signalq.ops.dead_letters.turn.TURN_TIMEOUT_S", 0.5)
    said: list[str] = []
    async with open_letters(load_settings(), on_wait=said.append):
        with pytest.raises(Exception, match="another reader still has"):
            async with open_letters(load_settings(), on_wait=said.append):
                pass
    assert len(said) == 1


async def test_the_sandbox_says_where_it_is_and_ends_with_status_0(environment: None) -> None:
    process = await start("sandbox", "--port", "0", "--refuse", "bad", "--json")
    assert process.stdout
    async with asyncio.timeout(TIMEOUT_S), aiohttp.ClientSession() as http:
        url = json.loads(await process.stdout.readline())["url"]
        for connector, status in (("main", 200), ("bad", 400)):
            order = {"connectorName": connector, "connectorToken": "s3cret", "action": "buy"}
            async with http.post(url, json=order) as answer:
                assert answer.status == status
            row = json.loads(await process.stdout.readline())
            assert (row["connector"], row["body"]["connectorToken"]) == (connector, "***")
        process.terminate()
        _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")
