"""The schedule in the console, and canceling: what is shown is what is canceled, and what became of it stays."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest

from signalq.consumer.orders.switch import Switch
from signalq.names import Names
from signalq.ops.console.moment.snapshot import Lane
from tests.support.broker import Broker
from tests.support.console_site import Browser, OpenConsole, open_console
from tests.support.lives import Lives, lives_in
from tests.support.outcomes import hearing
from tests.support.regions import check_region, main_of, shows

ROW = re.compile(r'<tr id="pending-(\d+)">.*?href="/orders/([^"]+)"', re.DOTALL)
FIELD = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)">')


@pytest.fixture
async def lives(console: OpenConsole) -> Lives:
    return await lives_in(console.store)


async def numbers(browser: Browser, path: str = "/schedule") -> dict[str, str]:
    """The number of each row, by its id, in their order."""
    return {intent_id: number for number, intent_id in ROW.findall((await browser.get(path)).text)}


async def statuses(console: OpenConsole) -> dict[str, str]:
    return dict(await console.store.rows("SELECT intent_id, status FROM intents ORDER BY number"))


async def test_pending_orders_are_listed_the_soonest_first_and_paged_by_due_time(
    console: OpenConsole, alice: Browser, lives: Lives
) -> None:
    assert "Nothing is scheduled." in (await alice.get("/schedule")).text
    names = {True: "main", False: "alt"}
    await asyncio.gather(
        *(lives.scheduled(f"p{one:02}", 30 + 60 * one, connectorName=names[one % 2 == 0]) for one in range(60))
    )
    page = (await alice.get("/schedule")).text
    assert [intent_id for _, intent_id in ROW.findall(page)] == [f"p{number:02}" for number in range(8)]
    assert "60 pending · 1 due in the next minute" in page
    (later,) = re.findall(r'rel="next" href="([^"]+)">\+52 later<', page)
    await lives.scheduled("sooner", 45)
    second = (await alice.get(later)).text
    assert [intent_id for _, intent_id in ROW.findall(second)] == [f"p{number:02}" for number in range(8, 58)]
    (rest,) = re.findall(r'rel="next" href="([^"]+)">\+2 later<', second)
    assert list(await numbers(alice, rest)) == ["p58", "p59"]
    odd = await numbers(alice, "/schedule?connector=alt")
    assert list(odd) == [f"p{number:02}" for number in range(1, 17, 2)]
    await asyncio.gather(*(lives.scheduled(f"soon{number}", 10 + number / 10) for number in range(12)))
    assert len(await numbers(alice)) == 14, "all that are due within a minute are there"
    assert "Nothing that fits is scheduled" in (await alice.get("/schedule?strategy=nobody")).text
    for path in ("/schedule", later, "/schedule?connector=alt"):
        await check_region(alice, path, "/parts/schedule")


async def test_a_row_warns_of_what_stands_in_its_way(
    console: OpenConsole, alice: Browser, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lives.scheduled("open", connectorName="closing")
    await lives.scheduled("exit", connectorName="closing", action="closeLong")
    await lives.scheduled("waits", connectorName="paused", action="closeLong")
    await lives.scheduled("nobody", connectorName="gamma")
    await lives.scheduled("fine")
    await console.store.run("UPDATE intents SET due_ms = due_ms - 3700000 WHERE intent_id = 'fine'")
    lanes = [Lane("gamma", "signalq.orders.gamma", is_consumed=False), Lane(None, "signalq.orders")]
    switch = Switch(2, {"closing": "close-only", "paused": "paused"})
    shows(console, monkeypatch, lanes=lanes, switch=switch)
    page = (await alice.get("/schedule")).text
    rows = dict(re.findall(r'href="/orders/(\w+)".*?</tr>(.*?)(?=<tr id="pending|</tbody>)', page, re.DOTALL))
    assert "would die forbidden" in rows["open"]
    assert "sub" not in rows["exit"]
    assert "would wait when due" in rows["waits"]
    assert "Nobody would send it" in rows["nobody"]
    assert "nobody has claimed it" in rows["fine"]
    shows(console, monkeypatch, switch=switch)
    assert "close-only: an open dies there" in (await alice.get("/orders/open")).text
    assert "close-only" not in main_of(await alice.get("/orders/exit"))
    assert "is paused: no attempt begins" in (await alice.get("/orders/waits")).text


async def test_chosen_orders_are_canceled_and_their_answers_stay(
    console: OpenConsole, alice: Browser, lives: Lives
) -> None:
    for name in ("a", "b", "c"):
        await lives.scheduled(name)
    chosen = await numbers(alice)
    asked = await alice.get(f"/schedule/cancel?n{chosen['a']}=1&n{chosen['b']}=1")
    assert "Cancel 2 scheduled orders?" in asked.text
    assert "data-dialog-body" in asked.text
    done = await alice.post("/schedule/cancel", dict(FIELD.findall(asked.text)))
    assert done.path == "/schedule/canceled/1"
    assert "2 canceled</h1>" in done.text
    assert done.text.count('<span class="tag ok">canceled</span>') == 2
    assert "By <bdi>alice</bdi>, in the console" in done.text
    assert "the outcome events come when the orders would have been due" in done.text, "nobody is at the broker"
    assert await statuses(console) == {"a": "canceled", "b": "canceled", "c": "scheduled"}
    ((who, via, about, counts),) = [
        (who, via, json.loads(about), (done, refused))
        for who, via, about, done, refused in await console.store.rows(
            "SELECT who, via, about, done, refused FROM audit"
        )
    ]
    assert (who, via, about, counts) == ("alice", "console", {"ids": ["a", "b"]}, (2, 0))
    viewer = await console.browser("eve", role="view")
    assert "2 canceled</h1>" in (await viewer.get(done.path)).text, "it can be shared"
    await alice.get("/schedule/canceled/2", status=404)
    await alice.get("/schedule/canceled/x", status=404)


async def test_an_order_that_was_claimed_first_is_too_late_and_says_since_when(
    console: OpenConsole, alice: Browser, lives: Lives
) -> None:
    known = {name: await lives.scheduled(name) for name in ("quick", "slow", "gone")}
    chosen = await numbers(alice)
    asked = await alice.get("/schedule/cancel?" + "&".join(f"n{number}=1" for number in chosen.values()))
    form = dict(FIELD.findall(asked.text))
    await lives.claim(known["quick"])
    await alice.post("/schedule/cancel", {f"n{chosen['gone']}": "1", "shown": "1"})
    done = await alice.post("/schedule/cancel", form)
    assert "1 canceled, 1 too late</h1>" in done.text
    ((claimed_ms,),) = await console.store.rows("SELECT first_post_ms FROM intents WHERE intent_id = 'quick'")
    assert re.search(r'<span class="tag bad">too late</span> claimed\s+<time datetime="([^"]+)"', done.text)
    assert f".{claimed_ms % 1000:03}" in done.text
    assert "canceled before" in done.text
    assert await statuses(console) == {"quick": "sending", "slow": "canceled", "gone": "canceled"}
    # Of none that is pending still, the answer is the same, and no refusal.
    again = await alice.post("/schedule/cancel", form)
    assert "0 canceled, 1 too late</h1>" in again.text


async def test_all_that_fit_are_canceled_once_their_number_is_typed_and_none_that_came_since(
    console: OpenConsole, alice: Browser, lives: Lives
) -> None:
    await asyncio.gather(*(lives.scheduled(f"p{number}", connectorName="alt") for number in range(22)))
    await lives.scheduled("other")
    asked = await alice.get("/schedule/cancel?all=1&connector=alt")
    assert "Cancel all 22 scheduled orders?" in asked.text
    form = dict(FIELD.findall(asked.text))
    await lives.scheduled("newer", connectorName="alt")
    for wrong in ("", "21", "all", "022"):
        refused = await alice.post("/schedule/cancel", form, confirm=wrong, status=400)
        assert "type the number of the orders, 22" in refused.text
    assert "more orders fit now" in (await alice.post("/schedule/cancel", form | {"shown": "1"}, status=400)).text
    done = await alice.post("/schedule/cancel", form, confirm=" 22 ")
    assert "22 canceled</h1>" in done.text
    left = {name for name, status in (await statuses(console)).items() if status == "scheduled"}
    assert left == {"other", "newer"}
    again = await alice.post("/schedule/cancel", form, confirm="22", status=400)
    assert "nothing that fits is scheduled any more" in again.text


async def test_orders_of_all_that_were_claimed_meanwhile_are_counted(
    console: OpenConsole, alice: Browser, lives: Lives
) -> None:
    known = [await lives.scheduled(f"p{number}") for number in range(3)]
    form = dict(FIELD.findall((await alice.get("/schedule/cancel?all=1")).text))
    await lives.claim(known[1])
    done = await alice.post("/schedule/cancel", form)
    assert "2 canceled, 1 too late</h1>" in done.text
    assert "1 of those that were shown had been claimed" in done.text


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"shown": "1"}, 400),
        ({"n1": "1"}, 400),
        ({"n1": "1", "all": "1", "shown": "1"}, 400),
        ({"n0": "1", "shown": "1"}, 400),
        ({"n1": "yes", "shown": "1"}, 400),
        ({"n999": "1", "shown": "1"}, 404),
        ({"all": "1", "shown": "1"}, 400),
        ({"all": "1", "before": "2", "shown": "0"}, 400),
        ({f"n{number}": "1" for number in range(1, 60)} | {"shown": "59"}, 400),
    ],
)
async def test_a_form_that_is_not_whole_cancels_nothing(
    console: OpenConsole, alice: Browser, lives: Lives, form: dict[str, str], status: int
) -> None:
    await lives.scheduled("stays")
    await alice.post("/schedule/cancel", form, status=status)
    assert await statuses(console) == {"stays": "scheduled"}
    assert await console.store.rows("SELECT * FROM audit") == []


@pytest.mark.parametrize(
    "path", ["/schedule?x=1", "/schedule?after=x", "/schedule?after=1", "/schedule/cancel", "/schedule/cancel?n1=2"]
)
async def test_a_wrong_parameter_is_refused(alice: Browser, path: str) -> None:
    await alice.get(path, status=400)


async def test_a_viewer_sees_the_buttons_and_cancels_nothing(console: OpenConsole, lives: Lives) -> None:
    await lives.scheduled("stays")
    viewer = await console.browser("eve", role="view")
    page = main_of(await viewer.get("/schedule"))
    assert page.count('aria-disabled="true"') == 2
    asked = (await viewer.get("/schedule/cancel?n1=1")).text
    assert "You can't cancel here" in asked
    assert "<button" not in asked.split("data-dialog-body")[1]
    await viewer.post("/schedule/cancel", {"n1": "1", "shown": "1"}, status=403)
    assert await statuses(console) == {"stays": "scheduled"}


async def test_nothing_is_canceled_in_a_ledger_that_is_not_the_brokers(
    console: OpenConsole, alice: Browser, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lives.scheduled("stays")
    shows(console, monkeypatch, other_ledger="/elsewhere/signalq.db")
    assert main_of(await alice.get("/schedule")).count('aria-disabled="true"') == 2
    refused = await alice.post("/schedule/cancel", {"n1": "1", "shown": "1"}, status=403)
    assert "belong to another ledger" in refused.text
    assert await statuses(console) == {"stays": "scheduled"}


async def test_markup_in_a_foreign_field_is_text(alice: Browser, lives: Lives) -> None:
    evil = "<img src=x onerror=alert(1)>\"'"
    await lives.scheduled(evil, connectorName=evil, strategy=evil, clientOrderId=evil)
    asked = await alice.get("/schedule/cancel?n1=1")
    done = await alice.post("/schedule/cancel", dict(FIELD.findall(asked.text)))
    await lives.scheduled(f"2{evil}", connectorName=evil, strategy=evil)
    for page in (asked, done, await alice.get("/schedule"), await alice.get("/schedule?strategy=%3Cimg%20x%3E")):
        assert "<img" not in page.text
        assert "&lt;img" in page.text


async def test_the_outcome_of_a_canceled_order_is_published_by_the_consoles_own_connection(
    broker: Broker, names: Names, tmp_path: Path
) -> None:
    place = {"url": broker.url, "prefix": names.prefix}
    async with hearing(broker.url, names.outcomes) as heard, open_console(tmp_path, broker=place) as console:
        lives = await lives_in(console.store)
        await lives.scheduled("told")
        alice = await console.browser("alice")
        done = await alice.post("/schedule/cancel", {"n1": "1", "shown": "1"})
        assert "outcome events come" not in done.text
        (event,) = await heard.first(1)
        assert (event["intent_id"], event["status"]) == ("told", "canceled")
