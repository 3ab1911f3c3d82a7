"""`signalq dead list` by the ledger, compared with the queue, and what brings the two together where they differ."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from pamqp.commands import Basic

from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.topology import Topology
from signalq.names import Names
from signalq.ops.dead_letters import census
from signalq.ops.dead_letters.reader import open_letters
from signalq.settings.sources import load_settings
from tests.support.amqp import depth, drain, plain_channel, publish, publish_all
from tests.support.broker import Broker
from tests.support.commands import Signalq
from tests.support.consumer import Consumer, ledger_file
from tests.support.graveyard import DETAIL, Dead, bury, dead, in_ledger, letter_of
from tests.support.orders import body, order
from tests.support.secrets_table import CONFIGURED
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

MORE = "the queue has {} more than the ledger knows: `signalq dead list --queue` reads the queue, and tells the ledger"
FEWER = "the queue has {} fewer than the ledger says: `signalq dead list --queue` reads the queue, and tells the ledger"

Bury = Callable[..., Awaitable[None]]


@pytest.fixture
def buried(broker: Broker, topology: Topology, environment: None) -> Bury:
    """Puts dead intents into ledger and queue, in this order; `noted`: with rows for their letters."""

    async def put(dead_ones: Sequence[Dead], *, noted: bool = True) -> None:
        await bury(broker.url, topology.names, dead_ones, noted=noted)

    return put


def settled(names: Names) -> list[tuple[object, ...]]:
    """The letters that are settled: id, generation, and how."""
    return in_ledger(
        names.prefix,
        "SELECT intent_id, generation, settled_how FROM letters WHERE settled_ms IS NOT NULL ORDER BY number",
    )


async def ids(signalq: Signalq, *options: str) -> list[str]:
    """The ids that are listed; nothing is said but how many there are."""
    ran = await signalq("dead", "list", *options, "--json")
    assert (ran.status, len(ran.err.splitlines())) == (0, 1), ran.err
    return [row["intent_id"] for row in ran.rows]


# --- by the ledger ---------------------------------------------------------------------------------------------------


async def test_a_row_by_the_ledger_is_the_row_by_the_queue(
    broker: Broker, names: Names, signalq: Signalq, webhook: Webhook
) -> None:
    webhook.behave(lambda _order: Answer(status=400))
    unreadable = b'{"connectorName":"main","connectorToken":"t0ken-of-mine","action":"buy","percent":"0"}'
    no_json = Basic.Properties(message_id="no json", app_id="momentum")
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        named = Basic.Properties(message_id="refused", app_id="momentum")
        await publish(broker.url, names.orders, "main", body(action="closeLong", log="one"), named)
        await publish(broker.url, names.orders, "main", body(log="two", clientOrderId="c1", fixed="1.50"))
        await publish(broker.url, names.orders, "main", b"{", no_json)
        await publish(broker.url, names.orders, "main", unreadable, Basic.Properties(message_id="no size"))
        await wait_until(lambda: len(consumer.events("intent.settled", status="dead")) == 4)
        by_ledger = await signalq("dead", "list", "--json")
        assert by_ledger.err == "4 dead letters\n", "the queue has as many"
        by_queue = await signalq("dead", "list", "--queue", "--json")
        assert by_queue.err == "4 dead letters\n", "there is no news for the ledger"
    assert "t0ken" not in by_ledger.out
    listed = {row["reason"] + str(row["intent_id"]): row for row in by_ledger.rows}
    read = {row["reason"] + str(row["intent_id"]): row for row in by_queue.rows}
    assert listed.keys() == read.keys()
    for key, row in listed.items():
        # The ledger keeps no fields of a body that is no order.
        assert row["order"] is None or row["order"] == read[key]["order"]
        assert row == read[key] | {"order": row["order"]}
    assert sum(row["order"] is None for row in listed.values()) == 2


async def test_filters_limits_and_beginnings_of_ids_choose_letters_of_the_ledger(
    buried: Bury, signalq: Signalq
) -> None:
    await buried([dead(n, reason="expired" if n % 2 else "rejected", connectorName=f"c{n % 3}") for n in range(12)])
    assert await ids(signalq, "--reason", "expired") == [f"id-{n}" for n in range(1, 12, 2)]
    assert await ids(signalq, "--reason", "expired", "--connector", "c0") == ["id-3", "id-9"]
    assert await ids(signalq, "--id", "id-11", "--id", "id-2") == ["id-2", "id-11"]
    assert await ids(signalq, "--strategy", "carry") == []
    ran = await signalq("dead", "list", "--limit", "3", "--connector", "c1", "--json")
    assert [row["intent_id"] for row in ran.rows] == ["id-1", "id-4", "id-7"]
    assert ran.err == "4 of 12 dead letters fit; shown are the 3 oldest\n"
    ran = await signalq("dead", "list", "--id", "id-1", "--json")
    assert [row["intent_id"] for row in ran.rows] == ["id-1"], "it is whole, though others begin so"
    ran = await signalq("dead", "list", "--id", "id-")
    assert (ran.status, ran.out) == (0, ""), "too short for a beginning, and no id"


async def test_a_beginning_that_several_ids_have_is_refused(buried: Bury, signalq: Signalq) -> None:
    await buried([dead("alike-1"), dead("alike-2")])
    ran = await signalq("dead", "list", "--id", "id-alike")
    assert (ran.status, ran.out) == (1, "")
    assert "id-alike is short for several ids (id-alike-1, id-alike-2)" in ran.err


async def test_rows_are_sorted_and_pages_are_put_together(
    buried: Bury, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buried([dead(n) for n in range(1_050)])
    assert await ids(signalq) == [f"id-{n}" for n in range(1_050)], "a page has 1,000 rows"
    ran = await signalq("dead", "list", "--sort=-intent_id", "--json")
    assert [row["intent_id"] for row in ran.rows] == sorted((f"id-{n}" for n in range(1_050)), reverse=True)
    table = await signalq("dead", "list")
    assert len(table.out.splitlines()) == 1_051, "outside of a terminal a table has all of them"


async def test_where_there_is_no_ledger_its_place_is_named_and_the_queue_can_be_read_all_the_same(
    broker: Broker, names: Names, topology: Topology, signalq: Signalq
) -> None:
    await publish_all(broker.url, "", names.dead, [letter_of(order(message_id="id-1"), b"{")])
    ran = await signalq("dead", "list")
    assert (ran.status, ran.out) == (1, "")
    assert str(ledger_file(names.prefix)) in ran.err
    assert not ledger_file(names.prefix).exists()
    assert await ids(signalq, "--queue") == ["id-1"]
    assert not ledger_file(names.prefix).exists()


# --- compared with the queue -----------------------------------------------------------------------------------------


async def test_letters_that_the_ledger_does_not_know_are_told_of_and_known_after_one_read_of_the_queue(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq
) -> None:
    """Those of an earlier version, and those that another program put there."""
    await buried([dead(1), dead(2)], noted=False)
    await buried([dead(3)])
    await publish_all(broker.url, "", names.dead, [(b"x", Basic.Properties(message_id="foreign"))] * 2)
    ran = await signalq("dead", "list", "--json")
    assert [row["intent_id"] for row in ran.rows] == ["id-3"]
    assert ran.err.splitlines() == ["1 dead letter", MORE.format("4 letters")]
    ran = await signalq("dead", "list", "--queue", "--json")
    assert [row["intent_id"] for row in ran.rows] == ["id-1", "id-2", "id-3", "foreign", "foreign"]
    assert ran.err.splitlines() == ["5 dead letters", "the ledger was told of 4 letters that it did not know"]
    # These of ours have died at the same moment: then they stand in the order in which they were noted.
    assert await ids(signalq) == ["id-3", "id-1", "id-2", "foreign", "foreign"]
    (row,) = (await signalq("dead", "list", "--id", "id-1", "--json")).rows
    assert row["order"] == {"connectorName": "main", "action": "openLong", "percent": "50", "log": "1"}
    causes = in_ledger(names.prefix, "SELECT cause, count(*) FROM letters GROUP BY cause ORDER BY cause")
    assert causes == [(None, 2), (DETAIL, 3)], "whoever wrote them: they are one group"
    assert await depth(broker.url, names.dead) == 5


async def test_letters_that_another_program_took_away_are_told_of_and_settled_by_one_read_of_the_queue(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buried([dead(1), dead(2), dead(3)])
    await drain(broker.url, names.dead)
    ran = await signalq("dead", "list", "--json")
    assert len(ran.rows) == 3
    assert ran.err.splitlines() == ["3 dead letters", FEWER.format("3 letters")]
    ran = await signalq("dead", "list", "--queue")
    assert ran.err.splitlines() == ["there are no dead letters", "the ledger was told that 3 letters are gone"]
    assert settled(names) == [("id-1", 1, "gone"), ("id-2", 1, "gone"), ("id-3", 1, "gone")]
    assert await ids(signalq) == []


async def test_a_letter_that_is_there_twice_is_one_row_and_counts_for_two_once_the_queue_was_read(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq
) -> None:
    await buried([dead(1)])
    await publish_all(broker.url, "", names.dead, [dead(1).letter])
    assert (await signalq("dead", "list")).err.splitlines() == ["1 dead letter", MORE.format("1 letter")]
    assert await ids(signalq, "--queue") == ["id-1"]
    assert await ids(signalq) == ["id-1"]


async def test_a_letter_that_may_be_on_its_way_is_not_settled_by_a_read_that_did_not_meet_it(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq
) -> None:
    """What can't be read is noted before its letter is published."""
    await buried([dead(1)])
    await drain(broker.url, names.dead)
    now_ms = "(SELECT CAST(strftime('%s', 'now') AS INTEGER) * 1000)"
    in_ledger(names.prefix, f"UPDATE letters SET since_ms = {now_ms}")  # noqa: S608 - our own text
    ran = await signalq("dead", "list", "--queue")
    assert ran.err.splitlines() == ["there are no dead letters"]
    assert settled(names) == []


