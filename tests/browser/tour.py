"""Every page of the console, and where a world has one to show: a route that is nowhere in here fails the proof."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from tests.support import planted
from tests.support.desk import Desk, Plan
from tests.support.person import Person
from tests.support.waiting import wait_until

_GROUP = re.compile(r'name="group" value="([0-9a-f]+)"')


@dataclass(frozen=True, slots=True)
class Places:
    """What the pages of single things are opened with; much of it is an attacker's text."""

    delivered: str
    retried: str
    change: str
    verdict: str
    letter: str
    note: str
    cancelation: str
    scheduled: int
    group: str


async def prepare(person: Person, world: Desk) -> Places:
    """Let there be one of each: done by this person, with reasons and notes that are markup."""
    later = Plan("gamma", delay_s=3_600)
    ended = [Plan("gamma", client_order_id="co-tour"), Plan("gamma", "again")]
    await world.publish(later)
    await world.order(*ended)
    await wait_until(partial(world.is_scheduled, later), what="an order in the schedule")
    ((number,),) = world.rows(f"SELECT number FROM intents WHERE intent_id = '{later.intent_id}'")  # noqa: S608
    change = await person.post("/switch", connector="eta", to="close-only", why=planted.IMAGE)
    verdict = await person.post("/dead/verdict", id=planted.INTENT_ID, action="replay")
    letter = await person.post(f"/dead/letter/{quote(planted.INTENT_ID, safe='')}")
    note = await person.post("/notes", note=planted.IMAGE)
    canceled = await person.post("/schedule/cancel", **{f"n{number}": "1", "shown": "1"})
    group = (_GROUP.findall(await person.read(f"/dead?connector={quote(planted.CONNECTOR)}")))[0]
    await person.post("/dead/note", connector=planted.CONNECTOR, group=group, note=planted.IMAGE)
    for job in (verdict, letter):
        await wait_until(partial(person.is_over, job), what="the end of a job")
    ((still,),) = world.rows("SELECT min(number) FROM intents WHERE due_ms IS NOT NULL AND ended_ms IS NULL")
    return Places(
        ended[0].intent_id, ended[1].intent_id, *map(_last, (change, verdict, letter, note, canceled)), still, group
    )


def stops(places: Places) -> Mapping[str, str]:
    """The address of each page, by the route that answers it, and what is shown there."""
    hostile = quote(planted.CONNECTOR, safe="")
    order = quote(planted.INTENT_ID, safe="")
    return {
        "/": "/",
        "/ on a wall": "/?wall=1",
        "/ that nothing fits": "/?find=nothing-fits",
        "/keys": "/keys",
        "/lanes": "/lanes?connector=..",
        "/lanes/{name}": "/lanes/main",
        "/lanes/{name} of an attacker": f"/lanes/{hostile}",
        "/shared-lane": "/shared-lane",
        "/switch": "/switch?to=paused",
        "/switch for one": f"/switch?connector={hostile}&to=paused",
        "/switch back": "/switch?to=open",
        "/switch/{number}": f"/switch/{places.change}",
        "/dead": "/dead",
        "/dead with a group": f"/dead?open={places.group}&connector={hostile}",
        "/dead by reason": "/dead?by=reason",
        "/dead that nothing fits": "/dead?reason=expired&connector=beta",
        "/dead/check": f"/dead/check?id={order}",
        "/dead/discard": f"/dead/discard?id={order}",
        "/dead/letter/{id}": f"/dead/letter/{order}",
        "/dead/queue": "/dead/queue",
        "/dead/note": f"/dead/note?connector={hostile}&group={places.group}",
        "/jobs": "/jobs",
        "/jobs/{job}": f"/jobs/{places.verdict}",
        "/jobs/{job} with a body": f"/jobs/{places.letter}",
        "/orders": "/orders",
        "/orders that fit": f"/orders?q=connector:{quote('main')}+status:delivered",
        "/orders that nobody knows": "/orders?q=status:delivered+strategy:nobody",
        "/orders/{id}": f"/orders/{places.delivered}",
        "/orders/{id} retried": f"/orders/{places.retried}",
        "/orders/{id} of an attacker": f"/orders/{order}",
        "/schedule": "/schedule",
        "/schedule/cancel": f"/schedule/cancel?n{places.scheduled}=1",
        "/schedule/canceled/{number}": f"/schedule/canceled/{places.cancelation}",
        "/check": "/check",
        "/activity": "/activity",
        "/notes/new": "/notes/new",
        "/notes/{number}": f"/notes/{places.note}",
        "/sign-in": "/sign-in",
        "/sign-out": "/sign-out",
    }


