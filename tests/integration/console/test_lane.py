"""The overview and a lane's own page in the console, over a real ledger."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from signalq.consumer.orders.state import Attempt
from tests.support.console_site import Browser, OpenConsole
from tests.support.orders import body, new_id, order

LANE = "signalq.orders"
ACCEPTED = Attempt("accepted", sent=True, why="HTTP 200", status=200, duration_s=0.084)


async def deliver(console: OpenConsole, connector: str) -> str:
    """An order of this connector that was delivered; its id."""
    ledger = await console.store.ledger()
    epoch = await ledger.open_lane(LANE)
    one = order(body(connectorName=connector), message_id=new_id())
    known = await ledger.recall(one, epoch)
    claimed = await ledger.claim(one, known.state.claimed(5_000), epoch)
    await ledger.record(one, claimed.state.tried(ACCEPTED, was_in_doubt=False).delivered(), attempt=ACCEPTED)
    return one.intent_id


@pytest.mark.parametrize("name", ["main", "..", ".", "a/b?c#d%e", "我的機器人", "<b>bold</b>", "series", "x" * 128])
async def test_every_name_that_a_connector_can_have_has_a_page_with_its_orders(
    console: OpenConsole, alice: Browser, name: str
) -> None:
    intent_id = await deliver(console, name)
    path = f"/lanes?connector={quote(name, safe='')}" if name in (".", "..") else f"/lanes/{quote(name, safe='')}"
    page = await alice.get(path)
    assert f"/orders/{intent_id}" in page.text
    assert "<b>" not in page.text
    part = await alice.get(f"/parts/lane-records?connector={quote(name, safe='')}")
    assert part.text.strip() in page.text
    shown = json.loads((await alice.get(f"/parts/series?connector={quote(name, safe='')}")).text)
    assert [ms for _, ms in shown["posts"]] == [84]
    assert len(shown["short"]["delivered"]) == len(shown["short"]["dead"]) == 60
    assert len(shown["long"]["delivered"]) == 144


async def test_the_shared_lane_has_the_orders_of_all_connectors_without_a_lane_of_their_own(
    console: OpenConsole, alice: Browser
) -> None:
    ids = [await deliver(console, connector) for connector in ("main", "beta")]
    page = await alice.get("/shared-lane")
    assert all(f"/orders/{intent_id}" in page.text for intent_id in ids)
    assert "The shared lane" in page.text
    assert (await alice.get("/lanes?connector=", follow=False, status=303)).headers["Location"] == "/"


@pytest.mark.parametrize("name", ["%20a", "a%09b", "x" * 129, "%E2%80%AEa"])
async def test_a_name_that_no_connector_can_have_is_refused(alice: Browser, name: str) -> None:
    await alice.get(f"/lanes/{name}", status=400)


async def test_the_history_of_the_switch_is_on_the_page_of_its_lane(console: OpenConsole, alice: Browser) -> None:
    await alice.post("/switch", connector="main", to="paused", why="odd fills")
    page = await alice.get("/lanes/main")
    assert 'href="/switch/1"' in page.text
    assert "odd fills" in page.text


async def test_every_page_of_the_front_needs_a_session(console: OpenConsole, alice: Browser) -> None:
    stranger = await console.browser()
    for path in ("/", "/lanes/main", "/shared-lane", "/keys", "/switch?to=paused"):
        assert (await stranger.get(path, status=303, follow=False)).headers["Location"].startswith("/sign-in")
        await alice.get(path)
    for path in ("/parts/head", "/parts/lanes", "/parts/attention", "/parts/series", "/parts/lane"):
        await stranger.get(path, status=401)
        await alice.get(path)


@pytest.mark.parametrize(
    "path",
    [
        *("/?state=closed", "/?page=0", "/?page=x", "/?sort=worst", "/?wall=2", "/?nothing=1", "/?find=a&find=b"),
        *("/parts/head?place=/nowhere", "/parts/lane?connector=%20", "/keys?x=1", "/?find=%00"),
    ],
)
async def test_a_parameter_that_is_not_known_is_refused(alice: Browser, path: str) -> None:
    await alice.get(path, status=400)