async def test_while_another_command_reads_the_queue_nothing_is_compared(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq
) -> None:
    await buried([dead(1)])
    async with open_letters(load_settings(), on_wait=print) as reader:
        assert [found.intent_id async for found in reader] == ["id-1"]
        ran = await signalq("dead", "list", "--json")
    assert [row["intent_id"] for row in ran.rows] == ["id-1"]
    assert "another command reads the queue now" in ran.err


async def test_without_a_broker_the_letters_are_listed_and_why_they_are_not_compared_is_said(
    buried: Bury, signalq: Signalq, monkeypatch: pytest.MonkeyPatch
) -> None:
    await buried([dead(1)])
    monkeypatch.setenv("SIGNALQ_BROKER__URL", "amqp://guest:s3cret@127.0.0.1:1/")
    ran = await signalq("dead", "list", "--json")
    assert (ran.status, [row["intent_id"] for row in ran.rows]) == (0, ["id-1"])
    assert "the queue is not compared with the ledger: " in ran.err
    assert "s3cret" not in ran.err


async def test_a_ledger_that_the_lanes_do_not_belong_to_is_refused_and_told_nothing(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq
) -> None:
    await buried([dead(1)], noted=False)
    async with await connect(broker.url, name="signalq test") as connection:
        await claim_mark(connection, names, LedgerMark("another", "sqlite+aiosqlite:////elsewhere/signalq.db"))
    ran = await signalq("dead", "list")
    assert ran.status == 1
    assert "belong to the ledger sqlite+aiosqlite:////elsewhere/signalq.db" in ran.err
    assert await ids(signalq, "--queue") == ["id-1"]
    assert in_ledger(names.prefix, "SELECT * FROM letters") == []


