"""`signalq dead replay` and `discard` with the real ledger, broker, consumer and webhook."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import get_args

import pytest
from pamqp.commands import Basic
from sqlalchemy import Connection

from signalq import names as headers
from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.topology import Topology
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replays
from signalq.consumer.orders.state import Reason
from signalq.names import Names
from signalq.ops.dead_letters.actions import candidate_of
from signalq.ops.dead_letters.reader import open_letters
from signalq.settings.sources import load_settings
from tests.support.amqp import depth, drain, publish, publish_all
from tests.support.broker import Broker, through
from tests.support.commands import ROOT, Ran, ended, run, start
from tests.support.consumer import Consumer, ledger_file, ledger_url
from tests.support.graveyard import Dead, bury, dead, in_ledger, letter_of, record
from tests.support.orders import body, order
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from tests.support.webhook import Answer, Webhook

LONG_AGO_MS = 1_000_000_000_000
MANY = 1000

Bury = Callable[[Sequence[Dead]], Awaitable[None]]


@pytest.fixture
def environment(broker: Broker, topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of this test, for this process and those it starts."""
    monkeypatch.delenv("SIGNALQ_CONFIG", raising=False)
    monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
    monkeypatch.setenv("SIGNALQ_BROKER__PREFIX", topology.names.prefix)
    monkeypatch.setenv("SIGNALQ_LEDGER__URL", ledger_url(topology.names.prefix))


@pytest.fixture
def buried(broker: Broker, names: Names, environment: None) -> Bury:
    """Puts dead intents into ledger and queue, in this order."""
    return lambda dead_ones: bury(broker.url, names, dead_ones)


def standing(names: Names, intent_id: str) -> tuple[object, ...]:
    """Generation and status in the ledger."""
    (row,) = in_ledger(names.prefix, f"SELECT generation, status FROM intents WHERE intent_id = '{intent_id}'")  # noqa: S608
    return row


def steps(names: Names, what: str) -> list[tuple[object, ...]]:
    """The steps of one kind: intent, generation, by whom."""
    return in_ledger(
        names.prefix,
        "SELECT intent_id, steps.generation, steps.detail FROM steps JOIN intents ON intents.number = steps.intent"  # noqa: S608
        f" WHERE what = '{what}' ORDER BY steps.number",
    )


def logs(hook: Webhook) -> list[str]:
    """What the webhook got, by the `log` of each."""
    return [found.json["log"] for found in hook.orders]


async def replayed_up_to_the_ledger(one: Dead) -> None:
    """What a replay does before it publishes, and no more: it was killed there."""
    async with LedgerClient(load_settings().ledger.url.get_secret_value()) as ledger:

        def begin(connection: Connection) -> bool:
            found = replays.find(connection, one.order.strategy, one.order.intent_id)
            assert found is not None
            return replays.begin(connection, clock_ms(connection), found, "by a test")

        assert await ledger.transact(begin)


async def replayed_up_to_the_publish(broker: Broker, names: Names, one: Dead) -> None:
    """What a replay does before it takes the letter away, and no more."""
    await replayed_up_to_the_ledger(one)
    async with open_letters(load_settings(), on_wait=print) as letters:
        (letter,) = [letter async for letter in letters if letter.intent_id == one.order.intent_id]
    again = candidate_of(letter, load_settings())
    await publish(broker.url, names.orders, "main", letter.body, again.properties)


# --- replay ----------------------------------------------------------------------------------------------------------


async def test_a_letter_of_every_reason_is_replayed_delivered_once_and_gone(
    broker: Broker, names: Names, buried: Bury, webhook: Webhook
) -> None:
    reasons: tuple[Reason, ...] = get_args(Reason)
    await buried([dead(reason, reason=reason) for reason in reasons])
    ran = await run("dead", "replay", "--all", "--force", "--json")
    assert (ran.status, ran.err) == (0, f"replayed: {len(reasons)} of {len(reasons)} dead letters\n")
    assert [(row["reason"], row["result"], row["why"]) for row in ran.rows] == [(r, "replayed", None) for r in reasons]
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await webhook.received(len(reasons))
        await wait_until(lambda: len(consumer.events("intent.settled", status="delivered")) == len(reasons))
    assert logs(webhook) == list(reasons), "in the order of the letters"
    assert {standing(names, f"id-{reason}") for reason in reasons} == {(2, "delivered")}
    assert await depth(broker.url, names.dead) == 0
    audit = steps(names, "replayed")
    assert [(intent, generation) for intent, generation, _ in audit] == [(f"id-{reason}", 2) for reason in reasons]
    assert all(str(by).endswith("with signalq dead replay") for _, _, by in audit)


