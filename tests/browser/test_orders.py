"""Orders in the browser: found, told, canceled, downloaded; the check; and notes for the next shift."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.support.axe import violations
from tests.support.desk import Desk, Plan
from tests.support.person import NARROW, People, Person
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_order_is_found_by_its_clients_id_and_told(bob: Person) -> None:
    """Two refusals and a delivery: three attempts, drawn, and as a list."""
    await bob.open("/")
    search = bob.page.get_by_role("searchbox", name="Search orders")
    await bob.page.keyboard.press("/")
    await expect(search).to_be_focused()
    await search.fill("co-again")
    await search.press("Enter")
    main = bob.page.get_by_role("main")
    await expect(bob.page.get_by_role("heading", level=1)).to_contain_text("Order")
    await expect(main).to_contain_text("delivered")
    await expect(main).to_contain_text("attempt 3")
    await expect(main.get_by_role("img", name="timeline")).to_be_visible()
    assert not await violations(bob.page)


async def test_a_delayed_order_is_canceled(bob: Person, world: Desk) -> None:
    later = Plan("gamma", delay_s=3_600)
    await world.publish(later)
    await wait_until(lambda: world.is_scheduled(later), what="the order in the schedule")
    await bob.open("/schedule?connector=gamma")
    await bob.page.get_by_role("checkbox").first.check()
    await bob.page.get_by_role("button", name="Cancel chosen…").click()
    await expect(bob.page.get_by_role("heading", name="Cancel 1 scheduled order?")).to_be_visible()
    assert not await violations(bob.page)
    await bob.page.get_by_role("button", name="Cancel 1 scheduled order").click()
    await expect(bob.page.get_by_role("heading", name="1 canceled")).to_be_visible()
    assert not world.is_scheduled(later)
    assert world.rows(f"SELECT status FROM intents WHERE intent_id = '{later.intent_id}'") == [("canceled",)]  # noqa: S608


@pytest.mark.browser
async def test_without_script_a_delayed_order_is_canceled(people: People, world: Desk) -> None:
    later = Plan("gamma", delay_s=3_600)
    await world.publish(later)
    await wait_until(lambda: world.is_scheduled(later), what="the order in the schedule")
    bob = await people(java_script_enabled=False, width=NARROW)
    await bob.open("/schedule?connector=gamma")
    await bob.page.get_by_role("checkbox").first.check()
    await bob.page.get_by_role("button", name="Cancel chosen…").click()
    await bob.page.get_by_role("button", name="Cancel 1 scheduled order").click()
    await expect(bob.page.get_by_role("heading", name="1 canceled")).to_be_visible()
    assert not world.is_scheduled(later)


@pytest.mark.browser
async def test_an_order_that_goes_out_meanwhile_is_too_late_to_cancel(bob: Person, world: Desk) -> None:
    soon = Plan("gamma", delay_s=4)
    await world.publish(soon)
    await wait_until(lambda: world.is_scheduled(soon), what="the order in the schedule")
    await bob.open("/schedule?connector=gamma")
    await bob.page.get_by_role("checkbox").first.check()
    await bob.page.get_by_role("button", name="Cancel chosen…").click()
    await world.settled(soon)
    bob.expects("the server responded with a status of 400")
    await bob.page.get_by_role("button", name="Cancel 1 scheduled order").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("too late")


@pytest.mark.browser
async def test_an_order_lives_on_its_page(bob: Person, world: Desk) -> None:
    """It waits, and is told on: delivered when its time has come."""
    soon = Plan("gamma", delay_s=3)
    await world.publish(soon)
    await wait_until(lambda: world.is_scheduled(soon), what="the order in the schedule")
    await bob.open(f"/orders/{soon.intent_id}")
    await expect(bob.page.get_by_role("main")).to_contain_text("It is due in")
    await expect(bob.page.get_by_role("main")).to_contain_text("Nothing more will happen by itself")
    await expect(bob.page.get_by_role("main")).to_contain_text("delivered")


@pytest.mark.browser
async def test_the_orders_that_are_found_are_downloaded(bob: Person) -> None:
    await bob.open("/orders?q=connector:main")
    for words in ("CSV", "JSON lines"):
        async with bob.page.expect_download() as downloading:
            await bob.page.get_by_role("link", name=words).click()
        download = await downloading.value
        text = Path(await download.path()).read_text("utf-8")  # noqa: ASYNC240 - a small file
        assert "main" in text
        if words != "CSV":
            assert {json.loads(line)["connector"] for line in text.splitlines()} == {"main"}


@pytest.mark.browser
async def test_the_check_runs_again(bob: Person) -> None:
    await bob.open("/check")
    await bob.page.get_by_role("button", name="Run again").click()
    await expect(bob.page.get_by_role("main")).to_contain_text(re.compile("is wrong|are wrong|All is well"))
    await expect(bob.page.get_by_role("main")).to_contain_text("Looked")


@pytest.mark.browser
async def test_a_shift_note_stands_until_it_is_struck_out(bob: Person) -> None:
    await bob.open("/activity")
    await bob.page.get_by_role("link", name="Leave a note…").click()
    await bob.dialog.get_by_role("textbox", name="Note").fill("beta: new token at 15:00")
    assert not await violations(bob.page)
    await bob.dialog.get_by_role("button", name="Leave the note").click()
    await expect(bob.dialog).to_contain_text("Left by bob")
    await bob.open("/")
    await expect(bob.page.get_by_role("main")).to_contain_text("beta: new token at 15:00")
    note = bob.page.get_by_role("listitem").filter(has_text="beta: new token at 15:00")
    await note.get_by_role("link", name="Strike out…").click()
    await bob.dialog.get_by_role("button", name="Strike it out").click()
    await expect(bob.dialog).to_contain_text("Struck out by bob")
    await bob.page.keyboard.press("Escape")
    await expect(note).to_have_count(0)