# --- settled by what is done -----------------------------------------------------------------------------------------


async def test_replayed_and_discarded_letters_are_settled_and_refused_ones_are_not(
    names: Names, buried: Bury, signalq: Signalq
) -> None:
    await buried([dead(1), dead(2, reason="outcome-unknown"), dead(3, reason="expired")])
    await buried([dead(4, reason="expired")], noted=False)
    assert (await signalq("dead", "replay", "--reason", "rejected")).status == 0
    assert (await signalq("dead", "replay", "--reason", "outcome-unknown")).status == 1
    assert (await signalq("dead", "discard", "--reason", "expired")).status == 0
    assert settled(names) == [("id-1", 1, "replayed"), ("id-3", 1, "discarded"), ("id-4", 1, "discarded")]
    assert await ids(signalq) == ["id-2"]


async def test_a_dry_run_tells_the_ledger_nothing(names: Names, buried: Bury, signalq: Signalq) -> None:
    await buried([dead(1)], noted=False)
    for command in ("replay", "discard"):
        assert (await signalq("dead", command, "--all", "--dry-run")).status == 0
    assert in_ledger(names.prefix, "SELECT * FROM letters") == []
    assert in_ledger(names.prefix, "SELECT * FROM audit") == []


async def test_a_letter_that_was_settled_and_stays_is_open_again_after_the_next_read(
    names: Names, buried: Bury, signalq: Signalq
) -> None:
    """A command that is killed between the ledger and the acknowledgement leaves its letter there."""
    await buried([dead(1)])
    in_ledger(names.prefix, "UPDATE letters SET settled_ms = 1, settled_how = 'replayed', settled_by = 'bob'")
    assert (await signalq("dead", "list")).err.splitlines() == ["there are no dead letters", MORE.format("1 letter")]
    assert (await signalq("dead", "show", "id-1")).status == 0
    assert await ids(signalq) == ["id-1"]


