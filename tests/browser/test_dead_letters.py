"""Dead letters in the browser: chosen, judged first, then replayed or thrown away; and what became of each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

import pytest
from playwright.async_api import Error, expect

from tests.support import planted
from tests.support.axe import violations
from tests.support.desk import Desk, Plan
from tests.support.person import NARROW, People, Person
from tests.support.waiting import wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SLOW_LETTERS = 600


async def buried(world: Desk, count: int, connector: str = "gamma") -> Sequence[Plan]:
    """So many fresh orders that the webhook has refused, and would take from now on."""
    world.is_mended = False
    plans = [Plan(connector, "broken") for _ in range(count)]
    await world.order(*plans)
    await wait_until(lambda: letters(world, plans) == count, what="the letters")
    world.is_mended = True
    return plans


def letters(world: Desk, plans: Sequence[Plan]) -> int:
    """How many of these have a letter in the queue, by the ledger."""
    ids = ", ".join(f"'{plan.intent_id}'" for plan in plans)
    wanted = f"settled_ms IS NULL AND intent_id IN ({ids})"
    ((count,),) = world.rows(f"SELECT count(*) FROM letters WHERE {wanted}")  # noqa: S608
    return int(count)


async def judged(person: Person, action: str, connector: str = "gamma") -> None:
    """Choose the only group of a connector, and have it judged."""
    await person.open(f"/dead?connector={connector}")
    await person.page.get_by_role("checkbox", name="Choose all letters of this group").check()
    await person.page.get_by_role("button", name=action).click()
    await expect(person.page.get_by_role("main")).to_contain_text("would be")


async def press(person: Person, name: str | re.Pattern[str]) -> None:
    """Press a button that leads to another page."""
    async with person.page.expect_navigation():
        await person.page.get_by_role("main").get_by_role("button", name=name).first.click()


async def test_letters_are_judged_then_replayed_and_delivered(bob: Person, world: Desk) -> None:
    plans = await buried(world, 3)
    await judged(bob, "Check a replay…")
    main = bob.page.get_by_role("main")
    await expect(main).to_contain_text("3 would be replayed")
    assert letters(world, plans) == 3, "a verdict changes nothing"
    assert not await violations(bob.page), "a verdict"
    await main.get_by_role("button", name="Replay 3").click()
    await expect(main).to_contain_text("3 replayed")
    await world.settled(*plans)
    await expect(main.get_by_role("row").filter(has_text="delivered")).to_have_count(3)
    assert not await violations(bob.page), "the result"
    assert re.search(r"/jobs/[0-9a-f]+-\d+$", bob.page.url), "the result has an address"
    assert letters(world, plans) == 0


async def test_letters_are_judged_then_discarded(people: People, world: Desk) -> None:
    """And without script, on a narrow window."""
    plans = await buried(world, 2)
    bob = await people(java_script_enabled=False, width=NARROW)
    await bob.open("/dead?connector=gamma")
    await bob.page.get_by_role("checkbox", name="Choose all letters of this group").check()
    await press(bob, "Discard…")
    main = bob.page.get_by_role("main")

    async def is_there(words: str) -> bool:
        await bob.page.reload()
        return words in await main.inner_text()

    # The verdict on each is there before the job has ended; what may be done, only then.
    await wait_until(lambda: is_there("be undone"), what="the verdict")
    await expect(main).to_contain_text("2 would be discarded")
    await press(bob, "Discard 2")
    await wait_until(lambda: is_there("2 discarded"), what="the result")
    assert letters(world, plans) == 0
    await bob.open("/dead?connector=gamma")
    await expect(main).to_contain_text("fits these filters")


@pytest.mark.browser
async def test_a_letter_that_needs_a_person_is_ticked_and_the_number_typed(bob: Person, world: Desk) -> None:
    """Of delta, which is close-only, three expired opens and an exit wait."""
    bob.expects("the server responded with a status of 400")
    await bob.open("/dead?connector=delta&reason=expired&by=connector")
    await bob.page.get_by_role("checkbox", name="Choose all letters of this group").check()
    await bob.page.get_by_role("button", name="Check a replay…").click()
    main = bob.page.get_by_role("main")
    await expect(main).to_contain_text("need a person")
    await expect(main).to_contain_text("CLOSE-ONLY")
    before = world.rows("SELECT count(*) FROM steps WHERE what = 'replayed'")
    await main.get_by_role("checkbox").first.check()
    await main.get_by_role("textbox").last.fill("99")
    await main.get_by_role("button", name="ticked").click()
    await expect(main).to_contain_text("Nothing was done: type")
    await refreshed(bob)
    await expect(main).to_contain_text("Nothing was done: type")
    assert not await violations(bob.page)
    assert world.rows("SELECT count(*) FROM steps WHERE what = 'replayed'") == before


@pytest.mark.browser
async def test_letters_that_come_later_are_left_alone(bob: Person, world: Desk) -> None:
    first = await buried(world, 1)
    await bob.open("/dead?connector=gamma")
    later = await buried(world, 1)
    await expect(bob.page.get_by_role("main")).to_contain_text("1 new, not chosen")
    await bob.page.get_by_role("checkbox", name="Choose all letters of this group").check()
    await bob.page.get_by_role("button", name="Discard…").click()
    await bob.page.get_by_role("button", name="Discard 1").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("1 discarded")
    assert (letters(world, first), letters(world, later)) == (0, 1)
    await judged(bob, "Discard…")
    await bob.page.get_by_role("button", name="Discard 1").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("1 discarded")


@pytest.mark.browser
async def test_a_job_goes_on_when_its_tab_is_closed_and_is_found_again(bob: Person, world: Desk) -> None:
    plans = await buried(world, 5)
    await judged(bob, "Check a replay…")
    await bob.page.get_by_role("button", name="Replay 5").click()
    await bob.page.close()
    await wait_until(lambda: letters(world, plans) == 0, what="the replay")
    bob.page = await bob.tab()
    await bob.open("/jobs")
    await bob.page.get_by_role("main").get_by_role("link", name="replay").first.click()
    await expect(bob.page.get_by_role("main")).to_contain_text("5 replayed")


@pytest.mark.browser
async def test_a_job_is_asked_again(bob: Person, world: Desk) -> None:
    plans = await buried(world, 1)
    await judged(bob, "Check a replay…")
    first = bob.page.url
    await bob.page.get_by_role("button", name="Check again what is there").click()
    await bob.page.wait_for_url(lambda url: "/jobs/" in url and url != first)
    await expect(bob.page.get_by_role("main")).to_contain_text("1 would be replayed")
    await bob.page.get_by_role("button", name="Replay 1").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("1 replayed")
    await world.settled(*plans)


async def refreshed(person: Person) -> None:
    """Have the region of a job fetched again, and once more: which begins when the first answer is on the page."""
    await person.is_live()
    for _ in range(2):
        async with person.page.expect_response(re.compile("/parts/jobs/")):
            for _ in range(2):  # held, and let go
                await person.page.locator("#live").click()


async def over(person: Person) -> None:
    """Wait until the job that the page shows has ended."""
    job = person.page.url.removeprefix(person.url)
    await wait_until(lambda: person.is_over(job), what="the end of the job")


@pytest.mark.browser
@pytest.mark.timeout(600)
async def test_a_job_that_goes_on_is_stopped(bob: Person, world: Desk) -> None:
    """The batch in hand is finished; the rest stays where it is, and goes when it is asked again."""
    plans = await buried(world, SLOW_LETTERS, "theta")
    await judged(bob, "Check a replay…", "theta")
    await press(bob, f"Replay {SLOW_LETTERS}")
    with suppress(Error):  # it may have ended already
        await bob.page.get_by_role("button", name="Stop it").click(timeout=2_000)
    await over(bob)
    while letters(world, plans):
        await judged(bob, "Check a replay…", "theta")
        await press(bob, re.compile(r"Replay \d+|Take away"))
        await over(bob)
    await world.settled(*plans)
    posts = [order.body for order in world.hook.orders if order.connector == "theta"]
    assert len(posts) == 2 * SLOW_LETTERS, "each was refused once, and delivered once"


@pytest.mark.browser
async def test_a_letter_is_shown_without_its_token(bob: Person) -> None:
    """The one that an attacker has named."""
    await bob.open("/dead?reason=rejected&by=reason")
    await bob.page.get_by_role("main").get_by_role("link", name="rejected").first.click()
    shown = bob.page.get_by_role("row").filter(has_text=planted.IMAGE[:10]).get_by_role("link", name="Show…")
    await shown.first.click()
    await bob.dialog.get_by_role("button", name="Show the letter").click()
    await expect(bob.dialog).to_contain_text("connectorToken")
    assert "***" in await bob.dialog.inner_text()
    assert not await violations(bob.page)


@pytest.mark.browser
async def test_the_queue_is_read(bob: Person) -> None:
    await bob.open("/dead/queue")
    await bob.page.get_by_role("button", name="Read the queue").click()
    await expect(bob.page.get_by_role("main")).to_contain_text("done")


@pytest.mark.browser
async def test_a_note_stands_at_its_group(bob: Person) -> None:
    await bob.open("/dead?connector=beta")
    await bob.page.get_by_role("link", name="Note…").click()
    assert not await violations(bob.page)
    note = bob.dialog.get_by_role("textbox", name="Note")
    await note.fill("new token at 15:00")
    await note.press("Enter")
    await expect(bob.page.get_by_role("main")).to_contain_text("new token at 15:00")
    await expect(bob.page.get_by_role("main")).to_contain_text("bob")