async def test_a_replayed_intent_passes_every_check_again_and_its_next_letter_is_the_next_generation(
    broker: Broker, names: Names, environment: None, webhook: Webhook
) -> None:
    webhook.behave(lambda _order: Answer(status=400))
    message = Basic.Properties(
        delivery_mode=2, message_id="m1", app_id="momentum", headers={"x-death": "old", "of-mine": "kept"}
    )
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await publish(broker.url, names.orders, "main", body(log="one"), message)
        for generation in (1, 2, 3):
            await wait_until(lambda wanted=generation: len(consumer.events("intent.settled", status="dead")) == wanted)
            (row,) = (await run("dead", "list", "--json")).rows
            assert (row["intent_id"], row["generation"], row["attempts"]) == ("m1", generation, 1)
            if generation < 3:
                assert (await run("dead", "replay", "--id", "m1")).status == 0
    (letter,) = await drain(broker.url, names.dead)
    assert letter.body == body(log="one")
    assert (letter.properties.message_id, letter.properties.app_id) == ("m1", "momentum")
    assert letter.headers["of-mine"] == "kept"
    assert "x-death" not in letter.headers


async def test_a_letter_that_a_person_has_to_confirm_is_refused_with_the_reason_and_goes_with_force(
    broker: Broker, names: Names, buried: Bury
) -> None:
    await buried(
        [
            dead("doubt", reason="outcome-unknown"),
            dead("old", created_ms=LONG_AGO_MS),
            dead("old-exit", created_ms=LONG_AGO_MS, action="closeLong"),
        ]
    )
    unknown = order(body(log="forgotten"), message_id="id-forgotten")
    unreadable = letter_of(order(message_id="id-broken"), b'{"connectorName":"main"}', reason="invalid")
    await publish_all(broker.url, "", names.dead, [letter_of(unknown, body(log="forgotten")), unreadable])
    first = await run("dead", "replay", "--all", "--json")
    assert first.status == 1
    assert first.err.splitlines() == [
        "replayed: 1 of 5 dead letters; refused: 4",
        "signalq: 4 dead letters were refused and stay where they are: each row says why",
    ]
    why = {row["intent_id"]: row["why"] for row in first.rows if row["result"] == "refused"}
    assert "look on the platform first: --force" in why["id-doubt"]
    assert "60 s are allowed: --force" in why["id-old"]
    assert "older than ledger.retention_days: --force" in why["id-forgotten"]
    assert "would be invalid: connectorToken" in why["id-broken"]
    assert await depth(broker.url, names.dead) == 4
    second = await run("dead", "replay", "--all", "--force", "--json")
    assert second.status == 0
    assert "would be invalid" in second.rows[-1]["why"]
    assert (await depth(broker.url, names.dead), await depth(broker.url, names.orders)) == (0, 5)
    assert standing(names, "id-forgotten") == (2, "received")


async def test_a_forgotten_intent_is_delivered_as_its_next_generation_and_an_unreadable_one_comes_back(
    broker: Broker, names: Names, environment: None, webhook: Webhook
) -> None:
    await record(ledger_url(names.prefix), [])
    delayed = body(log="forgotten", delaySeconds=3600)
    forgotten = letter_of(order(delayed, message_id="id-forgotten", created_ms=LONG_AGO_MS), delayed)
    broken = letter_of(order(message_id="id-broken"), b"{", reason="invalid")
    await publish_all(broker.url, "", names.dead, [forgotten, broken])
    assert (await run("dead", "replay", "--all", "--force")).status == 0
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await wait_until(lambda: len(consumer.events("intent.settled")) == 2)
    assert logs(webhook) == ["forgotten"], "neither expired nor delayed again"
    assert standing(names, "id-forgotten") == (2, "delivered")
    (row,) = (await run("dead", "list", "--json")).rows
    assert (row["intent_id"], row["reason"]) == ("id-broken", "invalid")


