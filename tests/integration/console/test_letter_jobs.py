"""Verdicts, replays and discards in the console, on a real broker, ledger and consumer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from pamqp.commands import Basic

from signalq.amqp.connection import connect
from signalq.amqp.ledger_mark import LedgerMark, claim_mark
from signalq.amqp.topology import Topology
from signalq.consumer.ledger.actor import Actor
from signalq.names import Names
from signalq.ops.console.letters import jobs
from signalq.ops.console.letters.job import Job
from signalq.ops.dead_letters.reader import open_letters
from tests.support.amqp import depth, drain, publish_all
from tests.support.broker import Broker
from tests.support.console_site import Browser, OpenConsole, open_console
from tests.support.consumer import Consumer, ledger_url
from tests.support.graveyard import bury, dead, in_ledger, letter_of
from tests.support.letter_pages import asked, begun, groups, judged, letters, mark_of, results, until, words
from tests.support.orders import body, order
from tests.support.waiting import wait_until
from tests.support.webhook import Webhook

LONG_AGO_MS = 1_000_000_000_000
HOSTILE = "\u202e<img src=x onerror=alert(1)>{{7*7}}"
TOKEN = "t0ken-that-nobody-may-see"
BOB = Actor("bob", "console", "10.2.0.7")


@pytest_asyncio.fixture
async def console(tmp_path: Path, broker: Broker, topology: Topology, names: Names) -> AsyncIterator[OpenConsole]:
    """A console at this test's broker, over its ledger."""
    at = {"broker": {"url": broker.url, "prefix": names.prefix}, "ledger": {"url": ledger_url(names.prefix)}}
    async with open_console(tmp_path, **at) as opened:
        yield opened


@pytest_asyncio.fixture
async def alice(console: OpenConsole) -> Browser:
    return await console.browser("alice")


def standing(names: Names) -> dict[str, tuple[int, str]]:
    """Generation and status of each intent in the ledger."""
    rows = in_ledger(names.prefix, "SELECT intent_id, generation, status FROM intents ORDER BY number")
    return {intent_id: (generation, status) for intent_id, generation, status in rows}


def audited(names: Names) -> list[tuple[object, ...]]:
    """Who, by which way, what, how many done and refused, and about what."""
    rows = in_ledger(names.prefix, "SELECT who, via, what, done, refused, about FROM audit ORDER BY number")
    return [(*row[:5], json.loads(row[5])) for row in rows]


async def rest(broker: Broker, names: Names) -> list[str | None]:
    """The ids of the letters in the queue, in their order."""
    return [message.properties.message_id for message in await drain(broker.url, names.dead)]


async def test_a_replay_takes_exactly_what_its_verdict_has_judged_and_shows_what_became_of_each(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser, webhook: Webhook
) -> None:
    await bury(broker.url, names, [dead(1), dead(2), dead("doubt", reason="outcome-unknown")])
    page = await alice.get("/dead")
    await bury(broker.url, names, [dead("later")])
    verdict = await judged(console, alice, "replay", groups_with=["rejected"], page=page)
    shown = await alice.get(f"/jobs/{verdict.key}")
    assert "2 would be replayed" in words(shown.text)
    assert "Replay 2" in words(shown.text)
    assert standing(names) == dict.fromkeys(("id-1", "id-2", "id-doubt", "id-later"), (1, "dead"))
    assert audited(names) == [], "a verdict changes nothing"
    replay = await asked(console, await alice.post(f"/jobs/{verdict.key}/replay"))
    assert (replay.state, replay.tally.count("done"), replay.missing) == ("done", 2, 0)
    assert await depth(broker.url, names.dead) == 2
    assert standing(names)["id-later"] == standing(names)["id-doubt"] == (1, "dead")
    key = {"reason": "rejected", "connector": "main", "cause": "the webhook refused it: HTTP 400"}
    assert audited(names) == [
        ("alice", "console", "replay", 2, 0, key | {"chosen": 2, "job": replay.key, "ended": True})
    ]
    again = await alice.post(f"/jobs/{verdict.key}/replay")
    assert again.path == f"/jobs/{replay.key}", "a second click is no second replay"
    assert f"/jobs/{replay.key}" in (await alice.get(f"/jobs/{verdict.key}")).text
    assert all("gen 2 → received" in row for row in results(await alice.get(f"/jobs/{replay.key}")))
    async with Consumer(broker.url, names.prefix, webhook.url) as consumer:
        await consumer.started()
        await wait_until(lambda: len(consumer.events("intent.settled", status="delivered")) == 2)
    became = results(await alice.get(f"/parts/jobs/{replay.key}"))
    assert len(became) == 2
    assert all("replayed gen 2 → delivered" in row for row in became)
    lines = [json.loads(line) for line in (await alice.get(f"/jobs/{replay.key}.jsonl")).text.splitlines()]
    assert [(row["intent_id"], row["result"], row["why"]) for row in lines] == [
        ("id-1", "replayed", None),
        ("id-2", "replayed", None),
    ]
    assert "mark" not in lines[0]


