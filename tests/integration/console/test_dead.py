"""The page of dead letters: groups, their letters, notes, and what is said where there are none; without a broker."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from signalq.consumer.ledger.client import LedgerClient
from signalq.consumer.ledger.queries import letters as rows
from signalq.consumer.ledger.queries.letters import SettledHow
from signalq.consumer.orders.letters import LetterRecord
from tests.support.console_site import Browser, OpenConsole
from tests.support.graveyard import dead, record
from tests.support.letter_pages import groups, judged, letters, until, words
from tests.support.letter_pages import mark_of as mark_in
from tests.support.letter_records import letter_record

NOW_MS = 1_769_860_800_000
LONG_AGO_MS = 1_000_000_000_000
HOSTILE = "\u202e<img src=x onerror=alert(1)>\"'&{{7*7}}"


def letter(number: int, **given: Any) -> LetterRecord:
    """A letter that only the letters' table knows, such as one that could not be read."""
    own: dict[str, Any] = {"dead_ms": NOW_MS + number, "order_fields": json.dumps({"percent": "50"})}
    return letter_record(number, **own | given)


async def note(console: OpenConsole, *records: LetterRecord) -> None:
    """Let the ledger know of letters."""
    async with LedgerClient(console.store.url) as ledger:
        await ledger.transact(lambda connection: rows.note(connection, NOW_MS, records))


async def settle(console: OpenConsole, one: LetterRecord, at_ms: int, how: SettledHow, by: str | None) -> None:
    """Let a letter have left the queue."""
    async with LedgerClient(console.store.url) as ledger:
        await ledger.transact(lambda connection: rows.settle(connection, at_ms, [one.mark], how, by))


async def test_letters_are_shown_in_groups_with_what_to_do_and_the_doubtful_ones_first(
    console: OpenConsole, alice: Browser
) -> None:
    await note(
        console,
        letter(1),
        letter(2),
        letter(3, connector="beta", detail="HTTP 403"),
        letter(0, reason="outcome-unknown", detail="timed out"),
    )
    page = await alice.get("/dead")
    assert [row.split(" ", 1)[0] for row in groups(page).values()] == ["outcome-unknown", "rejected", "rejected"]
    doubt, *_ = groups(page).values()
    assert "look first main timed out 1" in doubt
    text = words(page.text)
    assert "4 dead letters. The oldest died" in text
    assert "Look on the platform whether it took them, before anything else" in text
    assert "a wrong token" in text
    by_reason = groups(await alice.get("/dead?by=reason"))
    assert sorted(by_reason.values())[1].startswith("rejected 3 ")


async def test_filters_are_in_the_address_and_a_single_group_is_open(console: OpenConsole, alice: Browser) -> None:
    await note(console, letter(1), letter(2, strategy="carry"), letter(3, connector="beta"))
    page = await alice.get("/dead?connector=main&strategy=carry")
    assert "1 of 3 dead letters fit." in words(page.text)
    assert len(letters(page)) == len(groups(page)) == 1
    assert '<option value="beta">' in page.text, "the names of other letters are offered all the same"
    assert '<option value="carry" selected>' in page.text
    none = await alice.get("/dead?reason=invalid")
    assert "None of the 3 letters that the ledger knows fits these filters. All of them were looked at." in words(
        none.text
    )
    assert '<option value="invalid" selected>' in none.text


async def test_the_letters_of_the_open_group_say_what_a_replay_would_do_by_the_ledger(
    console: OpenConsole, alice: Browser
) -> None:
    await record(
        console.store.url,
        [
            dead("fresh", percent="25"),
            dead("old", created_ms=LONG_AGO_MS),
            dead("old-exit", created_ms=LONG_AGO_MS, action="closeLong"),
        ],
    )
    await note(console, letter(1, detail="the webhook refused it: HTTP 400"))
    (mark,) = groups(await alice.get("/dead"))
    page = await alice.get(f"/dead?open={mark}")
    found = letters(page)
    assert "openLong 25 %" in found[mark_in(found, "id-fresh")]
    assert "may go" in found[mark_in(found, "id-fresh")]
    old = found[mark_in(found, "openLong 50 % momentum 1 400 needs a person it is an open of")]
    assert "60 s are allowed" in old
    assert "force" not in old
    assert "may go" in found[mark_in(found, "closeLong")]
    assert "the ledger does not know it" in found[mark_in(found, "id-1 ")]
    text = words(page.text)
    assert "2 may go" in text
    assert "1 needs a person (it is an open that is too old: 60 s are allowed)" in text
    part = await alice.get(f"/parts/dead/letters?open={mark}")
    assert letters(part) == found