# The pages of things that are not there: they are pages of ours as well.
ABSENT: Mapping[str, int] = {
    "/orders/nobody-knows-this-one": 404,
    "/jobs/0123456789abcdef-1": 404,
    "/switch/999999": 404,
    "/notes/999999": 404,
    "/no-such-page": 404,
    "/dead?no-such-filter=1": 400,
    "/orders?q=status:soon": 400,
}

# The routes that no stop is for, and the test that goes there.
ELSEWHERE: Mapping[tuple[str, str], str] = {
    ("GET", "/events"): "test_live.test_seven_tabs_share_one_stream",
    ("GET", "/static/{digest}/{name}"): "test_pages.test_each_page_can_be_used_by_everybody_and_shows_no_secret",
    ("GET", "/static/{digest}/vendor/{name}"): "test_pages.test_each_page_can_be_used_by_everybody_and_shows_no_secret",
    ("GET", "/link/{secret}"): "test_sign_in.test_without_a_token_the_link_of_the_start_signs_in_once",
    ("POST", "/link/{secret}"): "test_sign_in.test_without_a_token_the_link_of_the_start_signs_in_once",
    ("POST", "/sign-in"): "test_sign_in.test_a_person_signs_in_with_a_name_and_a_token",
    ("POST", "/sign-out"): "test_sign_in.test_a_person_signs_in_with_a_name_and_a_token",
    ("POST", "/switch"): "test_switch.test_a_person_pauses_all_with_one_key_and_resumes_all_by_a_word",
    ("POST", "/dead/verdict"): "test_dead_letters.test_letters_are_judged_then_replayed_and_delivered",
    ("POST", "/jobs/{job}/replay"): "test_dead_letters.test_letters_are_judged_then_replayed_and_delivered",
    ("POST", "/jobs/{job}/discard"): "test_dead_letters.test_letters_are_judged_then_discarded",
    ("POST", "/jobs/{job}/again"): "test_dead_letters.test_a_job_is_asked_again",
    ("POST", "/jobs/{job}/cancel"): "test_dead_letters.test_a_job_that_goes_on_is_stopped",
    ("POST", "/dead/letter/{id}"): "test_dead_letters.test_a_letter_is_shown_without_its_token",
    ("POST", "/dead/queue"): "test_dead_letters.test_the_queue_is_read",
    ("POST", "/dead/note"): "test_dead_letters.test_a_note_stands_at_its_group",
    ("POST", "/schedule/cancel"): "test_orders.test_a_delayed_order_is_canceled",
    ("GET", "/orders.csv"): "test_orders.test_the_orders_that_are_found_are_downloaded",
    ("GET", "/orders.jsonl"): "test_orders.test_the_orders_that_are_found_are_downloaded",
    ("POST", "/check"): "test_orders.test_the_check_runs_again",
    ("POST", "/notes"): "test_orders.test_a_shift_note_stands_until_it_is_struck_out",
    ("POST", "/notes/{number}/strike"): "test_orders.test_a_shift_note_stands_until_it_is_struck_out",
}
# Regions, and figures for plots: a page of the tour asks for each.
PART = "/parts/"


def _last(path: str) -> str:
    return path.rpartition("/")[2]