async def test_a_verdict_says_of_each_letter_whether_it_would_go_and_why_not(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(
        broker.url,
        names,
        [
            dead("exit", action="closeLong", created_ms=LONG_AGO_MS),
            dead("old", created_ms=LONG_AGO_MS),
            dead("older", created_ms=LONG_AGO_MS - 999),
            dead("doubt", reason="outcome-unknown"),
        ],
    )
    broken = letter_of(order(message_id="id-broken"), b'{"connectorName":"main"}', reason="invalid")
    await publish_all(broker.url, "", names.dead, [broken])
    await asked(console, await alice.post("/dead/queue"))
    names_of_groups = ["rejected", "outcome-unknown", "invalid"]
    verdict = await judged(console, alice, "replay", groups_with=names_of_groups)
    assert [(line.fate, line.count) for line in verdict.tally.lines] == [
        ("done", 1),
        ("doubt", 2),
        ("doubt", 1),
        ("doubt", 1),
    ]
    page = words((await alice.get(f"/jobs/{verdict.key}")).text)
    assert "5 chosen: 3 groups (invalid, outcome-unknown, rejected)" in page
    assert "1 would be replayed · 4 need a person" in page
    assert "2 need a person it is an open that is too old: 60 s are allowed openLong" in page
    old = next(line for line in verdict.tally.lines if line.count == 2)
    rows = results(await alice.get(f"/jobs/{verdict.key}?line={old.number}"))
    assert len(rows) == 2
    assert all("would be refused" in row and "it is an open of" in row and "force" not in row for row in rows)


async def test_letters_that_need_a_person_go_only_when_they_are_ticked_and_their_number_is_typed(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    doubts = [dead(f"doubt-{n}", reason="outcome-unknown") for n in range(2)]
    await bury(broker.url, names, [dead("sure"), *doubts, dead("old", created_ms=LONG_AGO_MS)])
    verdict = await judged(console, alice, "replay", groups_with=["rejected", "outcome-unknown"])
    (line,) = [line for line in verdict.tally.of("doubt") if line.count == 2]
    path = f"/jobs/{verdict.key}/replay"
    for typed in ("", "1", "3", "x"):
        refused = await alice.post(path, line=str(line.number), confirm=typed, status=400)
        assert "Nothing was done: type 2" in words(refused.text)
    assert standing(names)["id-sure"] == (1, "dead")
    replay = await asked(console, await alice.post(path, line=str(line.number), confirm="2"))
    assert replay.tally.count("done") == 3
    assert standing(names) == {
        "id-sure": (2, "received"),
        "id-doubt-0": (2, "received"),
        "id-doubt-1": (2, "received"),
        "id-old": (1, "dead"),
    }
    ((*_, about),) = audited(names)
    assert isinstance(about, dict)
    assert (about["chosen"], about["force"]) == (3, 2)


async def test_a_word_for_some_letters_is_none_for_the_others(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    """An open that was young enough when it was judged, and no longer is, stays, though others are forced."""
    await bury(broker.url, names, [dead("sure"), dead("doubt", reason="outcome-unknown")])
    verdict = await judged(console, alice, "replay", groups_with=["rejected", "outcome-unknown"])
    in_ledger(names.prefix, f"UPDATE intents SET age_from_ms = {LONG_AGO_MS} WHERE intent_id = 'id-sure'")  # noqa: S608
    (doubt,) = verdict.tally.of("doubt")
    replay = await asked(console, await alice.post(f"/jobs/{verdict.key}/replay", line=str(doubt.number), confirm="1"))
    assert [(line.fate, line.count) for line in replay.tally.lines] == [("done", 1), ("doubt", 1)]
    assert standing(names) == {"id-sure": (1, "dead"), "id-doubt": (2, "received")}


async def test_a_discard_of_many_is_typed_and_tells_that_it_is_for_good(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [*(dead(n) for n in range(21)), dead("other", reason="expired")])
    verdict = await judged(console, alice, "discard", groups_with=["rejected"])
    page = words((await alice.get(f"/jobs/{verdict.key}")).text)
    assert "A discard can't be undone" in page
    assert "Discard 21" in page
    path = f"/jobs/{verdict.key}/discard"
    await alice.post(path, status=400)
    await alice.post(path, confirm="20", status=400)
    await alice.post(f"/jobs/{verdict.key}/replay", confirm="21", status=400)
    discard = await asked(console, await alice.post(path, confirm="21"))
    assert (discard.state, discard.tally.count("done")) == ("done", 21)
    assert await rest(broker, names) == ["id-other"]
    assert standing(names)["id-3"] == (1, "dead")
    ((who, via, what, done, *_),) = audited(names)
    assert (who, via, what, done) == ("alice", "console", "discard", 21)
    detail = in_ledger(names.prefix, "SELECT DISTINCT detail FROM steps WHERE what = 'discarded'")
    assert detail == [("by alice, in the console",)]


async def test_single_letters_and_the_letters_of_one_order_are_chosen_by_themselves(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1), dead(2), dead(3)])
    (group,) = groups(await alice.get("/dead"))
    page = await alice.get(f"/dead?open={group}")
    second = mark_of(letters(page), "id-2")
    one = await judged(console, alice, "discard", page=page, letter=second)
    assert [row["intent_id"] for row in one.rows] == ["id-2"]
    assert "id-2" in words((await alice.get(f"/jobs/{one.key}")).text)
    form = await alice.get("/dead/check?id=id-3")
    assert 'name="id" value="id-3"' in form.text
    other = await asked(console, await alice.post("/dead/verdict", id="id-3", action="replay"))
    assert [row["intent_id"] for row in other.rows] == ["id-3"]
    discard = await asked(console, await alice.post(f"/jobs/{one.key}/discard"))
    assert discard.asked.chosen.about["ids"] == ["id-2"]
    assert await rest(broker, names) == ["id-1", "id-3"]


async def test_a_letter_that_has_gone_since_the_verdict_is_told_as_missing(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1), dead(2)])
    verdict = await judged(console, alice, "replay", groups_with=["rejected"])
    await drain(broker.url, names.dead)
    replay = await asked(console, await alice.post(f"/jobs/{verdict.key}/replay"))
    assert (replay.state, replay.missing, len(replay.rows)) == ("done", 2, 0)
    page = words((await alice.get(f"/jobs/{replay.key}")).text)
    assert "2 of those chosen were not in the queue any more." in page
    assert audited(names) == []
    assert groups(await alice.get("/dead")) == {}, "the whole queue was read, so the ledger knows that they are gone"