async def test_a_dry_run_says_the_result_of_each_letter_and_changes_nothing(
    broker: Broker, names: Names, buried: Bury
) -> None:
    await buried([dead(1), dead(2, reason="outcome-unknown")])
    before = in_ledger(names.prefix, "SELECT * FROM intents")
    for command in ("replay", "discard"):
        ran = await run("dead", command, "--all", "--dry-run", "--json")
        verb = f"would be {command}ed"
        assert ran.rows[0]["result"] == verb
        assert ran.rows[1]["result"] == ("would be refused" if command == "replay" else verb)
    assert in_ledger(names.prefix, "SELECT * FROM intents") == before
    assert steps(names, "replayed") == steps(names, "discarded") == []
    assert (await depth(broker.url, names.dead), await depth(broker.url, names.orders)) == (2, 0)


async def test_an_own_id_an_id_given_at_receipt_and_a_delay_are_replayed_as_they_should(
    broker: Broker, names: Names, environment: None, webhook: Webhook
) -> None:
    """The first has another intent's message_id, the second had none, the third's delay is over."""
    first_id = Basic.Properties(delivery_mode=2, message_id="m1")
    webhook.behave(lambda found: Answer() if found.json["log"] == "one" or replaying else Answer(status=400))
    replaying = False
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await publish(broker.url, names.orders, "main", body(log="one"), first_id)
        await publish(broker.url, names.orders, "main", body(log="two"), first_id)
        await publish(broker.url, names.orders, "main", body(log="three"))
        await publish(broker.url, names.orders, "main", body(log="four", delaySeconds=0.5))
        await wait_until(lambda: len(consumer.events("intent.settled", status="dead")) == 3)
        replaying = True
        refused = await run("dead", "replay", "--reason", "invalid", "--json")
        assert "belongs to another intent" in refused.rows[0]["why"]
        began = time.monotonic()
        assert (await run("dead", "replay", "--all", "--force")).status == 0
        await wait_until(lambda: len(consumer.events("intent.settled", status="delivered")) == 4)
        assert time.monotonic() - began < 30
        assert len(consumer.events("intent.scheduled")) == 1, "the delay is not served again"
    assert Counter(logs(webhook)) == {"one": 1, "two": 1, "three": 2, "four": 2}
    assert await depth(broker.url, names.dead) == 0


async def test_copies_go_with_their_letter_and_a_letter_of_an_earlier_generation_is_only_taken_away(
    broker: Broker, names: Names, buried: Bury
) -> None:
    again = Dead(dead(1).order, dead(1).content, generation=2)
    await buried([again])
    stale = letter_of(again.order, again.content, generation=1)
    await publish_all(broker.url, "", names.dead, [stale, again.letter])
    ran = await run("dead", "replay", "--all", "--json")
    assert ran.status == 0
    assert [(row["generation"], row["result"]) for row in ran.rows] == [(2, "replayed"), (1, "replayed already")]
    assert ran.rows[1]["why"] == "generation 1 was replayed already; generation 3 is received"
    assert (await depth(broker.url, names.dead), await depth(broker.url, names.orders)) == (0, 1)


# --- interrupted -----------------------------------------------------------------------------------------------------


async def test_a_replay_interrupted_after_the_ledger_is_finished_by_the_next_one(
    broker: Broker, names: Names, buried: Bury, webhook: Webhook
) -> None:
    await buried([one := dead(1)])
    await replayed_up_to_the_ledger(one)
    assert standing(names, "id-1") == (2, "received")
    discarding = await run("dead", "discard", "--all", "--json")
    assert (discarding.status, discarding.rows[0]["result"]) == (1, "refused")
    ran = await run("dead", "replay", "--all", "--json")
    assert (ran.status, ran.rows[0]["result"]) == (0, "replayed")
    await delivered_once(broker, names, webhook, "id-1")


