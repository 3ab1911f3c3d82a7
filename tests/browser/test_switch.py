"""The switch, as a person at a browser has it: what it will do, how it is confirmed, and who has taken it up."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Locator, Page, expect

from signalq.consumer.orders.switch import ALL
from tests.support.axe import violations
from tests.support.desk import VIEW_TOKEN, Desk, Plan, main_order
from tests.support.person import NARROW, People, Person
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(loop_scope="session", autouse=True)
async def as_it_was(world: Desk) -> AsyncIterator[None]:
    """The switch of the world, put back."""
    yield
    if world.rows("SELECT 1 FROM switches WHERE connector <> 'delta' AND connector <> 'eta'") or not world.rows(
        "SELECT 1 FROM switches WHERE connector = 'delta'"
    ):
        await world.switch(ALL, "open")
        await world.switch("delta", "close-only", who="bob", why="only exits until the fix")


def state(world: Desk, connector: str = ALL) -> str:
    """The switch of a connector, or of all, in the ledger."""
    found = world.rows(f"SELECT state FROM switches WHERE connector = '{connector}'")  # noqa: S608
    return found[0][0] if found else "open"


def consumer_of(world: Desk) -> str:
    """The name of the world's consumer, as a person reads it."""
    return f"{socket.gethostname()}:{world.consumer.pid}"


def row_of(page: Page, connector: str) -> Locator:
    """The row of a lane on the overview."""
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=connector, exact=True))


async def test_a_person_pauses_all_with_one_key_and_resumes_all_by_a_word(bob: Person, world: Desk) -> None:
    page = bob.page
    await bob.open("/")
    await page.get_by_role("link", name="Pause all…").click()
    await expect(bob.dialog).to_contain_text("Pause all connectors?")
    await expect(bob.dialog.get_by_role("button", name="Pause all")).to_be_focused()
    assert not await violations(page), "the question"
    await page.keyboard.press("Enter")
    await expect(bob.dialog).to_contain_text("All connectors are paused")
    await expect(bob.dialog.get_by_role("listitem").filter(has_text=consumer_of(world))).to_contain_text("acts by it")
    assert state(world) == "paused"
    assert not await violations(page), "the result"
    await page.keyboard.press("Escape")
    await expect(page.locator("#head")).to_contain_text("PAUSED: all connectors")
    assert await page.evaluate("document.activeElement !== document.body"), "the focus is lost"
    waits, before = main_order(), len(world.hook.orders)
    await world.publish(waits)
    await expect(row_of(page, "main").get_by_role("cell").nth(1)).to_have_text("1")
    assert len(world.hook.orders) == before

    await page.get_by_role("link", name="Resume all…").first.click()
    await expect(bob.dialog).to_contain_text("Resume all connectors?")
    await expect(bob.dialog).to_contain_text("only exits until the fix")
    assert not await violations(page), "the question that leads away from safety"
    word = bob.dialog.get_by_role("textbox", name="Type resume")
    await page.keyboard.press("Enter")
    await word.fill("resum")
    await word.press("Enter")
    assert state(world) == "paused", "a word that is not the one confirms nothing"
    await word.fill("resume")
    await word.press("Enter")
    await expect(bob.dialog).to_contain_text("All connectors are open")
    assert state(world) == "open"
    await world.settled(waits)


async def test_without_script_a_person_pauses_all_and_resumes_all(people: People, world: Desk) -> None:
    bob = await people(java_script_enabled=False, width=NARROW)
    page = bob.page
    await bob.open("/")
    await page.get_by_role("link", name="Pause all…").click()
    await page.get_by_label("Why").fill("odd fills")
    await page.get_by_role("button", name="Pause all").click()
    await expect(page.get_by_role("main")).to_contain_text("All connectors are paused")
    assert re.search(r"/switch/\d+$", page.url), "the result has an address"
    assert state(world) == "paused"

    result = page.url.removeprefix(bob.url)

    async def is_taken_up() -> bool:
        return "acts by it" in await bob.read(result)

    await wait_until(is_taken_up, what="the consumer's name on the page")
    await bob.open(result)
    await expect(page.locator("#head")).to_contain_text("odd fills")
    await page.get_by_role("link", name="Resume all…").first.click()
    await page.get_by_role("textbox", name="Type resume").fill("resume")
    await page.get_by_role("button", name="Resume all").click()
    await expect(page.get_by_role("main")).to_contain_text("All connectors are open")
    assert state(world) == "open"