@pytest.mark.bare_prefix
async def test_a_letter_that_was_to_be_settled_and_could_not_be_replayed_stays_open(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq
) -> None:
    await buried([dead(1)])
    async with plain_channel(broker.url) as channel:
        await channel.exchange_delete(names.orders)
    ran = await signalq("dead", "replay", "--all", "--json")
    assert (ran.status, ran.rows[0]["result"]) == (1, "not done")
    assert await depth(broker.url, names.dead) == 1
    assert (await signalq("dead", "list", "--queue")).err.splitlines()[0] == "1 dead letter"
    assert await ids(signalq) == ["id-1"]


# --- a census --------------------------------------------------------------------------------------------------------


async def test_a_census_tells_the_ledger_in_many_steps_as_in_one(
    broker: Broker, names: Names, buried: Bury, environment: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census, "AT_ONCE_MAX", 7)
    monkeypatch.setattr(census, "MARKS_AT_ONCE_MAX", 5)
    await buried([dead(n) for n in range(60)])
    await drain(broker.url, names.dead)
    again = [dead(n).letter for n in range(30)]
    await publish_all(broker.url, "", names.dead, [*again, *again, dead("new").letter])
    async with (
        census.census_of(load_settings()) as counting,
        open_letters(load_settings(), on_wait=print, census=counting) as reader,
    ):
        assert len([found async for found in reader]) == 31
        assert counting is not None
        await counting.end()
    assert (counting.noted, counting.gone, counting.why_not) == (1, 30, None)
    assert len(settled(names)) == 30
    counts = in_ledger(names.prefix, "SELECT messages, count(*) FROM letters WHERE settled_ms IS NULL GROUP BY 1")
    assert counts == [(1, 1), (2, 30)]


async def test_no_secret_of_a_foreign_letter_reaches_the_ledger(
    broker: Broker, names: Names, buried: Bury, signalq: Signalq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "signalq.toml").write_text(f'[connectors.main]\ntoken = "{CONFIGURED}"\n', encoding="utf-8")
    monkeypatch.setenv("SIGNALQ_CONFIG", str(tmp_path / "signalq.toml"))
    await buried([])
    own = "an-own-token-of-the-order"
    for secret in (CONFIGURED, own):
        fields = {"connectorName": "main", "connectorToken": own, "action": secret, "clientOrderId": secret}
        said = {"signalq-detail": f"see {secret}", "signalq-reason": secret, "signalq-strategy": f"of {secret}"}
        for content in (
            fields,
            fields | {"action": "buy"},
            fields | {"action": "buy", "clientOrderId": "c", "log": own},
        ):
            properties = Basic.Properties(message_id=f"id {secret}", headers=said | {"signalq-connector": secret})
            await publish_all(broker.url, "", names.dead, [(json.dumps(content).encode(), properties)])
    assert (await signalq("dead", "list", "--queue")).status == 0
    rows = in_ledger(names.prefix, "SELECT * FROM letters")
    assert len(rows) == 6
    assert CONFIGURED not in str(rows)
    assert own not in str(rows)
