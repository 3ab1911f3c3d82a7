"""A page that is open: it follows what happens, keeps what a person has begun, and never grows."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from playwright.async_api import CDPSession, Page, Route, expect

from tests.browser.tour import Places
from tests.support.console import Console
from tests.support.desk import Desk, Plan, main_order
from tests.support.dom import normal
from tests.support.heap import held_bytes
from tests.support.person import People, Person
from tests.support.waiting import elapsed, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFRESHES = 3_000
# Before the counting begins, what a page keeps once is there.
WARM_UP = 300
# So long the page waits for an answer, and the browser keeps the signal that would end the wait.
ANSWER_S = 10.0
# A page shows so many orders at once.
ROWS_MAX = 50
GROWTH_MAX = 1.1
SLACK = 50
SEVEN = 7
# Keeps the streams that the page's own script opens, so that a test can let them say something.
_KEEP_STREAMS = """
    const Native = EventSource
    window.streams = []
    window.EventSource = class extends Native { constructor(...given) { super(...given); streams.push(this) } }
"""
_TELL = "names => streams.at(-1).dispatchEvent(new MessageEvent('changed', {data: names}))"
# Keeps something of each answer, as an ill script would.
_LEAK = """
    const ask = fetch
    window.kept = []
    window.fetch = async (...given) => {
        const answer = await ask(...given)
        kept.push(%s)
        return answer
    }
"""
_REGIONS = "() => document.querySelectorAll('[data-region]').length"
ALL_REGIONS = "status attention lanes throughput consumers letters schedule orders jobs activity"


async def equals_a_fresh_one(live: Page, fresh: Page, path: str, url: str) -> None:
    """The page that has followed all along becomes, within its time, as one that is opened now."""
    told: list[str] = []

    async def are_equal() -> bool:
        await fresh.goto(url + path)
        ours, theirs = await normal(live), await normal(fresh)
        told[:] = difflib.unified_diff(theirs, ours, "fresh", "live", n=0, lineterm="")
        return not told

    try:
        await wait_until(are_equal, 20.0, what="equal pages")
    except AssertionError as error:
        raise AssertionError(f"{path} is not as a fresh one:\n" + "\n".join(told)) from error


async def test_a_page_that_has_followed_is_as_one_that_is_opened_anew(bob: Person, world: Desk) -> None:
    """Orders are delivered, retried, delayed; the switch of one connector is changed; a letter is thrown away."""
    world.is_mended = False
    letter = Plan("kappa", "broken")
    await world.order(letter)
    paths = ("/", "/lanes/kappa", "/orders?q=connector:kappa", "/schedule", "/dead?by=reason")
    tabs = {path: await bob.tab() for path in paths}
    for path, tab in tabs.items():
        await tab.goto(bob.url + path)
    await world.order(*(Plan("kappa") for _ in range(3)), Plan("kappa", "again"))
    later = Plan("kappa", delay_s=7_200, client_order_id="co-kappa")
    await world.publish(later)
    await discard(bob, letter)
    await wait_until(lambda: world.is_scheduled(later), what="the order in the schedule")
    await world.switch("kappa", "close-only", who="carol", why="only exits")
    await expect(tabs["/"].locator("#lanes")).to_contain_text("close-only")
    await expect(tabs["/schedule"].get_by_role("main")).to_contain_text("co-kappa")
    fresh = await bob.tab()
    for path, tab in tabs.items():
        await equals_a_fresh_one(tab, fresh, path, bob.url)
    await world.switch("kappa", "open")
    await expect(tabs["/"].locator("#head")).not_to_contain_text("kappa")


async def discard(person: Person, plan: Plan) -> None:
    """Throw a letter away, in another window."""
    verdict = await person.post("/dead/verdict", id=plan.intent_id, action="discard")
    await wait_until(lambda: person.is_over(verdict), what="the verdict")
    done = await person.post(f"{verdict}/discard")
    await wait_until(lambda: person.is_over(done), what="the discard")


async def test_the_work_that_a_person_has_begun_stays_while_the_page_follows(bob: Person, world: Desk) -> None:
    """Half a word, a ticked box, the focus on a row's link, and a page that is held still."""
    page = bob.page
    await bob.open("/schedule")
    box = page.get_by_role("checkbox").first
    await box.check()
    strategy = page.get_by_label("Strategy")
    await strategy.fill("half a wor")
    later = Plan("kappa", delay_s=7_300, client_order_id="co-while-typing")
    await world.publish(later)
    await expect(page.get_by_role("main")).to_contain_text("co-while-typing")
    await expect(box).to_be_checked()
    await expect(strategy).to_have_value("half a wor")
    await expect(strategy).to_be_focused()
    link = page.get_by_role("main").get_by_role("row").nth(1).get_by_role("link").first
    await link.focus()
    await page.keyboard.press("l")
    await expect(page.locator("#live")).to_have_text("❚❚ held by you")
    await bob.post("/schedule/cancel", **{f"n{number_of(world, later)}": "1", "shown": "1"})
    await expect(page.get_by_role("link", name="Schedule")).to_have_text(f"Schedule {scheduled(world)}")
    await expect(page.get_by_role("main")).to_contain_text("co-while-typing")
    await page.keyboard.press("l")
    await expect(page.get_by_role("main")).not_to_contain_text("co-while-typing")
    await expect(link).to_be_focused()