@pytest.mark.browser
async def test_one_connector_is_set_to_close_only_on_its_own_page(bob: Person, world: Desk) -> None:
    await bob.open("/lanes/sigma")
    await bob.page.get_by_role("main").get_by_role("link", name="Close-only…").click()
    await bob.dialog.get_by_role("button", name="Close-only").click()
    await expect(bob.dialog).to_contain_text("sigma is close-only")
    assert state(world, "sigma") == "close-only"
    opens, closes = Plan("sigma"), Plan("sigma", action="closeLong")
    await world.order(opens, closes)
    found = dict(world.rows("SELECT intent_id, coalesce(reason, status) FROM intents WHERE connector = 'sigma'"))
    assert (found[opens.intent_id], found[closes.intent_id]) == ("forbidden", "delivered")
    await bob.page.keyboard.press("Escape")
    await expect(bob.page.locator("#lane")).to_contain_text("close-only")
    await bob.page.get_by_role("main").get_by_role("link", name="Resume…").click()
    await bob.dialog.get_by_role("textbox", name="Type sigma").fill("sigma")
    await bob.dialog.get_by_role("button", name="Resume").click()
    await expect(bob.dialog).to_contain_text("sigma is open")


@pytest.mark.browser
async def test_a_resume_is_refused_where_somebody_has_changed_the_switch_since(bob: Person, world: Desk) -> None:
    await world.switch("gamma", "paused", who="carol", why="token leaked")
    await bob.open("/switch?connector=gamma&to=open")
    await world.switch("gamma", "close-only", who="dave", why="only exits")
    bob.expects("the server responded with a status of 409")
    await bob.page.get_by_role("textbox", name="Type gamma").fill("gamma")
    await bob.page.get_by_role("button", name="Resume").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("somebody has changed the switch since you looked")
    await expect(bob.page.get_by_role("main")).to_contain_text("dave")
    assert state(world, "gamma") == "close-only"
    assert not await violations(bob.page)


@pytest.mark.browser
async def test_a_pause_is_made_even_where_somebody_has_changed_the_switch_since(bob: Person, world: Desk) -> None:
    await bob.open("/switch?connector=gamma&to=paused")
    await world.switch("gamma", "close-only", who="dave")
    await bob.page.get_by_role("button", name="Pause").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("gamma is paused")


@pytest.mark.browser
async def test_one_who_may_only_look_sees_the_buttons_and_why_they_do_nothing(people: People, world: Desk) -> None:
    eve = await people("eve", token=VIEW_TOKEN)
    await eve.open("/")
    pause = eve.page.get_by_role("link", name="Pause all…")
    await expect(pause).to_be_disabled()
    await pause.click(force=True)
    assert "view only" in (await pause.get_attribute("title") or "")
    await expect(eve.dialog).to_have_count(0)
    await eve.open("/switch?to=paused")
    await expect(eve.page.get_by_role("button", name="Pause")).to_be_disabled()
    await expect(eve.page.get_by_role("main")).to_contain_text("You can't do that here")
    assert state(world) == "open"


@pytest.mark.browser
async def test_a_frozen_consumer_is_named_after_a_pause(bob: Person, world: Desk) -> None:
    """It lives by the ledger for a while, then is silent: each is said, with its name."""
    consumer = world.new_consumer()
    consumer.start()
    try:
        await consumer.started()
        name = f"{socket.gethostname()}:{consumer.pid}"
        await bob.open("/")
        await expect(bob.page.locator("#consumers")).to_contain_text(name)
        await world.freeze(consumer)
        await bob.page.get_by_role("link", name="Pause all…").click()
        await expect(bob.dialog.get_by_role("button", name="Pause all")).to_be_focused()
        await bob.page.keyboard.press("Enter")
        frozen = bob.dialog.get_by_role("listitem").filter(has_text=name)
        await expect(frozen).to_contain_text(re.compile("has not taken it up|has NOT taken it up|is silent"))
        await expect(bob.dialog.get_by_role("listitem").filter(has_text=consumer_of(world))).to_contain_text("acts by")
        await expect(frozen).to_contain_text(re.compile("has NOT taken it up|is silent"))
        assert not await violations(bob.page)
        consumer.thaw()
        await expect(frozen).to_contain_text("acts by it")
        await consumer.end()
    finally:
        consumer.close()