async def test_the_opens_that_would_go_are_counted_for_the_switch_may_let_them_die_again(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1), dead(2, action="closeLong"), dead(3, reason="outcome-unknown")])
    verdict = await judged(console, alice, "replay", groups_with=["rejected", "outcome-unknown"])
    assert verdict.tally.opens == {"main": 2}


# --- one at a time ---------------------------------------------------------------------------------------------------


async def test_a_job_waits_for_another_reader_and_the_next_one_waits_in_line(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1)])
    async with open_letters(console.desk.settings, on_wait=print):
        first = begun(console, await alice.post("/dead/queue"))
        second = begun(console, await alice.post("/dead/letter/id-1"))
        await wait_until(lambda: first.waits)
        page = words((await alice.get(f"/jobs/{first.key}")).text)
        assert f"another reader has {names.dead}, waiting up to 10 s: a command or another console reads it" in page
        behind = words((await alice.get(f"/jobs/{second.key}")).text)
        assert f"It waits in line for job {first.number} , a read of the queue by alice" in behind
        third = begun(console, await alice.post("/dead/queue"))
        stopped = await asked(console, await alice.post(f"/jobs/{third.key}/cancel"))
        assert (stopped.state, stopped.canceled_by, stopped.began_ms) == ("canceled", "alice", None)
    for job in (first, second):
        assert job.task is not None
        await asyncio.wait([job.task])
        assert job.state == "done"
    assert len(second.rows) == 1


async def test_too_many_jobs_in_line_are_refused(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1)])
    async with open_letters(console.desk.settings, on_wait=print):
        for _ in range(8):
            await alice.post("/dead/queue")
        refused = await alice.post("/dead/queue", status=429)
        assert "8 jobs wait already" in words(refused.text)
        for job in console.desk.jobs.under_way():
            console.desk.jobs.cancel(job, BOB)