async def test_a_replay_interrupted_after_the_publish_and_not_taken_up_is_delivered_once(
    broker: Broker, names: Names, buried: Bury, webhook: Webhook
) -> None:
    await buried([one := dead(1)])
    await replayed_up_to_the_publish(broker, names, one)
    assert (await run("dead", "replay", "--all")).status == 0
    assert await depth(broker.url, names.orders) == 2, "the second is answered from the ledger"
    await delivered_once(broker, names, webhook, "id-1")


async def test_a_replay_interrupted_after_the_publish_and_taken_up_since_only_takes_the_letter_away(
    broker: Broker, names: Names, buried: Bury, webhook: Webhook
) -> None:
    await buried([one := dead(1)])
    await replayed_up_to_the_publish(broker, names, one)
    await delivered_once(broker, names, webhook, "id-1")
    ran = await run("dead", "replay", "--all", "--json")
    assert (ran.status, ran.rows[0]["result"]) == (0, "replayed already")
    assert ran.rows[0]["why"] == "generation 1 was replayed already; generation 2 is delivered"
    assert (await depth(broker.url, names.dead), await depth(broker.url, names.orders)) == (0, 0)


async def test_discarding_with_force_ends_a_replay_that_no_consumer_has_taken(
    broker: Broker, names: Names, buried: Bury, webhook: Webhook
) -> None:
    await buried([one := dead(1), dead(2)])
    await replayed_up_to_the_publish(broker, names, one)
    assert (await run("dead", "discard", "--id", "id-1", "--force")).status == 0
    assert standing(names, "id-1") == (2, "dead")
    assert (await run("dead", "replay", "--all")).status == 0
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await wait_until(lambda: consumer.events("intent.settled", status="delivered"))
        await wait_until(lambda: idle(consumer))
    assert logs(webhook) == ["2"]


async def idle(consumer: Consumer) -> bool:
    return await consumer.metric("signalq_in_flight") == 0


async def delivered_once(broker: Broker, names: Names, webhook: Webhook, intent_id: str) -> None:
    """A consumer takes all that waits, and POSTs this one once."""
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await wait_until(lambda: consumer.events("intent.settled", status="delivered"))
        await wait_until(lambda: is_empty(broker, names))
    assert len(webhook.orders) == 1
    assert standing(names, intent_id) == (2, "delivered")


async def is_empty(broker: Broker, names: Names) -> bool:
    return await depth(broker.url, names.orders) == 0


async def test_replays_killed_in_the_middle_lose_nothing_and_double_nothing_while_new_letters_arrive(
    broker: Broker, names: Names, buried: Bury, webhook: Webhook
) -> None:
    dice = random.Random(7)
    await buried([dead(number) for number in range(MANY)])
    webhook.behave(lambda found: Answer(status=400) if found.json["log"] == "new" else Answer())
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        kills = 0
        while (ready := await depth(broker.url, names.dead)) and kills < 8:
            await publish(broker.url, names.orders, "main", body(log="new"))
            process = await start("dead", "replay", "--reason", "rejected", "--connector", "main")
            begun = len(steps(names, "replayed")) + dice.randrange(1, 1 + min(ready, 300))
            await wait_until(
                lambda begun=begun, process=process: (
                    has_steps(names, "replayed", begun) or process.returncode is not None
                ),
                what="a few replays, or all of them",
            )
            if process.returncode is None:
                process.kill()
            await ended(process)
            kills += 1
        webhook.behave(lambda _found: Answer())
        while (await run("dead", "list", "--queue", "--json")).rows:
            assert (await run("dead", "replay", "--all")).status == 0
            await wait_until(lambda: is_empty(broker, names))
        await wait_until(lambda: idle(consumer))
    posted = Counter(logs(webhook))
    del posted["new"]
    assert posted == {str(number): 1 for number in range(MANY)}
    assert in_ledger(names.prefix, "SELECT DISTINCT status FROM intents") == [("delivered",)]


