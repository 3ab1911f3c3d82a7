"""The orders in the console: the newest, those that fit a search, and both as a file."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from signalq.consumer.ledger.client import LedgerUnavailable
from signalq.consumer.ledger.queries import search
from signalq.ops.console import download
from signalq.ops.console.download import FIELDS
from tests.support.console_site import Browser, OpenConsole, open_console
from tests.support.lives import TRACE_ID, Lives, lives_in
from tests.support.regions import check_region

EVIL = "<img src=x onerror=alert(1)>\"'\u202e"
IDS = re.compile(r'<tr id="order-\d+">.*?<a class="id" href="/orders/([^"]+)"', re.DOTALL)


@pytest.fixture
async def lives(console: OpenConsole) -> Lives:
    return await lives_in(console.store)


async def listed(browser: Browser, q: str = "", **parameters: Any) -> list[str]:
    """The ids that a search lists, in their order."""
    more = "".join(f"&{name}={value}" for name, value in parameters.items())
    return IDS.findall((await browser.get(f"/orders?q={quote(q)}{more}")).text)


async def test_the_newest_come_first_and_the_older_ones_by_a_link_that_newer_ones_do_not_move(
    alice: Browser, lives: Lives
) -> None:
    for number in range(60):
        await lives.delivered(f"n{number:02}")
    first = await alice.get("/orders")
    assert "50 newest; there are more" in first.text
    assert IDS.findall(first.text) == [f"n{number:02}" for number in range(59, 9, -1)]
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first.text)
    await lives.delivered("newer")
    second = await alice.get(older)
    assert IDS.findall(second.text) == [f"n{number:02}" for number in range(9, -1, -1)]
    assert "10 older orders" in second.text
    assert 'rel="next"' not in second.text
    assert (await listed(alice))[0] == "newer"
    await check_region(alice, "/orders", "/parts/orders")
    assert await check_region(alice, older, "/parts/orders") == older.replace("/orders", "/parts/orders")


async def test_one_exact_hit_leads_to_its_order_and_several_are_listed(alice: Browser, lives: Lives) -> None:
    await lives.delivered("3b61a24e3b6743658da38126d25cb526", clientOrderId="co-118")
    for q in ("3b61a24e3b6743658da38126d25cb526", "3b61a2", "3b61a2…cb526", "co-118", TRACE_ID, ' "co-118" '):
        answer = await alice.get(f"/orders?q={quote(q)}")
        assert answer.path == "/orders/3b61a24e3b6743658da38126d25cb526", q
    await lives.dead("3b61a2ffffffffffffffffffffffffff", clientOrderId="Long Entry")
    await lives.delivered("other", clientOrderId="Long Entry", connectorName="a b")
    assert await listed(alice, "3b61a2") == ["3b61a2ffffffffffffffffffffffffff", "3b61a24e3b6743658da38126d25cb526"]
    assert await listed(alice, "Long Entry") == ["other", "3b61a2ffffffffffffffffffffffffff"]
    assert len(await listed(alice, TRACE_ID)) == 3
    assert await listed(alice, "Long Entry status:dead") == ["3b61a2ffffffffffffffffffffffffff"]
    assert await listed(alice, 'connector:"a b"') == ["other"], "a hit of a condition is listed"
    assert await listed(alice, "reason:rejected http:401 strategy:momentum since:2h action:openLong") == [
        "3b61a2ffffffffffffffffffffffffff"
    ]
    assert await listed(alice, "since:2000-01-01T00:00 client:co-118") == ["3b61a24e3b6743658da38126d25cb526"]
    assert await listed(alice, "since:2100-01-01T00:00") == []


async def test_an_order_that_changed_lately_is_found_by_time_however_long_ago_it_came(
    console: OpenConsole, alice: Browser, lives: Lives
) -> None:
    await lives.delivered("old")
    await lives.delivered("changed")
    await console.store.run("UPDATE intents SET updated_ms = updated_ms - 7200000 WHERE intent_id = 'old'")
    await console.store.run("UPDATE intents SET received_ms = received_ms - 7200000")
    assert await listed(alice, "since:1h") == ["changed"]


async def test_a_search_that_means_nothing_is_told_in_its_place_and_the_text_stays(alice: Browser) -> None:
    answer = await alice.get(f"/orders?q={quote('conector:<b>')}", status=400)
    assert "there is no qualifier conector:, the nearest is connector:" in answer.text
    assert 'value="conector:&lt;b&gt;"' in answer.text
    assert "<b>" not in answer.text
    for path in ("/parts/orders", "/orders.csv", "/orders.jsonl"):
        assert "nearest is connector:" in (await alice.get(f"{path}?q=conector:x", status=400)).text


@pytest.mark.parametrize(
    "path",
    [
        *("/orders?nope=1", "/orders?before=0", "/orders?before=x", "/orders?before=-1", "/orders?before=1.5"),
        *("/orders?before=99999999999999999999", "/orders?q=a&q=b", "/parts/orders?x=1", "/orders.csv?before=1"),
        *("/orders/some-id?x=1", "/parts/order/some-id?x=1", f"/orders?q={'a' * 3_000}"),
    ],
)
async def test_a_wrong_parameter_is_refused(alice: Browser, path: str) -> None:
    await alice.get(path, status=400)


async def test_an_empty_page_says_why_and_how_far_it_looked(
    alice: Browser, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "No orders yet." in (await alice.get("/orders")).text
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 2)
    await lives.delivered("rare", connectorName="main")
    for number in range(4):
        await lives.delivered(f"n{number}", connectorName="other")
    nothing = await alice.get("/orders?q=connector:main")
    assert "No order fits." in nothing.text
    assert "This looked at the newest" in nothing.text
    (further,) = re.findall(r'rel="next" href="([^"]+)">Look further back<', nothing.text)
    assert "Look further back" in (await alice.get(further.replace("&amp;", "&"))).text
    word = await alice.get("/orders?q=co-118")
    assert "was looked for as the id, as the client order id, as an id that begins so" in word.text
    trace = await alice.get(f"/orders?q={'f' * 32}")
    assert "There may be more before that" in trace.text, "a trace has no index"


async def test_a_connector_that_nobody_knows_is_answered_with_the_nearest(tmp_path: Path) -> None:
    async with open_console(tmp_path, connectors={"main": {"token": "a-token-of-main"}}) as console:
        await (await lives_in(console.store)).delivered("one")
        bob = await console.browser("bob")
        assert "the nearest is <bdi>main</bdi>" in (await bob.get("/orders?q=connector:mian")).text
        assert "nearest" not in (await bob.get("/orders?q=connector:main+status:dead")).text


async def test_markup_in_a_foreign_field_is_text(alice: Browser, lives: Lives) -> None:
    name = EVIL.replace("\u202e", "")
    await lives.delivered(EVIL, connectorName=name, strategy=EVIL, clientOrderId=EVIL, log=EVIL)
    await lives.dead(f"2{EVIL}", strategy=EVIL)
    page = await alice.get("/orders")
    for path in ("/orders", f"/orders?q={quote(f'strategy:{json.dumps(EVIL)}')}", f"/orders?q={quote('<img x>')}"):
        text = (await alice.get(path)).text
        assert "<img" not in text
        assert "\u202e" not in text
    assert page.text.count("&lt;img") >= 4


# ---- files ----


def rows_of(form: str, text: str) -> list[dict[str, Any]]:
    if form == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
async def test_a_file_has_all_that_fits_in_slices_the_newest_first(
    alice: Browser, lives: Lives, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    slices: list[int] = []
    look = search.look

    def counted(*arguments: Any, **named: Any) -> search.Looked:
        found = look(*arguments, **named)
        slices.append(len(found.found))
        return found

    monkeypatch.setattr(search, "look", counted)
    monkeypatch.setattr(search, "LOOKED_AT_MAX", 40)
    monkeypatch.setattr(download, "SLICE_ROWS", 10)
    await asyncio.gather(*(lives.delivered(f"n{number}") for number in range(45)))
    await asyncio.gather(*(lives.dead(f"other-{number}", connectorName="other") for number in range(60)))
    answer = await alice.get(f"/orders.{form}?q=connector:main")
    rows = rows_of(form, answer.text)
    assert {row["intent_id"] for row in rows} == {f"n{number}" for number in range(45)}
    assert [list(row) for row in rows] == [list(FIELDS)] * 45
    assert max(slices) == 10, "no more is in memory at a time"
    assert 0 in slices, "what lies beyond the limit of a look is looked for as well"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="orders.{form}"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    by_id = rows_of(form, (await alice.get(f"/orders.{form}?q=n7")).text)
    assert [row["intent_id"] for row in by_id] == ["n7"], "one hit is a file of one line"
    monkeypatch.setattr(download, "ROWS_MAX", 25)
    assert len(rows_of(form, (await alice.get(f"/orders.{form}")).text)) == 25


async def test_a_file_that_breaks_off_does_not_look_whole(
    alice: Browser, console: OpenConsole, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "SLICE_ROWS", 2)
    for number in range(5):
        await lives.delivered(f"n{number}")
    read = console.desk.ledger.read
    reads = 0

    async def away(work: Callable[..., Any]) -> Any:
        nonlocal reads
        reads += 1
        if reads > 3:
            raise LedgerUnavailable("the ledger is away")
        return await read(work)

    monkeypatch.setattr(console.desk.ledger, "read", away)
    with pytest.raises(aiohttp.ClientPayloadError):
        await alice.get("/orders.csv")
    reads = 9
    await alice.get("/orders.csv", status=503)