def when_read(console: OpenConsole, least: int) -> asyncio.Event:
    """Is set in the midst of a batch: once a job has read so many letters."""
    reached = asyncio.Event()

    def look() -> None:
        if any(job.read >= least for job in console.desk.jobs.under_way()):
            reached.set()

    console.desk.jobs.on_change = look
    return reached


async def test_a_job_that_is_stopped_finishes_its_batch_and_leaves_the_rest_in_its_order(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(n) for n in range(450)])
    verdict = await judged(console, alice, "discard", groups_with=["rejected"])
    reached = when_read(console, 1)
    discard = begun(console, await alice.post(f"/jobs/{verdict.key}/discard", confirm="450"))
    await reached.wait()
    console.desk.jobs.cancel(discard, BOB)
    assert discard.task is not None
    await asyncio.wait([discard.task])
    assert (discard.state, discard.canceled_by) == ("canceled", "bob")
    done = len(discard.rows)
    assert 0 < done < 450
    page = words((await alice.get(f"/jobs/{discard.key}")).text)
    assert f"bob stopped it after {done} of 450" in page
    ((*_, count, _refused, about),) = audited(names)
    assert count == done
    assert isinstance(about, dict)
    assert about["ended"] is True
    again = await asked(console, await alice.post(f"/jobs/{discard.key}/again"))
    assert (again.asked.kind, len(again.rows), again.missing) == ("verdict", 450 - done, done)
    assert await rest(broker, names) == [f"id-{n}" for n in range(done, 450)]


async def test_after_a_console_has_ended_in_the_midst_of_a_job_the_next_one_tells_how_far_it_came(
    tmp_path: Path, broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(n) for n in range(450)])
    verdict = await judged(console, alice, "replay", groups_with=["rejected"])
    reached = when_read(console, 1)
    replay = begun(console, await alice.post(f"/jobs/{verdict.key}/replay"))
    await reached.wait()
    await console.desk.jobs.close()
    assert replay.state == "interrupted"
    ((_who, _via, _what, done, _refused, about),) = audited(names)
    assert isinstance(about, dict)
    assert "ended" not in about
    folder = tmp_path / "next"
    folder.mkdir()
    at = {"broker": {"url": broker.url, "prefix": names.prefix}, "ledger": {"url": ledger_url(names.prefix)}}
    async with open_console(folder, **at) as after:
        bob = await after.browser("bob")
        page = words((await bob.get(f"/jobs/{replay.key}")).text)
        assert f"By the audit, alice replayed {done} of the 450 that were chosen" in page
        assert (
            f"The job was interrupted after {done}, or is at work in another console; the rest is where it was." in page
        )
        listed = words((await bob.get("/jobs")).text)
        assert f"{done} of 450 done not ended" in listed
        left = await judged(after, bob, "replay", groups_with=["rejected"])
        assert left.tally.count("done") == 450 - int(str(done))
        rest_of_it = await asked(after, await bob.post(f"/jobs/{left.key}/replay"))
        assert rest_of_it.tally.count("done") == 450 - int(str(done))
    assert (await depth(broker.url, names.dead), await depth(broker.url, names.orders)) == (0, 450)
    assert set(standing(names).values()) == {(2, "received")}


async def test_the_lanes_of_another_ledger_are_left_alone(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1)])
    async with await connect(broker.url, name="signalq test") as connection:
        await claim_mark(connection, names, LedgerMark("another", "/elsewhere.db"))
    verdict = await judged(console, alice, "replay", groups_with=["rejected"])
    assert verdict.state == "failed"
    assert "belong to the ledger /elsewhere.db" in words((await alice.get(f"/jobs/{verdict.key}")).text)


# --- looks -----------------------------------------------------------------------------------------------------------


async def test_a_read_of_the_queue_tells_the_ledger_of_letters_that_it_does_not_know(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1)])
    await bury(broker.url, names, [dead(2)], noted=False)
    assert "1 dead letter." in words((await alice.get("/dead")).text)
    job = await asked(console, await alice.post("/dead/queue"))
    assert job.said == "the ledger was told of 1 letter that it did not know"
    assert "2 dead letters." in words((await alice.get("/dead")).text)
    assert (
        await asked(console, await alice.post("/dead/queue"))
    ).said == "the ledger knew of every letter that is there"
    assert await rest(broker, names) == ["id-1", "id-2"]


