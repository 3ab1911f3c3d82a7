"""The acts on dead letters, each a job: a verdict on those that are chosen, a look at one, a read of the whole queue.

And the note that a person leaves at a group for the next one.
"""

from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import group_notes, letter_groups
from signalq.consumer.ledger.queries.group_notes import GroupNote
from signalq.consumer.ledger.queries.letter_groups import Group
from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.query import digest, many, name, number, one_of, text
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.letters.chosen import Choice, checked, choose
from signalq.ops.console.letters.dead_view import FILTERS, NUMBER_MAX, Asked
from signalq.ops.console.letters.job import Action, Job
from signalq.ops.console.letters.job import Asked as AskedJob
from signalq.ops.console.pages.dead import queue_of, why_not
from signalq.ops.console.rendering.render import url
from signalq.ops.console.view import View

NOTE_CHARACTERS_MAX = 500
# A reader's pace; it is told, so that nobody keeps others waiting unawares.
LETTERS_A_SECOND = 5_000
ACTIONS = ("replay", "discard")
NO_GROUP = "there is no such group any more: its letters have left the queue"


async def ask_replay(view: View) -> web.StreamResponse:
    """The page that leads to the verdict on a replay of one order."""
    return _ask_verdict(view, "replay")


async def ask_discard(view: View) -> web.StreamResponse:
    """The same for a discard."""
    return _ask_verdict(view, "discard")


def _ask_verdict(view: View, action: Action) -> web.StreamResponse:
    given = view.query(id=name, strategy=name)
    if given["id"] is None:
        raise Refused("id says whose letter is meant, and is missing")
    return view.page("dead_verdict.html", **_reading(view), **given, action=action)


async def verdict(view: View) -> web.StreamResponse:
    """Begin to judge the letters that were chosen."""
    actor = view.actor()
    given = await view.form(
        **FILTERS,
        action=one_of(ACTIONS),
        until=number(0, NUMBER_MAX),
        group=many(digest),
        letter=many(digest),
        id=name,
    )
    if given["action"] is None:
        raise Refused("action is replay or discard, and is missing")
    asked = Asked.of(given)

    def look(connection: Connection) -> Choice:
        now_ms = clock_ms(connection)
        until = letter_groups.newest(connection) if asked.until is None else asked.until
        return Choice(asked.scope(now_ms), asked.by, until, given["group"], given["letter"], given["id"])

    chosen = checked(await view.desk.ledger.read(lambda connection: choose(connection, look(connection))))
    return go_to_job(view, view.desk.jobs.ask(AskedJob("verdict", actor, chosen, action=given["action"])))


async def ask_letter(view: View) -> web.StreamResponse:
    """The page that leads to the body of a letter."""
    view.query()
    return view.page("dead_letter.html", **_reading(view), id=view.parts["id"])


async def letter(view: View) -> web.StreamResponse:
    """Begin to read the queue for one letter."""
    actor = view.actor()
    await view.form()
    intent_id = view.parts["id"]
    return go_to_job(view, view.desk.jobs.ask(AskedJob("letter", actor, intent_id=intent_id)))


async def ask_queue(view: View) -> web.StreamResponse:
    """The page that leads to a read of the whole queue."""
    view.query()
    return view.page("dead_queue.html", **_reading(view))


async def queue(view: View) -> web.StreamResponse:
    """Begin to read the queue, and to tell the ledger what is there."""
    actor = view.actor()
    await view.form()
    return go_to_job(view, view.desk.jobs.ask(AskedJob("queue", actor)))


async def ask_note(view: View) -> web.StreamResponse:
    """The page on which a note is written."""
    given = view.query(**FILTERS, group=digest)
    asked = Asked.of(given)
    group, note = await view.desk.ledger.read(partial(_noted, asked=asked, mark=given["group"]))
    if group is None:
        raise NotFound(NO_GROUP)
    return view.page("dead_note.html", asked=asked, group=group, note=note, characters_max=NOTE_CHARACTERS_MAX)


async def note(view: View) -> web.StreamResponse:
    """Write a note, or clear it."""
    actor = view.actor()
    given = await view.form(**FILTERS, group=digest, note=text)
    asked = Asked.of(given)
    words = (given["note"] or "").strip()
    if len(words) > NOTE_CHARACTERS_MAX:
        raise Refused(f"a note has at most {NOTE_CHARACTERS_MAX} characters, and this one {len(words):,}")

    def work(connection: Connection) -> Group | None:
        group, _ = _noted(connection, asked, given["group"])
        if group is not None:
            group_notes.write(connection, clock_ms(connection), group, words, actor.name)
        return group

    if await view.desk.ledger.transact(work) is None:
        raise NotFound(NO_GROUP)
    view.desk.watch.tell("letters")
    return view.go_to(url("", "/dead", **asked.filters))


def _noted(
    connection: Connection, asked: Asked, mark: bytes | None
) -> tuple[Group, GroupNote | None] | tuple[None, None]:
    """The group of this mark, and its note; twice None where there is no such group."""
    now_ms = clock_ms(connection)
    there = letter_groups.groups(connection, asked.scope(now_ms), asked.by, now_ms)
    group = next((one for one in there if one.mark == mark), None)
    return (None, None) if group is None else (group, group_notes.read(connection, [group]).get(group.mark))


def _reading(view: View) -> dict[str, Any]:
    """The facts to know before the queue is read: how many letters it has, how long that takes, and why not."""
    ready = queue_of(view.snapshot, view.desk.jobs).ready
    seconds = None if ready is None else max(1, -(-ready // LETTERS_A_SECOND))
    return {"ready": ready, "seconds": seconds, "why_not": why_not(view.snapshot), "queue": view.desk.names.dead}


def go_to_job(view: View, job: Job) -> web.Response:
    """Lead to the page of a job, which stays."""
    return view.go_to(f"/jobs/{quote(job.key)}")


ROUTES = (
    Route("GET", "/dead/check", ask_replay),
    Route("GET", "/dead/discard", ask_discard),
    Route("POST", "/dead/verdict", verdict, "operate"),
    Route("GET", "/dead/letter/{id}", ask_letter),
    Route("POST", "/dead/letter/{id}", letter, "operate"),
    Route("GET", "/dead/queue", ask_queue),
    Route("POST", "/dead/queue", queue, "operate"),
    Route("GET", "/dead/note", ask_note),
    Route("POST", "/dead/note", note, "operate"),
)