def number_of(world: Desk, plan: Plan) -> int:
    """The number of an order in the ledger."""
    ((number,),) = world.rows(f"SELECT number FROM intents WHERE intent_id = '{plan.intent_id}'")  # noqa: S608
    return int(number)


def scheduled(world: Desk) -> int:
    """How many orders are in the schedule."""
    ((count,),) = world.rows("SELECT count(*) FROM intents WHERE due_ms IS NOT NULL AND ended_ms IS NULL")
    return int(count)


@pytest.mark.browser
async def test_seven_tabs_share_one_stream(people: People, world: Desk) -> None:
    """A browser has six connections to a server: a stream a tab would leave none for the seventh.

    The console is one that nobody else looks at.
    """
    async with world.new_console() as console:
        await console.started()
        bob = await people(url=console.url)
        tabs = [bob.page, *[await bob.tab() for _ in range(SEVEN - 1)]]
        for tab in tabs:
            await tab.goto(f"{bob.url}/")
        await wait_until(lambda: _has_streams(console, 1), what="one stream for seven tabs")
        await world.switch("kappa", "paused", who="carol")
        for tab in tabs:
            await expect(tab.locator("#head")).to_contain_text("kappa")
        await tabs.pop(0).close()
        await world.switch("kappa", "open", who="carol")
        for tab in tabs:
            await expect(tab.locator("#head")).not_to_contain_text("kappa")
        await wait_until(lambda: _has_streams(console, 1), what="the next tab has the stream")
        await bob.context.close()
        await wait_until(lambda: _has_streams(console, 0), what="the end of the stream")


async def _has_streams(console: Console, count: int) -> bool:
    """Whether so many browsers follow the changes, as the console counts them."""
    async with aiohttp.ClientSession() as session, session.get(f"{console.url}/metrics") as answer:
        (line,) = [one for one in (await answer.text()).splitlines() if one.startswith("signalq_console_streams ")]
    return round(float(line.rpartition(" ")[2])) == count


@pytest.mark.browser
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", ["/", "/lanes/main", "/dead", "/orders", "/schedule"])
async def test_three_thousand_refreshes_leave_nothing_behind(
    people: People, world: Desk, places: Places, path: str
) -> None:
    """Real answers of the real server, each of them whole: the browser's own tags are taken from its questions.

    The stream says that everything has changed, again and again; and meanwhile orders go out, so that it has.
    """
    await world.order(*(main_order() for _ in range(ROWS_MAX)))  # a listing that is full grows no more
    grown = await _growth(await people(), world, path, REFRESHES)
    assert not grown, grown


