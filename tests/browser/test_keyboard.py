"""The keyboard alone: every key does what the page of keys says, and no single key acts."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, expect

from tests.browser.tour import Places
from tests.support.axe import violations
from tests.support.desk import Desk, Plan
from tests.support.person import People, Person
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PLACES = {
    "o": "/",
    "d": "/dead",
    "s": "/schedule",
    "r": "/orders",
    "c": "/check",
    "a": "/activity",
}
# Of a person who leans on the keyboard.
ALL_KEYS = [*"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOQRSTUVWXYZ0123456789", "Space", "Delete", "Backspace"]
TABS_MAX = 200


async def press(person: Person, *keys: str) -> None:
    """Press these, one after the other."""
    for key in keys:
        await person.page.keyboard.press(key)


async def has_focus(where: Locator) -> bool:
    """Whether the focus is in there."""
    inside: bool = await where.evaluate("element => element.contains(document.activeElement)")
    return inside


async def test_the_keys_lead_to_each_page_and_each_dialog_and_back(bob: Person) -> None:
    page = bob.page
    await bob.open("/")
    for key, path in PLACES.items():
        # The overview leads to itself: a key that comes while the page is left is lost.
        async with page.expect_navigation(url=re.compile(rf"{re.escape(path)}(\?.*)?$")):
            await press(bob, "g", key)
    await bob.open("/")
    await press(bob, "?")
    await expect(bob.dialog).to_contain_text("Keys and preferences")
    assert not await violations(page)
    await press(bob, "Escape")
    await expect(bob.dialog).to_have_count(0)
    pause = page.get_by_role("link", name="Pause all…")
    await pause.focus()
    await press(bob, "Enter")
    await expect(bob.dialog.get_by_role("button", name="Pause all")).to_be_focused()
    for _ in range(12):
        await press(bob, "Tab")
        assert await has_focus(bob.dialog) or "<body" in await bob.focused(), "the focus has left the dialog"
    await press(bob, "Escape")
    await expect(pause).to_be_focused()
    await press(bob, "Shift+P")
    await expect(bob.dialog).to_contain_text("Pause all connectors?")
    await press(bob, "Escape")


async def test_rows_are_walked_chosen_and_opened_with_keys(bob: Person, places: Places) -> None:
    page, main = bob.page, bob.page.get_by_role("main")
    await bob.open("/dead")
    boxes = main.get_by_role("checkbox")
    await press(bob, "j", "x", "j", "j", "Shift+X")
    await expect(boxes.nth(0)).to_be_checked()
    await expect(boxes.nth(2)).to_be_checked()
    await press(bob, "k", "x")
    await expect(boxes.nth(1)).not_to_be_checked()
    await bob.open("/orders")
    await press(bob, "j", "Enter")
    await page.wait_for_url("**/orders/*")
    await bob.open("/")
    await press(bob, "j", "p")
    await expect(bob.dialog).to_contain_text(re.compile("Pause .*?"))
    await press(bob, "Escape")
    await bob.open(f"/orders/{places.delivered}")
    await bob.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await press(bob, "y")
    await expect(page.locator("#say")).to_contain_text("copied")
    assert await page.evaluate("navigator.clipboard.readText()") == places.delivered


async def test_no_single_key_acts(bob: Person, world: Desk) -> None:
    """On a row of each listing: a dialog may open, and a page, and nothing is done."""
    bob.expects("the server responded with a status of 400")  # where nothing is chosen
    acts = "SELECT (SELECT count(*) FROM audit), (SELECT count(*) FROM switch_changes)"
    before = world.rows(acts)
    for path in ("/", "/dead", "/schedule"):
        await bob.open(path)
        await press(bob, "j")
        for key in ALL_KEYS:
            await press(bob, key, "Escape")
            if not bob.page.url.endswith(path):
                await bob.open(path)
                await press(bob, "j")
    assert world.rows(acts) == before


@pytest.mark.browser
async def test_chosen_letters_are_judged_and_orders_canceled_by_keys_that_ask_first(bob: Person, world: Desk) -> None:
    later = Plan("gamma", delay_s=3_600)
    await world.publish(later)
    await wait_until(lambda: world.is_scheduled(later), what="the order in the schedule")
    await bob.open("/schedule?connector=gamma")
    await press(bob, "j", "x", "c")
    await expect(bob.page.get_by_role("heading", name="Cancel 1 scheduled order?")).to_be_visible()
    assert world.is_scheduled(later)
    for key, words in (("r", "would be replayed"), ("d", "would be discarded")):
        await bob.open("/dead?connector=beta")
        await press(bob, "j", "x", key)
        await expect(bob.page.get_by_role("main")).to_contain_text(words)
    await bob.open("/dead?connector=beta")
    await press(bob, "j", "a", "r")
    await expect(bob.page.get_by_role("main")).to_contain_text("would be replayed")


@pytest.mark.browser
async def test_single_keys_can_be_switched_off_and_all_is_reached_by_tab(people: People) -> None:
    bob = await people()
    await bob.open("/")
    await press(bob, "?")
    await bob.dialog.get_by_role("button", name="Switch single keys off").click()
    await expect(bob.dialog.get_by_role("button", name="Switch single keys on")).to_be_visible()
    await press(bob, "Escape", "g", "d", "Shift+P", "?")
    await expect(bob.dialog).to_have_count(0)
    assert bob.page.url.rstrip("/") == bob.url
    pause = bob.page.get_by_role("link", name="Pause all…")
    for _ in range(TABS_MAX):
        await press(bob, "Tab")
        if await has_focus(pause):
            break
    await expect(pause).to_be_focused()
    await press(bob, "Enter")
    await expect(bob.dialog).to_contain_text("Pause all connectors?")


@pytest.mark.browser
async def test_the_first_tab_skips_to_the_page(bob: Person) -> None:
    await bob.open("/orders")
    await press(bob, "Tab")
    await expect(bob.page.get_by_role("link", name="Skip to the page")).to_be_focused()
    await press(bob, "Enter")
    assert await has_focus(bob.page.get_by_role("main"))


@pytest.mark.browser
async def test_the_element_with_the_focus_is_never_under_the_head(bob: Person) -> None:
    """WCAG 2.4.11: walk through the whole page with Tab."""
    await bob.page.set_viewport_size({"width": 1280, "height": 500})
    await bob.open("/orders")
    for _ in range(60):
        await press(bob, "Tab")
        covered = await bob.page.evaluate("""() => {
            const one = document.activeElement
            if (one === document.body || one.closest('#head')) return null
            const {left, top, width, height} = one.getBoundingClientRect()
            const seen = document.elementFromPoint(left + width / 2, top + height / 2)
            return seen && (one.contains(seen) || seen.contains(one)) ? null : one.outerHTML.slice(0, 120)
        }""")
        assert covered is None, covered


@pytest.mark.browser
async def test_the_theme_is_changed_by_a_key_and_kept(bob: Person) -> None:
    await bob.open("/")
    for theme in ("light", "dark"):
        await press(bob, "t")
        await expect(bob.page.locator("html")).to_have_attribute("data-theme", theme)
        await bob.page.reload()
        await expect(bob.page.locator("html")).to_have_attribute("data-theme", theme)
        await bob.must_be_in_order(f"the theme {theme}")