def has_steps(names: Names, what: str, count: int) -> bool:
    return len(steps(names, what)) >= count


async def test_discarding_by_filter_killed_in_the_middle_takes_nothing_else(
    broker: Broker, names: Names, buried: Bury
) -> None:
    await buried([dead(n, reason="expired" if n % 3 else "rejected") for n in range(MANY)])
    process = await start("dead", "discard", "--reason", "expired")
    await wait_until(lambda: has_steps(names, "discarded", 150))
    process.kill()
    assert (await ended(process)).status == -signal.SIGKILL
    await wait_until(lambda: nobody_reads(broker, names))
    rest = [row["intent_id"] for row in (await run("dead", "list", "--queue", "--json")).rows]
    assert {f"id-{n}" for n in range(0, MANY, 3)} <= set(rest)
    assert (await run("dead", "discard", "--reason", "expired")).status == 0
    rest = [row["intent_id"] for row in (await run("dead", "list", "--json")).rows]
    assert sorted(rest) == sorted(f"id-{n}" for n in range(0, MANY, 3))
    assert len(steps(names, "discarded")) == MANY - len(rest), "each once"


async def nobody_reads(broker: Broker, names: Names) -> bool:
    async with await connect(broker.url, name="signalq test") as connection:
        depths = await Topology(names).depths(connection)
    found = depths[names.dead]
    return found is not None and not found.consumers


async def test_ctrl_c_says_how_many_were_done_and_a_second_run_does_the_rest(
    broker: Broker, names: Names, buried: Bury
) -> None:
    await buried([dead(number) for number in range(MANY)])
    process = await start("dead", "replay", "--all", "--json")
    await wait_until(lambda: has_steps(names, "replayed", 150))
    process.send_signal(signal.SIGINT)
    ran = await ended(process)
    assert ran.status == 130
    done = [row for row in ran.rows if row["result"] == "replayed"]
    assert 0 < len(done) < MANY
    assert ran.err.strip() == (
        f"interrupted; replayed: {len(done):,} of {len(done):,} dead letters; the other letters are where they were"
    )
    again = await run("dead", "replay", "--all", "--json")
    assert (again.status, len(again.rows)) == (0, MANY - len(done))
    assert await depth(broker.url, names.orders) == MANY


async def test_a_broker_that_is_gone_in_the_middle_is_one_sentence_and_a_second_run_does_the_rest(
    broker: Broker, names: Names, buried: Bury, link: Proxy, monkeypatch: pytest.MonkeyPatch, webhook: Webhook
) -> None:
    await buried([dead(number) for number in range(MANY)])
    monkeypatch.setenv("SIGNALQ_BROKER__URL", through(link, broker.url))
    process = await start("dead", "replay", "--all")
    await wait_until(lambda: has_steps(names, "replayed", 150))
    await link.cut()
    ran = await ended(process)
    assert ran.status == 1
    assert ran.err.count("signalq: ") == 1
    assert "Traceback" not in ran.err
    monkeypatch.setenv("SIGNALQ_BROKER__URL", broker.url)
    await wait_until(lambda: nobody_reads(broker, names))
    assert (await run("dead", "replay", "--all")).status == 0
    assert await depth(broker.url, names.dead) == 0
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await webhook.received(MANY, 60)
        await wait_until(lambda: is_empty(broker, names))
        await wait_until(lambda: idle(consumer))
    assert Counter(logs(webhook)) == {str(number): 1 for number in range(MANY)}


# --- discard ---------------------------------------------------------------------------------------------------------