@pytest.mark.browser
@pytest.mark.parametrize(
    ("kept", "refreshes"),
    [("await answer.clone().text()", 100), ("answer", 300), ("[answer.headers.get('ETag'), Date.now()]", 1_000)],
)
async def test_the_proof_itself_finds_what_a_page_keeps(people: People, world: Desk, kept: str, refreshes: int) -> None:
    bob = await people()
    await bob.context.add_init_script(_LEAK % kept)
    assert "bytes" in " ".join(await _growth(bob, world, "/", refreshes))


async def _growth(person: Person, world: Desk, path: str, refreshes: int) -> list[str]:
    """What has grown on a page that was refreshed so often: a line for each."""
    page = person.page
    await person.context.add_init_script(_KEEP_STREAMS)
    await page.route("**/parts/**", _without_tag)
    await person.open(path)
    cdp = await person.context.new_cdp_session(page)
    await cdp.send("Performance.enable")
    regions = await page.evaluate(_REGIONS)
    await _refresh(page, world, WARM_UP, regions)
    before = await _measured(cdp)
    await _refresh(page, world, refreshes, regions)
    after = await _measured(cdp)
    return [
        f"{name}: {before[name]:.0f}, then {count:.0f}"
        for name, count in after.items()
        if count > before[name] * GROWTH_MAX + SLACK
    ]


async def _without_tag(route: Route) -> None:
    headers = {name: value for name, value in route.request.headers.items() if name != "if-none-match"}
    with suppress(Exception):  # the page has gone
        await route.continue_(headers=headers)


async def _refresh(page: Page, world: Desk, refreshes: int, regions: int) -> None:
    """Let each region be fetched again so often, all together; every so often something has really changed."""
    done = 0
    while done < refreshes:
        async with page.expect_response(lambda answer: "/parts/head" in answer.url):
            await page.evaluate(_TELL, ALL_REGIONS)
        done += regions
        if done % (regions * 50) == 0:
            await world.publish(main_order())
    await elapsed(ANSWER_S)


async def _measured(cdp: CDPSession) -> Mapping[str, float]:
    """The nodes and the listeners of a page, and the bytes that its scripts hold on to."""
    held = await held_bytes(cdp)  # which collects the garbage
    told: dict[str, Any] = await cdp.send("Performance.getMetrics")
    counted = {one["name"]: one["value"] for one in told["metrics"]}
    return {"bytes": held, **{name: counted[name] for name in ("Nodes", "JSEventListeners")}}


@pytest.mark.browser
async def test_a_page_says_it_aloud_only_where_something_needs_a_person(bob: Person, world: Desk) -> None:
    """Figures are not spoken; what is new in Attention is."""
    await bob.open("/")
    say = bob.page.locator("#say")
    await world.order(main_order())
    await expect(bob.page.locator("#lanes")).to_contain_text("main")
    assert await say.inner_text() == ""
    await world.order(Plan("omicron", "doubt"))
    await expect(say).not_to_be_empty()


@pytest.mark.browser
async def test_times_are_shown_in_the_zone_that_a_person_prefers(people: People, places: Places) -> None:
    bob = await people(timezone_id="Asia/Taipei", locale="en-GB")
    await bob.open(f"/orders/{places.delivered}")
    first = bob.page.locator("main time[data-show=clock]").first
    utc = await first.inner_text()
    await expect(bob.page.locator("#zone")).to_have_text("UTC")
    await bob.page.keyboard.press("u")
    await expect(bob.page.locator("#zone")).to_have_text("Asia/Taipei")
    await expect(first).not_to_have_text(utc)
    title = await first.get_attribute("title") or ""
    assert "UTC" in title
    assert "Asia/Taipei" in title
    await bob.page.reload()
    await expect(bob.page.locator("#zone")).to_have_text("Asia/Taipei")


@pytest.mark.browser
async def test_a_wall_shows_everything_and_lets_nobody_act(bob: Person) -> None:
    await bob.open("/?wall=1")
    await expect(bob.page.locator("#lanes")).to_contain_text("main")
    assert await bob.page.get_by_role("link", name="…").count() == 0
    assert json.loads(await bob.page.evaluate("JSON.stringify(document.documentElement.className)")) == "wall"
