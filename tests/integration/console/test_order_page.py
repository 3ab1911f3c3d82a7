"""The page of an order: what became of it, what comes next, and what a person can do about it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from signalq.consumer.ledger.queries import replays, schedule
from signalq.consumer.ledger.queries.orders import Filter
from signalq.ops.console.moment.snapshot import Source
from tests.support.console_site import Browser, OpenConsole, open_console
from tests.support.lives import TRACE_ID, Lives, lives_in, now_ms
from tests.support.regions import check_region, main_of, shows

EVIL = "<img src=x onerror=alert(1)>\"'"
ACTS = ("Check a replay…", "Discard…", "Show the letter…")


@pytest.fixture
async def lives(console: OpenConsole) -> Lives:
    return await lives_in(console.store)


async def replay(console: OpenConsole, intent_id: str, by: str) -> None:
    """The next generation of a dead order, as `signalq dead replay` begins it."""

    def work(connection: Any) -> None:
        standing = replays.find(connection, "momentum", intent_id)
        assert standing is not None
        assert replays.begin(connection, now_ms(), standing, by)

    await console.desk.ledger.transact(work)


async def test_the_page_says_how_an_order_stands_and_what_comes_next(alice: Browser, lives: Lives) -> None:
    await lives.delivered("delivered", percent="50", limit="65000")
    await lives.dead("dead")
    await lives.retrying("retrying")
    await lives.scheduled("scheduled")
    await lives.sending("sending")
    sentences = {
        "delivered": ["openLong 50 % limit 65000", "Nothing more will happen by itself.", "accepted, HTTP 200, 12 ms"],
        "dead": ["Its letter waits for a person", "the webhook refused it: HTTP 401", "a wrong token", "no such token"],
        "retrying": ["Next attempt in", "not before", "attempt 2, not before then", "waits for another attempt"],
        "scheduled": ["It is due in", "waits for its due time", "Cancel it…"],
        "sending": ["on its way: a consumer is sending it"],
    }
    for intent_id, wanted in sentences.items():
        page = (await alice.get(f"/orders/{intent_id}")).text
        assert [sentence for sentence in wanted if sentence not in page] == [], intent_id
        assert f'<span class="tag {_kind(intent_id)}">{intent_id}</span>' in page
        assert ("Check a replay…" in page) is (intent_id == "dead")
        assert ("Cancel it…" in page) is (intent_id == "scheduled")
        assert '<svg class="chart timeline" role="img"' in page
        assert "published by" not in page
        if intent_id != "sending":  # the bar of which grows
            await check_region(alice, f"/orders/{intent_id}", "/parts/order/")


def _kind(status: str) -> str:
    return {"delivered": "ok", "dead": "bad", "retrying": "warn"}.get(status, "info")


async def test_a_dead_order_has_its_acts_until_its_letter_is_discarded(
    alice: Browser, console: OpenConsole, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(console, monkeypatch, broker=Source(seen_ms=1))
    await lives.dead("order 1/2")
    page = (await alice.get("/orders/order%201%2F2")).text
    assert all(act in page for act in ACTS)
    for path in ("/dead/check?id=order+1%2F2", "/dead/discard?id=order+1%2F2", "/dead/letter/order%201%2F2"):
        assert f'href="{path}"' in page

    def discard(connection: Any) -> None:
        standing = replays.find(connection, "momentum", "order 1/2")
        assert standing is not None
        replays.note_discarded(connection, now_ms(), standing, 1, f"by {EVIL}, in the console")

    await console.desk.ledger.transact(discard)
    page = (await alice.get("/orders/order%201%2F2")).text
    assert "Its letter was discarded" in page
    assert not any(act in page for act in ACTS)
    assert "by &lt;img" in page


async def test_a_replay_waits_for_a_broker_that_is_away_and_says_so(
    alice: Browser, console: OpenConsole, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    await lives.dead("dead")
    shows(console, monkeypatch, broker=Source(away_since_ms=1, why="connection refused"))
    page = main_of(await alice.get("/orders/dead"))
    assert page.count('aria-disabled="true"') == page.count('title="the broker is away"') == 2


async def test_generations_are_sections_the_newest_first_and_say_who_replayed(
    alice: Browser, console: OpenConsole, lives: Lives
) -> None:
    await lives.dead("again")
    await replay(console, "again", "by bob, in the console")
    page = (await alice.get("/orders/again")).text
    assert page.index("<h4>Generation 2</h4>") < page.index("<h4>Generation 1</h4>")
    assert "by bob, in the console" in page
    assert page.count("<svg") == 2
    assert "It waits for its turn in its lane." in page
    assert "Check a replay…" not in page


async def test_one_id_of_two_strategies_shows_both_orders(alice: Browser, lives: Lives) -> None:
    await lives.delivered("same")
    await lives.dead("same", strategy="value")
    page = (await alice.get("/orders/same")).text
    assert "2 strategies have an order of this id" in page
    assert page.count("<article") == 2
    assert 'href="/orders?q=strategy%3Avalue"' in page


async def test_a_short_id_leads_to_its_order_or_asks_which(alice: Browser, lives: Lives) -> None:
    for intent_id in ("momentum-20261129-0042", "momentum-20261130-0042", "momentum-20261130-0043"):
        await lives.delivered(intent_id)
    for short in ("momentum-20261129", "moment…9-0042", "momentum-20261129…"):
        assert (await alice.get(f"/orders/{quote(short)}")).path == "/orders/momentum-20261129-0042"
    choice = await alice.get("/orders/momentum-2026113", status=404)
    assert "Which order?" in choice.text
    assert choice.text.count('<tr id="order-') == 2
    assert "Which order?" not in (await alice.get("/orders/momen", status=404)).text, "too short to choose an order"


async def test_an_unknown_id_says_what_was_looked_at_and_why_there_may_be_none(
    alice: Browser, console: OpenConsole, lives: Lives
) -> None:
    page = (await alice.get(f"/orders/{quote(EVIL, safe='')}", status=404)).text
    for sentence in ("not taken up yet", "could not be read", "more than 7 days ago", "a client's", "begins so"):
        assert sentence in page
    assert "<img" not in page
    await console.store.run(
        "INSERT INTO letters (mark, strategy, intent_id, reason, detail, body_bytes, since_ms, messages)"
        " VALUES (x'01', '-', 'unreadable', 'invalid', 'it is no JSON object', 3, 1, 1)"
    )
    page = (await alice.get("/orders/unreadable", status=404)).text
    assert "it is no JSON object" in page
    assert 'href="/dead/letter/unreadable"' in page
    await alice.get("/parts/order/nobody", status=404)
    await alice.get("/orders/%00", status=404)


async def test_markup_in_every_foreign_field_is_text(alice: Browser, console: OpenConsole, lives: Lives) -> None:
    given: dict[str, Any] = {"connectorName": EVIL, "clientOrderId": EVIL, "log": EVIL, "delaySecondsFilter": EVIL}
    await lives.dead(EVIL, strategy=EVIL, user=EVIL, **given)
    await console.store.run("UPDATE steps SET answer = '<img w>', detail = '<img x>'")
    await console.store.run("UPDATE intents SET detail = '<img y>', created_from = '<img z>'")
    page = (await alice.get(f"/orders/{quote(EVIL, safe='')}")).text
    assert "<img" not in page
    assert page.count("&lt;img") > 10
    assert page.count("onerror=alert") == page.count("&lt;img src=x onerror=alert")


async def test_an_order_whose_fields_were_not_kept_says_so(alice: Browser, console: OpenConsole, lives: Lives) -> None:
    await lives.delivered("kept", log="why")
    assert "<bdi>why</bdi>" in (await alice.get("/orders/kept")).text
    await console.store.run("UPDATE intents SET order_fields = NULL")
    assert "The fields of this order were not kept" in (await alice.get("/orders/kept")).text


async def test_the_trace_is_told_and_linked_where_the_settings_say_to(
    alice: Browser, lives: Lives, tmp_path: Path
) -> None:
    await lives.delivered("traced")
    page = (await alice.get("/orders/traced")).text
    assert f'<span class="id">{TRACE_ID}</span>' in page
    folder = tmp_path / "second"
    folder.mkdir()
    async with open_console(folder, console={"trace_url": "https://traces.example/t/{trace_id}?a={b}"}) as console:
        await (await lives_in(console.store)).delivered("traced")
        page = (await (await console.browser("bob")).get("/orders/traced")).text
        assert f'href="https://traces.example/t/{TRACE_ID}?a={{b}}"' in page


async def test_a_viewer_sees_the_acts_and_why_they_are_not_its_own(console: OpenConsole, lives: Lives) -> None:
    await lives.dead("dead")
    viewer = await console.browser("eve", role="view")
    page = main_of(await viewer.get("/orders/dead"))
    assert page.count('aria-disabled="true"') == 2
    assert "/dead/check" not in page


async def test_a_page_of_many_attempts_is_answered_in_full_shape(
    alice: Browser, console: OpenConsole, lives: Lives
) -> None:
    await lives.dead("tried")
    await console.store.run(
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000) INSERT INTO steps"
        " (intent, generation, at_ms, what, certainty, http_status, duration_ms, detail)"
        " SELECT 1, 1, (SELECT received_ms FROM intents) + x, 'attempt', 'not taken', 503, 1, 'HTTP 503' FROM n"
    )
    page = (await alice.get("/orders/tried")).text
    assert "steps between are not told here" in page
    assert "… " in page
    assert len(page) < 500_000


async def test_a_canceled_order_says_by_whom(alice: Browser, console: OpenConsole, lives: Lives) -> None:
    await asyncio.gather(lives.scheduled("gone"))
    await console.desk.ledger.transact(lambda now: schedule.cancel(now, now_ms(), Filter(), "by carol, in the console"))
    page = (await alice.get("/orders/gone")).text
    assert "by carol, in the console" in page
    assert "Nothing more will happen by itself." in page
    assert "Cancel it…" not in page