async def test_discarding_takes_the_chosen_letters_and_notes_the_user_even_for_intents_that_the_ledger_does_not_know(
    broker: Broker, names: Names, buried: Bury
) -> None:
    await buried([dead(1), dead(2)])
    await publish_all(
        broker.url, "", names.dead, [letter_of(order(message_id="id-3"), b"{"), (b"x", Basic.Properties())]
    )
    ran = await run("dead", "discard", "--id", "id-1", "--id", "id-3", "--json")
    assert (ran.status, ran.err) == (0, "discarded: 2 of 2 dead letters\n")
    rest = (await run("dead", "list", "--json")).rows
    assert [(row["intent_id"] == "id-2", row["reason"]) for row in rest] == [(True, "rejected"), (False, None)]
    ((intent, generation, by),) = steps(names, "discarded")
    assert (intent, generation) == ("id-1", 1)
    assert str(by).endswith("with signalq dead discard")
    assert standing(names, "id-1") == (1, "dead")


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", 2), (b"y\n", 1)])
async def test_on_a_terminal_discarding_asks_first_and_leaves_letters_that_arrive_after_the_question(
    broker: Broker, names: Names, buried: Bury, answer: bytes, left: int
) -> None:
    await buried([dead(1)])
    ours, theirs = os.openpty()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "signalq", "dead", "discard", "--all"),
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            cwd=ROOT,
        )
        asked = b""
        while b"[y/N]" not in asked:
            asked += await asyncio.to_thread(os.read, ours, 1000)
        assert b"throw 1 dead letter away for good?" in asked
        await publish_all(broker.url, "", names.dead, [dead(2).letter])
        os.write(ours, answer)
        ran = await ended(process)
    finally:
        os.close(ours)
        os.close(theirs)
    assert ran.status == (1 if left == 2 else 0)
    assert await depth(broker.url, names.dead) == left


# --- sentences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["replay", "discard"])
async def test_without_a_filter_or_all_nothing_is_touched(command: str, buried: Bury) -> None:
    await buried([dead(1)])
    for arguments in ([], ["--dry-run"], ["--force"]):
        ran = await run("dead", command, *arguments)
        assert ran.status == 2
        assert "--all" in ran.err
    assert len((await run("dead", "list", "--json")).rows) == 1


async def test_an_id_that_is_not_there_is_named_and_the_others_are_done(
    broker: Broker, names: Names, buried: Bury
) -> None:
    await buried([dead(1)])
    ran = await run("dead", "replay", "--id", "id-1", "--id", "id-2")
    assert ran.status == 1
    assert ran.err.splitlines()[-1] == (
        "signalq: there is no dead letter id-2: `signalq dead list` shows those there are"
    )
    assert await depth(broker.url, names.dead) == 0


async def test_without_a_ledger_the_path_is_named_and_none_is_made(names: Names, environment: None) -> None:
    for command in ("replay", "discard"):
        ran = await run("dead", command, "--all")
        assert ran.status == 1
        assert str(ledger_file(names.prefix)) in ran.err
    assert not ledger_file(names.prefix).exists()


async def test_a_ledger_that_the_lanes_do_not_belong_to_is_refused(broker: Broker, names: Names, buried: Bury) -> None:
    await buried([dead(1)])
    async with await connect(broker.url, name="signalq test") as connection:
        await claim_mark(connection, names, LedgerMark("another", "sqlite+aiosqlite:////elsewhere/signalq.db"))
    ran = await run("dead", "replay", "--all")
    assert ran.status == 1
    assert "belong to the ledger sqlite+aiosqlite:////elsewhere/signalq.db" in ran.err
    assert await depth(broker.url, names.dead) == 1


async def test_a_replay_waits_for_another_reader_and_says_so(broker: Broker, names: Names, buried: Bury) -> None:
    await buried([dead(1)])
    async with open_letters(load_settings(), on_wait=print):
        process = await start("dead", "replay", "--all")
        assert process.stderr
        async with asyncio.timeout(20):
            assert b"another reader has" in await process.stderr.readline()
    ran: Ran = await ended(process)
    assert ran.status == 0
    assert await depth(broker.url, names.dead) == 0


async def test_tokens_are_in_no_row(buried: Bury) -> None:
    await buried([dead(1, connectorToken="s3cret")])
    ran = await run("dead", "replay", "--all", "--json")
    assert "s3cret" not in ran.out + ran.err
    assert list(json.loads(ran.out))[-2:] == ["result", "why"]
    assert headers.DEAD_AT not in ran.out
