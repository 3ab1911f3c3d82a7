"""The console's pages of dead letters and jobs, as a person without script uses them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from html import unescape

from signalq.ops.console.letters.job import Job
from tests.support.console_site import Answer, Browser, OpenConsole

GROUP = re.compile(r'<tr id="group-([0-9a-f]{32})" data-row>(.*?)</tr>', re.DOTALL)
LETTER = re.compile(r'<tr id="letter-([0-9a-f]{32})" data-row>(.*?)</tr>', re.DOTALL)
RESULT = re.compile(r'<tr id="result-[0-9a-f]{32}" data-row>(.*?)</tr>', re.DOTALL)
UNTIL = re.compile(r'name="until" value="(\d+)"')
ISOLATED = re.compile(r"</?bdi[^>]*>")
TAG = re.compile(r"<[^>]*>")


def words(html: str) -> str:
    """The text of a piece of a page, as it is read: without tags, with single spaces."""
    return " ".join(unescape(TAG.sub(" ", ISOLATED.sub("", html))).split())


def groups(page: Answer) -> dict[str, str]:
    """The groups of the page: mark to text, in their order."""
    return {mark: words(row) for mark, row in GROUP.findall(page.text)}


def letters(page: Answer) -> dict[str, str]:
    """The letters of the open group: mark to text, in their order."""
    return {mark: words(row) for mark, row in LETTER.findall(page.text)}


def results(page: Answer) -> list[str]:
    """The rows of a job's results."""
    return [words(row) for row in RESULT.findall(page.text)]


def until(page: Answer) -> str:
    """The newest letter when the page was made."""
    found = UNTIL.search(page.text)
    assert found is not None, page.text
    return found[1]


def mark_of(found: dict[str, str], text: str) -> str:
    """The mark of the only row with this text."""
    (mark,) = [mark for mark, row in found.items() if text in row]
    return mark


async def judged(
    console: OpenConsole,
    browser: Browser,
    action: str,
    *,
    groups_with: Sequence[str] = (),
    page: Answer | None = None,
    **more: str,
) -> Job:
    """The verdict, once it is done, on the groups of the page whose text has one of these."""
    page = page or await browser.get("/dead")
    chosen = [("group", mark_of(groups(page), text)) for text in groups_with]
    fields = [*chosen, ("until", until(page)), ("action", action), *more.items()]
    return await asked(console, await browser.ask("POST", "/dead/verdict", data=fields, follow=False, status=303))


async def asked(console: OpenConsole, answer: Answer) -> Job:
    """The job that an answer leads to, once it is over."""
    job = begun(console, answer)
    assert job.task is not None
    await asyncio.wait([job.task])
    assert job.is_over
    return job


def begun(console: OpenConsole, answer: Answer) -> Job:
    """The job that an answer leads to."""
    place = answer.headers.get("Location", answer.path)
    job = console.desk.jobs.find(place.rpartition("/")[2])
    assert job is not None, place
    return job