async def test_a_letter_is_shown_as_the_command_shows_it_without_any_token(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    await bury(broker.url, names, [dead(1, connectorToken=TOKEN, clientOrderId="co-1")])
    unreadable = (f'{{"connectorToken":"{TOKEN}",').encode()
    await publish_all(broker.url, "", names.dead, [letter_of(order(message_id="id-2"), unreadable, reason="invalid")])
    form = await alice.get("/dead/letter/id-1")
    assert "and never a token" in words(form.text)
    job = await asked(console, await alice.post("/dead/letter/id-1"))
    page = await alice.get(f"/jobs/{job.key}")
    text = words(page.text)
    assert '"connectorToken":"***"' in text
    assert '"clientOrderId":"co-1"' in text
    assert "signalq-reason rejected" in text
    other = await alice.get(f"/jobs/{(await asked(console, await alice.post('/dead/letter/id-2'))).key}")
    assert "it is no JSON object, and may hold a token anywhere" in words(other.text)
    none = await asked(console, await alice.post("/dead/letter/id-9"))
    assert "No letter of id-9 is in the queue: all 2 letters were read." in words(
        (await alice.get(f"/jobs/{none.key}")).text
    )
    for shown in (page, other, await alice.get("/dead"), await alice.get("/jobs")):
        assert TOKEN not in shown.text
    assert await rest(broker, names) == ["id-1", "id-2"]


async def test_markup_in_a_letter_is_text_in_every_job(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser
) -> None:
    content = body(connectorName=HOSTILE, clientOrderId=HOSTILE, log=HOSTILE, action=HOSTILE)
    headers = {
        "signalq-reason": HOSTILE,
        "signalq-detail": HOSTILE,
        "signalq-intent-id": HOSTILE,
        "signalq-strategy": HOSTILE,
        "signalq-connector": HOSTILE,
        "signalq-dead-at": HOSTILE,
        "signalq-generation": 1,
        HOSTILE: HOSTILE,
    }
    message = Basic.Properties(delivery_mode=2, message_id=HOSTILE, app_id=HOSTILE, headers=headers)
    await bury(broker.url, names, [])
    await publish_all(broker.url, "", names.dead, [(content, message)])
    await asked(console, await alice.post("/dead/queue"))
    page = await alice.get("/dead")
    (group,) = groups(page)
    fields = {"group": group, "until": until(page), "action": "replay"}
    verdict = await asked(console, await alice.post("/dead/verdict", fields))
    assert len(verdict.rows) == 1
    opened = await alice.get(f"/dead?open={group}")
    (show,) = [path for path in links(opened.text) if path.startswith("/dead/letter/")]
    shown = await asked(console, await alice.post(show))
    assert len(shown.rows) == 1
    for path in ("/dead", f"/dead?open={group}", "/jobs", f"/jobs/{verdict.key}", f"/jobs/{shown.key}", show):
        text = (await alice.get(path)).text
        assert "<img" not in text
        assert "&gt;49" not in text
        assert "\u202e" not in without_values(text), path
    assert "\u202e" not in (await alice.get(f"/jobs/{verdict.key}.jsonl")).text


def links(text: str) -> Sequence[str]:
    """The addresses that a page leads to."""
    return [part.partition('"')[0].replace("&amp;", "&") for part in text.split('href="')[1:]]


def without_values(text: str) -> str:
    """The page without the values of its fields, which nobody reads."""
    head, *others = text.split('value="')
    return head + "".join(part.partition('"')[2] for part in others)


async def test_the_latest_jobs_are_kept_and_the_oldest_forgotten(
    broker: Broker, names: Names, console: OpenConsole, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bury(broker.url, names, [dead(1)])
    monkeypatch.setattr(jobs, "JOBS_MAX", 3)
    asked_for: list[Job] = [await asked(console, await alice.post("/dead/queue")) for _ in range(4)]
    assert console.desk.jobs.latest() == asked_for[:0:-1]
    await alice.get(f"/jobs/{asked_for[0].key}", status=404)
    page = await alice.get("/jobs")
    assert page.text.count('<tr id="job-') == 3
    monkeypatch.setattr(jobs, "ROWS_MAX", 0)
    await asked(console, await alice.post("/dead/letter/id-1"))
    await asked(console, await alice.post("/dead/queue"))
    assert [job.asked.kind for job in console.desk.jobs.latest()] == ["queue"], "their results are too many"
