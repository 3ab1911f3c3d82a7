"""The pages of the activity and of the shift notes, over a real ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sqlalchemy import Connection

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import audit, shift_notes, switches
from signalq.consumer.ledger.queries.audit import Act
from tests.support.console_site import Browser, OpenConsole
from tests.support.waiting import wait_until

EVIL = "</td><script>alert(1)</script>\u202e\x1b[31m\"'&"
T0_MS = 1_796_000_000_000


def main_of(text: str) -> str:
    return text.split("<main", 1)[1].split("</main>", 1)[0]


async def audited(console: OpenConsole) -> list[tuple[str, str, object, str]]:
    rows = await console.store.rows("SELECT who, via, about, why FROM audit ORDER BY number")
    return [(who, via, json.loads(about), why) for who, via, about, why in rows]


# --- the activity ----------------------------------------------------------------------------------------------------


async def test_acts_of_people_and_old_changes_of_the_switch_are_there_page_by_page_and_by_filter(
    console: OpenConsole, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signalq.ops.console.pages.activity.ROWS_MAX", 2)
    assert "Nobody has done anything here yet" in (await alice.get("/activity")).text

    def work(connection: Connection) -> None:
        switches.change(connection, T0_MS, "alpha", "paused", who="carol", why="token leaked")
        for number in range(4):
            act = Act("cancel", {"connector": f"c{number}"}, done=number)
            audit.note(connection, T0_MS + 60_000 * number, Actor("bob", "cli", "host-a"), act)

    async with LedgerClient(console.store.url) as ledger:
        await ledger.transact(work)
    seen: list[str] = []
    path = "/activity"
    while path:
        page = main_of((await alice.get(path)).text)
        part = re.search(r'data-region="(/parts/activity[^"]*)"', page)
        assert part is not None
        assert (await alice.get(part[1].replace("&amp;", "&"))).text.strip() in page, (
            "a live region is as the page has it"
        )
        seen += re.findall(r"c\d(?=</bdi>)|token leaked", page)
        older = re.search(r'href="([^"]*)" rel="next"', page)
        path = older[1].replace("&amp;", "&") if older else ""
    assert seen == ["c3", "c2", "c1", "c0", "token leaked"]
    assert "carol" in (await alice.get("/activity?kind=switch")).text
    assert "bob" not in main_of((await alice.get("/activity?who=carol")).text)
    window = main_of((await alice.get("/activity?since=2026-11-30T00%3A55&until=2026-11-30T00:56&who=bob")).text)
    assert re.findall(r"c\d(?=</bdi>)", window) == ["c2"]
    assert 'value="2026-11-30T00:55"' in window
    assert "Nothing fits" in (await alice.get("/activity?who=nobody")).text


async def test_markup_in_whatever_the_audit_has_is_text(console: OpenConsole, alice: Browser) -> None:
    async with LedgerClient(console.store.url) as ledger:
        for about in ({"connector": EVIL, "state": EVIL}, {EVIL: EVIL}, {"ids": [EVIL], "job": EVIL}):
            for what in ("switch", "replay"):
                act = Act(what, about, why=EVIL)  # type: ignore[arg-type]
                await ledger.transact(lambda now, act=act: audit.note(now, 7, Actor(EVIL, EVIL[:16], EVIL), act))
    page = (await alice.get("/activity")).text
    assert "<script>" not in page
    assert not set("\u202e\x1b") & set(page)
    assert page.count("alert(1)") >= 6
    only = (await alice.get("/activity?who=%3Cscript%3E")).text
    assert "Nothing fits" in only
    assert "<script>%" not in only
    assert "&lt;script&gt;" in only


@pytest.mark.parametrize(
    "query",
    [
        *("x=1", "who=a&who=b", "kind=everything", "since=yesterday", "until=1e9", "before=1", "before=1.2.x"),
        f"who={'a' * 3_000}",
    ],
)
async def test_a_parameter_that_is_wrong_is_told_and_no_page_is_made(alice: Browser, query: str) -> None:
    for path in ("/activity", "/parts/activity"):
        await alice.get(f"{path}?{query}", status=400)


# --- shift notes -----------------------------------------------------------------------------------------------------


async def test_a_note_is_left_and_struck_out_and_both_are_audited(console: OpenConsole, alice: Browser) -> None:
    assert "Leave a note for the next shift" in (await alice.get("/notes/new")).text
    left = await alice.post("/notes", note=" new token\u3000at 15:00 \r\n\r\n ask <carol> ")
    assert left.path == "/notes/1"
    assert "<bdi>new token at 15:00</bdi>" in left.text
    assert "<bdi>ask &lt;carol&gt;</bdi>" in left.text
    bob = await console.browser("bob")
    struck = await bob.post("/notes/1/strike")
    assert (struck.path, "Struck out by <bdi>bob</bdi>" in struck.text) == ("/notes/1", True)
    again = await alice.post("/notes/1/strike")
    assert "Struck out by <bdi>bob</bdi>" in again.text, "as it was first"
    assert await audited(console) == [
        ("alice", "console", {"shift_note": 1}, "new token at 15:00 /  / ask <carol>"),
        ("bob", "console", {"shift_note": 1, "struck": True}, ""),
    ]
    told = (await alice.get("/activity?kind=note")).text
    assert (told.count("a shift note</a>"), "struck out" in told) == (2, True)


async def test_a_note_stands_in_the_part_of_the_overview_until_it_is_struck_out(
    console: OpenConsole, alice: Browser
) -> None:
    await alice.post("/notes", note=EVIL.replace("\u202e", "").replace("\x1b", ""))

    async def part() -> str:
        return (await alice.get("/parts/notes")).text

    async def stands() -> bool:
        return "alert(1)" in await part()

    async def is_gone() -> bool:
        return "alert(1)" not in await part()

    await wait_until(stands, what="the note in the part")
    assert "<script>" not in await part()
    await alice.post("/notes/1/strike")
    await wait_until(is_gone, what="the end of the note")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "note needs a text"),
        (" \n\t ", "is empty"),
        ("a" * 501, "500 are room for"),
        ("a\x1b[31m", "can&#39;t be printed"),
        ("a\u202eb", "can&#39;t be printed"),
    ],
)
async def test_a_note_that_is_none_or_too_long_is_told_and_not_kept(
    console: OpenConsole, alice: Browser, text: str, why: str
) -> None:
    assert why in (await alice.post("/notes", note=text, status=400)).text
    assert await console.store.rows("SELECT * FROM shift_notes") == []
    assert await audited(console) == []


async def test_the_longest_note_is_kept_and_of_too_many_that_stand_the_next_is_refused(
    console: OpenConsole, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shift_notes, "STANDING_MAX", 1)
    await alice.post("/notes", note="é" * 500)
    assert "strike one out first" in (await alice.post("/notes", note="another", status=409)).text
    assert await console.store.rows("SELECT note FROM shift_notes") == [("é" * 500,)]
    assert len(await audited(console)) == 1


async def test_a_viewer_leaves_no_note_and_unknown_notes_and_fields_are_told(
    console: OpenConsole, alice: Browser, tmp_path: Path
) -> None:
    carol = await console.browser("carol", role="view")
    await carol.get("/notes/new", status=403)
    await carol.post("/notes", note="x", status=403)
    await alice.post("/notes", note="x")
    await carol.post("/notes/1/strike", status=403)
    assert "Strike it out" not in (await carol.get("/notes/1")).text
    await alice.post("/notes", note="x", more="y", status=400)
    await alice.post("/notes/1/strike", more="y", status=400)
    for number in ("0", "2", "x", "-1", "9" * 30, "%00"):
        await alice.get(f"/notes/{number}", status=404)
        await alice.post(f"/notes/{number}/strike", status=404)
    assert len(await audited(console)) == 1
