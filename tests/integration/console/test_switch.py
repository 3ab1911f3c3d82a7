"""The switch in the console, over a real ledger: asked, made, refused, and told by those who act on it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from html import unescape
from urllib.parse import quote

import pytest

from signalq.consumer.ledger import LIVE_MS, database
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import replicas
from signalq.consumer.orders.switch import ALL, Change, State
from signalq.ops.console.moment import sources
from tests.support.console_site import Answer, Browser, OpenConsole
from tests.support.stores import file_of
from tests.support.waiting import wait_until


def text(answer: Answer) -> str:
    """The words of a page, without its head and tags."""
    main = answer.text.partition("<main")[2].partition("</main>")[0]
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", main)))


async def changes(console: OpenConsole) -> list[Change]:
    rows = await console.store.rows(
        "SELECT number, connector, state, at_ms, who, why FROM switch_changes ORDER BY number"
    )
    return [Change(*row) for row in rows]


async def states(console: OpenConsole) -> dict[str, State]:
    return dict(await console.store.rows("SELECT connector, state FROM switches"))  # type: ignore[arg-type]


async def asked(browser: Browser, **query: str) -> tuple[Answer, str]:
    """The page that asks, and the version of the switch in it."""
    answer = await browser.get("/switch?" + "&".join(f"{name}={value}" for name, value in query.items()))
    (version,) = re.findall(r'name="version" value="(\d+)"', answer.text)
    return answer, version


async def beside(console: OpenConsole, name: str, *, seen: int, silent_ms: int = 0) -> None:
    """A consumer that has given its last sign of life so long ago."""
    async with LedgerClient(console.store.url) as client:
        await client.transact(
            lambda connection: replicas.note_alive(
                connection, clock_ms(connection) - silent_ms, f"owner of {name}", name, seen, {}
            )
        )


async def test_one_press_pauses_everything_and_the_audit_has_the_name_and_the_address(
    console: OpenConsole, alice: Browser
) -> None:
    page, version = await asked(alice, to="paused")
    assert "Pause all connectors?" in text(page)
    assert re.search(r'<button class="btn safe" autofocus>■ Pause all</button>', page.text)
    result = await alice.post("/switch", to="paused", version=version, why="odd fills")
    assert result.path == "/switch/1"
    assert "All connectors are paused" in text(result)
    assert "by alice : “ odd fills ”" in text(result)
    assert "No consumer runs: it holds for those that come." in text(result)
    assert [(one.connector, one.state, one.who, one.why) for one in await changes(console)] == [
        (ALL, "paused", "alice", "odd fills")
    ]
    ((who, via, address, what, about, done),) = await console.store.rows(
        "SELECT who, via, address, what, about, done FROM audit"
    )
    assert (who, via, address, what, done) == ("alice", "console", "127.0.0.1", "switch", 1)
    assert json.loads(about) == {"state": "paused"}


async def test_away_from_safety_a_word_is_typed_and_the_server_checks_it(console: OpenConsole, alice: Browser) -> None:
    await alice.post("/switch", to="paused")
    await alice.post("/switch", to="close-only", connector="beta", why="<b>only exits</b>")
    page, version = await asked(alice, to="open")
    told = text(page)
    assert "all connectors paused since" in told
    assert "beta close-only since" in told
    assert "“ <b>only exits</b> ”" in told
    assert 'class="btn danger">▶ Resume all' in page.text
    assert page.text.count("autofocus") == 1
    assert '<h1 id="switch-title" tabindex="-1" autofocus>' in page.text
    for word in ("", "Resume all", "RESUME", "beta"):
        refused = await alice.post("/switch", status=400, to="open", version=version, confirm=word, why="done")
        assert "It was not done: this leads away from safety, so type resume to confirm it." in text(refused)
        assert 'value="done"' in refused.text
    assert await states(console) == {ALL: "paused", "beta": "close-only"}
    result = await alice.post("/switch", to="open", version=version, confirm=" resume ")
    assert "All connectors are open" in text(result)
    assert await states(console) == {}


async def test_one_connector_is_let_go_by_its_name(console: OpenConsole, alice: Browser) -> None:
    await alice.post("/switch", to="paused", connector="main")
    _, version = await asked(alice, to="open", connector="main")
    await alice.post("/switch", status=400, to="open", connector="main", version=version, confirm="resume")
    assert await states(console) == {"main": "paused"}
    result = await alice.post("/switch", to="open", connector="main", version=version, confirm="main")
    assert "main is open" in text(result)


async def test_a_resume_of_one_who_has_not_seen_the_latest_change_is_refused_with_what_is_new(
    console: OpenConsole, alice: Browser
) -> None:
    await alice.post("/switch", to="paused", connector="main")
    _, version = await asked(alice, to="open", connector="main")
    bob = await console.browser("bob")
    await bob.post("/switch", to="paused", connector="main", why="a token leaked")
    refused = await alice.post(
        "/switch", status=409, to="open", connector="main", version=version, confirm="main", why="mended"
    )
    told = text(refused)
    assert "It was not done: somebody has changed the switch since you looked." in told
    assert re.search(r"#2: main paused since .+? by bob : “ a token leaked ”", told), told
    assert 'value="mended"' in refused.text
    assert await states(console) == {"main": "paused"}
    (newer,) = re.findall(r'name="version" value="(\d+)"', refused.text)
    await alice.post("/switch", to="open", connector="main", version=newer, confirm="main")
    assert await states(console) == {}


async def test_a_pause_is_never_too_late(console: OpenConsole, alice: Browser) -> None:
    _, version = await asked(alice, to="paused")
    for _ in range(3):
        await alice.post("/switch", to="close-only")
    await alice.post("/switch", to="paused", version=version)
    assert await states(console) == {ALL: "paused"}
    await alice.post("/switch", to="paused")
    assert len(await changes(console)) == 5


async def test_close_only_leads_to_safety_from_open_and_away_from_it_from_a_pause(
    console: OpenConsole, alice: Browser
) -> None:
    page, version = await asked(alice, to="close-only", connector="main")
    assert 'name="confirm"' not in page.text
    bob = await console.browser("bob")
    await bob.post("/switch", to="paused", connector="main")
    refused = await alice.post("/switch", status=400, to="close-only", connector="main", version=version)
    assert "type main to confirm it" in text(refused)
    assert await states(console) == {"main": "paused"}
    _, version = await asked(alice, to="close-only", connector="main")
    result = await alice.post("/switch", to="close-only", connector="main", version=version, confirm="main")
    assert "main is close-only" in text(result)


async def test_a_connector_stays_paused_while_all_are(console: OpenConsole, alice: Browser) -> None:
    await alice.post("/switch", to="paused", connector="main")
    await alice.post("/switch", to="paused")
    page, version = await asked(alice, to="open", connector="main")
    assert "All connectors are paused: main stays so until all are resumed." in text(page)
    result = await alice.post("/switch", to="open", connector="main", version=version, confirm="main")
    assert "As before: all connectors are paused, and main itself is open now." in text(result)
    assert await states(console) == {ALL: "paused"}


async def test_one_who_may_only_look_and_a_stranger_change_nothing(console: OpenConsole) -> None:
    wall = await console.browser("wall", "view")
    page = await wall.get("/switch?to=paused")
    assert "<button" in page.text
    assert re.search(r'<button class="btn safe" disabled>', page.text)
    await wall.post("/switch", status=403, to="paused")
    stranger = await console.browser()
    await stranger.post("/switch", status=401, to="paused")
    alice = await console.browser("alice")
    await alice.ask("POST", "/switch", status=403, data={"to": "paused"}, headers={"Sec_Fetch_Site": "cross-site"})
    assert await changes(console) == []


@pytest.mark.parametrize(
    "query",
    ["", "?to=closed", "?to=open&to=open", "?to=paused&connector=%20a", "?to=paused&connector=%FF%FE%00", "?x=1"],
)
async def test_a_question_that_makes_no_sense_is_refused(alice: Browser, query: str) -> None:
    await alice.get(f"/switch{query}", status=400)


@pytest.mark.parametrize("fields", [{}, {"to": "paused", "why": "x" * 1_001}, {"to": "paused", "version": "-1"}])
async def test_a_form_that_makes_no_sense_changes_nothing(
    console: OpenConsole, alice: Browser, fields: dict[str, str]
) -> None:
    await alice.post("/switch", fields, status=400)
    assert await changes(console) == []


@pytest.mark.parametrize("number", ["0", "2", "x", "-1", "9" * 40, "1e3"])
async def test_there_is_no_page_of_a_change_that_was_never_made(alice: Browser, number: str) -> None:
    await alice.post("/switch", to="paused")
    await alice.get(f"/switch/{number}", status=404)


async def test_a_ledger_that_cannot_be_written_is_told_with_what_stops_everything(
    console: OpenConsole, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "TRY_FOR_S", 0.1)
    monkeypatch.setattr(database, "SQLITE_BUSY_TIMEOUT_MS", 50)
    await beside(console, "host-a:411", seen=0)
    with closing(sqlite3.connect(file_of(console.store.url), isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        failed = await alice.post("/switch", status=503, to="paused")
        told = text(failed)
        assert "The switch could not be changed" in told
        assert "Stop the consumers: that stops everything." in told
        assert "data-dialog-body" in failed.text
        writer.execute("ROLLBACK")
    assert await changes(console) == []
    assert "All connectors are paused" in text(await alice.post("/switch", to="paused"))


async def test_the_page_still_asks_while_the_ledger_cannot_be_read(console: OpenConsole, alice: Browser) -> None:
    file = file_of(console.store.url)
    file.rename(file.with_suffix(".away"))
    page = await alice.get("/switch?to=paused")
    assert "The ledger can't be read now" in text(page)
    assert "■ Pause all</button>" in page.text
    failed = await alice.post("/switch", status=503, to="paused")
    assert "there is no ledger" in text(failed)
    file.with_suffix(".away").rename(file)
    assert "All connectors are paused" in text(await alice.post("/switch", to="paused"))


async def test_the_result_names_each_consumer_that_acts_by_it_is_late_or_silent(
    console: OpenConsole, alice: Browser
) -> None:
    await console.store.ledger()  # a living consumer
    ((name,),) = await wait_until(lambda: console.store.rows("SELECT name FROM replicas"))
    await alice.post("/switch", to="paused")
    await beside(console, "host-b:771", seen=0, silent_ms=43_000)
    await beside(console, "host-c:92", seen=0)

    async def told() -> str | None:
        await beside(console, "host-c:92", seen=0)
        page = text(await alice.get("/switch/1"))
        return page if f"✓ acts by it {name}" in page else None

    page = await wait_until(told)
    assert re.search(r"silent host-b:771 is silent for \d+ s : it can begin nothing", page)
    assert "host-c:92 has not taken it up yet" in page
    assert "Looking again each second." in page
    await console.store.run("UPDATE switch_changes SET at_ms = at_ms - 60000")
    await beside(console, "host-c:92", seen=0)
    part = await alice.get("/parts/switch/1")
    assert "has NOT taken it up within 10 s" in part.text
    assert "<code>kill 92</code> on <bdi>host-c</bdi>" in part.text
    assert "data-again" in part.text
    await beside(console, "host-c:92", seen=0, silent_ms=LIVE_MS + 1_000)
    assert "data-again" not in (await alice.get("/switch/1")).text


async def test_the_result_of_a_change_that_was_changed_again_leads_on(console: OpenConsole, alice: Browser) -> None:
    await alice.post("/switch", to="paused", connector="main")
    await alice.post("/switch", to="close-only")
    page = await alice.get("/switch/1")
    assert "It was changed again: #2, all connectors close-only" in text(page)
    assert 'href="/switch/2"' in page.text


async def test_a_name_that_would_do_harm_is_a_name_in_every_page_of_the_switch(
    console: OpenConsole, alice: Browser
) -> None:
    name = '<img src=x onerror="alert(1)">'
    await alice.post("/switch", connector=name, to="paused", why="<script>alert(1)</script>")
    for path in ("/switch/1", "/switch?to=open", f"/switch?to=open&connector={quote(name)}", f"/lanes/{quote(name)}"):
        page = await alice.get(path)
        assert "<img" not in page.text
        assert "<script>" not in page.text
        assert "&lt;img src=x onerror=" in page.text