async def test_a_letter_that_comes_after_the_page_was_made_is_new_and_not_chosen(
    console: OpenConsole, alice: Browser
) -> None:
    await note(console, letter(1))
    page = await alice.get("/dead")
    await note(console, letter(2), letter(3, connector="beta"))
    part = groups(await alice.get(f"/parts/dead?until={until(page)}"))
    assert "main HTTP 401 1 1 new, not chosen" in part[mark_in(part, "main")]
    assert "beta HTTP 401 0 1 new, not chosen" in part[mark_in(part, "beta")]
    assert "not chosen" not in (await alice.get("/dead")).text


async def test_a_long_group_has_pages_and_too_many_groups_are_told(console: OpenConsole, alice: Browser) -> None:
    await note(console, *(letter(number) for number in range(103)))
    await note(console, *(letter(1_000 + number, detail=f"a x{number}", connector="beta") for number in range(204)))
    page = await alice.get("/dead?connector=main")
    first = letters(page)
    assert len(first) == 100
    (path,) = re.findall(r'href="(/dead[^"]*after=[^"]*)#dead-letters"', page.text)
    forgotten = "Ticks are forgotten on another page"
    assert forgotten in words(page.text)
    rest = letters(await alice.get(path.replace("&amp;", "&")))
    assert len(rest) == 3
    assert not first.keys() & rest.keys()
    assert "5 more groups are not shown" in words((await alice.get("/dead")).text)
    whole = words((await alice.get("/dead?connector=beta")).text)
    assert forgotten not in whole, "no group is so long"


async def test_letters_whose_details_differ_in_numbers_alone_are_one_group_and_their_rows_tell_the_numbers(
    console: OpenConsole, alice: Browser
) -> None:
    def late(number: int, of: str = "creation") -> LetterRecord:
        return letter(number, reason="expired", detail=f"{number}.5 s old, 60 s are allowed from its {of}")

    await note(console, late(71), late(95), letter(1, reason="invalid", detail="percent: must be > 0"))
    page = await alice.get("/dead")
    found = groups(page)
    assert len(found) == 2
    expired = mark_in(found, "main … s old, … s are allowed from its creation 2 ")
    assert mark_in(found, "main percent: must be > 0 1 "), "the number is that of all its letters"
    opened = letters(await alice.get(f"/dead?open={expired}"))
    assert mark_in(opened, "71.5 s old, 60 s") != mark_in(opened, "95.5 s old, 60 s")
    await alice.post("/dead/note", group=expired, note="the broker was down")
    await note(console, late(99), late(5, of="replay"))
    after = await alice.get("/dead")
    assert "main … s old, … s are allowed from its creation 3 " in groups(after)[expired]
    assert len(groups(after)) == 3
    assert "Note: “the broker was down” by alice" in words(after.text), "a note is of the cause"


async def test_where_there_are_none_the_page_says_what_became_of_the_last_one(
    console: OpenConsole, alice: Browser
) -> None:
    assert "No dead letters, by the ledger." in words((await alice.get("/dead")).text)
    await note(console, letter(1), letter(2))
    await settle(console, letter(1), NOW_MS, "discarded", None)
    assert "The last one" not in (await alice.get("/dead")).text
    await settle(console, letter(2), NOW_MS + 1, "replayed", "bob")
    assert re.search(r"The last one was replayed by bob ?, .* ago \(", words((await alice.get("/dead")).text))
    await note(console, letter(3))
    await settle(console, letter(3), NOW_MS + 2, "gone", None)
    assert "The last one had left the queue by another way when it was read" in words((await alice.get("/dead")).text)


async def test_a_note_is_left_for_the_next_one_with_a_name_and_cleared(console: OpenConsole, alice: Browser) -> None:
    await note(console, letter(1), letter(2, connector="beta"))
    page = await alice.get("/dead")
    mark = mark_in(groups(page), "beta")
    form = await alice.get(f"/dead/note?group={mark}")
    assert "data-dialog-body" in form.text
    shown = await alice.post("/dead/note", group=mark, note="new token at 15:00 <b>")
    assert shown.path == "/dead"
    assert "Note: “new token at 15:00 <b>” by alice" in words(shown.text)
    assert 'value="new token at 15:00 &lt;b&gt;"' in (await alice.get(f"/dead/note?group={mark}")).text
    cleared = await alice.post("/dead/note", group=mark, note="")
    assert "Note:" not in words(cleared.text)
    await alice.post("/dead/note", group=mark, note="x" * 501, status=400)
    await alice.post("/dead/note", group="00" * 16, note="x", status=404)
    other = await alice.post(
        "/dead/note", group=mark_in(groups(await alice.get("/dead?by=reason")), "rejected"), by="reason", note="n"
    )
    assert other.path == "/dead?by=reason"


