"""Signing in: with a token and a name, by the link of the start, wrongly, to look only; and signed out meanwhile."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from tests.support.axe import violations
from tests.support.desk import OPS_TOKEN, VIEW_TOKEN, Desk
from tests.support.person import People
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

LINK = re.compile(r"(http://127\.0\.0\.1:\d+)(/link/\S+)")


async def test_a_person_signs_in_with_a_name_and_a_token(people: People) -> None:
    """Who asks for a page is led to it afterwards; a wrong token is told in one sentence; and out again."""
    eve = await people(None)
    eve.expects("the server responded with a status of 401")
    page = eve.page
    await eve.open("/orders?q=connector:main")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("proving ground")
    assert not await violations(page)
    name, token = page.get_by_label("Your name"), page.get_by_label("Token")
    await name.fill("eve")
    await token.fill("not-the-token")
    await token.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Not signed in")
    await expect(name).to_have_value("eve" if await name.input_value() else "")
    await expect(token).to_have_value("")
    assert not await violations(page)
    await name.fill("eve")
    await token.fill(OPS_TOKEN)
    await token.press("Enter")
    await page.wait_for_url("**/orders?q=connector:main")
    await expect(page.locator("#head")).to_contain_text("eve")
    (cookie,) = await eve.context.cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Lax"
    await eve.open("/sign-out")
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url("**/sign-in")
    await eve.open("/")
    await page.wait_for_url("**/sign-in*")


async def test_one_who_may_only_look_is_told_so(people: People) -> None:
    eve = await people("eve", token=VIEW_TOKEN)
    await eve.open("/")
    await expect(eve.page.locator("#head")).to_contain_text("view only")
    await eve.open("/dead")
    await expect(eve.page.get_by_role("main")).to_contain_text("Nothing can be replayed or discarded here")


@pytest.mark.browser
async def test_without_a_token_the_link_of_the_start_signs_in_once(people: People, world: Desk) -> None:
    """All on this machine may look; to act, a person opens the link, and gives a name."""
    apart = world.new_console(log__format="console")
    del apart._settings["ops.token"], apart._settings["ops.view_token"]
    apart.start()
    try:
        found = await wait_until(lambda: LINK.search(apart.log), what="the link")
        url, link = found.groups()
        eve = await people(None, url=url)
        eve.expects("/events")  # which the end of the console cuts
        await eve.open("/")
        await expect(eve.page.get_by_role("link", name="Pause all…")).to_be_disabled()
        await eve.open(link)
        assert not await violations(eve.page)
        await eve.page.get_by_label("Your name").fill("eve")
        await eve.page.get_by_role("button", name="Sign in").click()
        await expect(eve.page.locator("#head")).to_contain_text("eve")
        await eve.page.get_by_role("link", name="Pause all…").click()
        await expect(eve.dialog.get_by_role("button", name="Pause all")).to_be_enabled()
        mallory = await people(None, url=url)
        mallory.expects("the server responded with a status of 40")
        mallory.expects("/events")
        await mallory.open(link)
        await expect(mallory.page.get_by_role("button", name="Sign in")).to_have_count(0)
        assert await apart.terminate() == 0
    finally:
        apart.close()


@pytest.mark.browser
async def test_one_who_was_signed_out_meanwhile_signs_in_again_and_nothing_typed_is_lost(
    people: People, world: Desk
) -> None:
    """The act is asked anew, and not repeated by itself."""
    eve = await people("eve")
    eve.expects("the server responded with a status of 401")
    await eve.open("/switch?connector=gamma&to=paused")
    await eve.open("/")
    await eve.page.get_by_role("link", name="Pause all…").click()
    why = eve.dialog.get_by_label("Why")
    await why.fill("odd fills")
    await eve.context.clear_cookies()
    await why.press("Enter")
    asked = eve.page.locator("#sign-in")
    await expect(asked.get_by_label("Token")).to_be_visible()
    assert not await violations(eve.page)
    await asked.get_by_label("Your name").fill("eve")
    await asked.get_by_label("Token").fill(OPS_TOKEN)
    await asked.get_by_label("Token").press("Enter")
    await expect(asked).not_to_be_visible()
    await expect(why).to_have_value("odd fills")
    assert not world.rows("SELECT 1 FROM switches WHERE connector = ''"), "it was repeated by itself"
    await eve.dialog.get_by_role("button", name="Pause all").click()
    await expect(eve.dialog).to_contain_text("All connectors are paused")
    await world.switch("", "open")
    await world.switch("delta", "close-only", who="bob", why="only exits until the fix")


@pytest.mark.browser
async def test_a_page_of_somebody_else_can_neither_act_nor_frame(people: People, world: Desk) -> None:
    """From another origin, with the person's cookie in the browser: a form is sent, and refused."""
    eve = await people("eve")
    eve.expects("the server responded with a status of 403|frame-ancestors|X-Frame-Options|refused to connect")
    form = (
        f'<form id=f method=post action="{world.url}/switch"><input name=to value=paused></form>'
        f'<iframe src="{world.url}/"></iframe>'
    )
    await eve.page.route("http://elsewhere.test/*", lambda route: route.fulfill(body=form, content_type="text/html"))
    await eve.page.goto("http://elsewhere.test/")
    await eve.page.evaluate("document.querySelector('#f').submit()")
    await expect(eve.page.locator("body")).to_contain_text("somebody else")
    assert not world.rows("SELECT 1 FROM switches WHERE connector = ''")