@pytest.mark.parametrize(
    "path",
    ["/dead", "/dead?by=reason", "/dead?by=connector", "/jobs", "/dead/queue", "/dead/discard?id=x"],
)
async def test_markup_in_any_foreign_field_is_text(console: OpenConsole, alice: Browser, path: str) -> None:
    fields = dict.fromkeys(("strategy", "intent_id", "connector", "client_order_id", "reason", "detail"), HOSTILE)
    kept = json.dumps({"percent": HOSTILE, "log": HOSTILE})
    await note(console, letter(1, **fields, action=HOSTILE[:30], order_fields=kept))
    page = await alice.get(path)
    marks = list(groups(page))
    pages = [page, *[await alice.get(f"{path}{'&' if '?' in path else '?'}open={mark}") for mark in marks]]
    if marks and path == "/dead":
        pages += [await alice.get(f"/dead/note?group={mark}") for mark in marks]
        await alice.post("/dead/note", group=marks[0], note="<i>&{{7*7}}")
        pages.append(await alice.get("/dead"))
    for one in pages:
        assert "<img" not in one.text
        assert "<i>" not in one.text
        assert "&amp;49" not in one.text
        assert "\u202e" not in re.sub(r'value="[^"]*"', "", one.text), "it would turn round what is read"


async def test_only_operators_act_and_who_may_look_sees_why_not(console: OpenConsole, alice: Browser) -> None:
    await note(console, letter(1))
    carol = await console.browser("carol", role="view")
    page = await carol.get("/dead")
    assert "Nothing can be replayed or discarded here" in words(page.text)
    assert '<button type="submit" class="btn primary"' not in page.text
    mark = next(iter(groups(page)))
    for path, fields in (
        ("/dead/verdict", {"group": mark, "action": "replay"}),
        ("/dead/note", {"group": mark, "note": "x"}),
        ("/dead/queue", {}),
        ("/dead/letter/id-1", {}),
        ("/jobs/ab12-1/replay", {}),
        ("/jobs/ab12-1/cancel", {}),
    ):
        await carol.post(path, fields, status=403)
    assert console.desk.jobs.latest() == []
    stranger = await console.browser()
    await stranger.post("/dead/queue", status=401)


@pytest.mark.parametrize(
    "path", ["/dead?page=2", "/dead?by=x", "/parts/dead?open=x", "/dead/check", "/jobs?all=1", "/dead/note?x=1"]
)
async def test_a_parameter_that_nobody_knows_is_refused(console: OpenConsole, alice: Browser, path: str) -> None:
    await alice.get(path, status=400)


async def test_a_verdict_needs_a_choice_and_an_action(console: OpenConsole, alice: Browser) -> None:
    await note(console, letter(1))
    mark = next(iter(groups(await alice.get("/dead"))))
    nothing = await alice.post("/dead/verdict", action="replay", status=400)
    assert "Choose a group or a letter first" in nothing.text
    await alice.post("/dead/verdict", group=mark, status=400)
    await alice.post("/dead/verdict", group=mark, action="purge", status=400)
    await alice.post("/dead/verdict", action="replay", group="ab" * 16, status=400)
    assert console.desk.jobs.latest() == []


async def test_a_job_that_can_not_reach_the_broker_says_so_and_can_be_asked_again(
    console: OpenConsole, alice: Browser
) -> None:
    await note(console, letter(1))
    job = await judged(console, alice, "replay", groups_with=["rejected"])
    assert job.state == "failed"
    page = await alice.get(f"/jobs/{job.key}")
    assert "Not begun:" in words(page.text)
    assert "topsecret" not in page.text
    assert f"/jobs/{job.key}/again" in page.text
    assert f"/jobs/{job.key}/replay" not in page.text
    await alice.post(f"/jobs/{job.key}/replay", status=400)


async def test_a_job_that_nobody_knows_is_told_as_such(console: OpenConsole, alice: Browser) -> None:
    page = await alice.get("/jobs/ab12-7", status=404)
    assert "it changed nothing" in words(page.text)
    for path in ("/jobs/x", "/jobs/ab12-7.jsonl", "/parts/jobs/ab12-7"):
        await alice.get(path, status=404)
    await alice.post("/jobs/ab12-7/again", status=404)
