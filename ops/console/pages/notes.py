"""Shift notes: a person leaves one for the next, it stands on the overview until somebody strikes it out."""

from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.actor import Actor
from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import audit, shift_notes
from signalq.consumer.ledger.queries.audit import Act
from signalq.consumer.ledger.queries.shift_notes import NOTE_CHARACTERS_MAX, STANDING_MAX, ShiftNote
from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.query import number
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.view import View

NUMBER_MAX = 2**53


def note_text(value: str) -> str:
    """The text of a note: printable, on one or more lines, and not too long."""
    # Spaces of any script are one space each: people type them, and they are none of the unprintable ones.
    lines = [" ".join(line.split()) for line in value.strip().splitlines()]
    if not all(character.isprintable() for line in lines for character in line):
        raise ValueError("has characters that can't be printed")
    text = "\n".join(lines)
    if not text:
        raise ValueError("is empty")
    if len(text) > NOTE_CHARACTERS_MAX:
        raise ValueError(f"has {len(text):,} characters, and {NOTE_CHARACTERS_MAX} are room for")
    return text


async def new(view: View) -> web.StreamResponse:
    """The form of a note."""
    view.query()
    return view.page("note_new.html", characters_max=NOTE_CHARACTERS_MAX)


async def leave(view: View) -> web.StreamResponse:
    """Leave a note."""
    actor, text = view.actor(), (await view.form(note=note_text))["note"]
    if text is None:
        raise Refused("a note needs a text")
    left = await view.desk.ledger.transact(partial(_leave, actor=actor, text=text))
    if left is None:
        raise Refused(f"{STANDING_MAX} notes stand already: strike one out first", 409)
    await view.desk.watch.look_now()
    return view.go_to(f"/notes/{left}")


async def note(view: View) -> web.StreamResponse:
    """A note, struck out or not."""
    view.query()
    return view.page("note.html", note=await _found(view))


async def strike(view: View) -> web.StreamResponse:
    """Strike a note out. One that was struck out already stays as it is, and the page says by whom."""
    actor, found = view.actor(), await _found(view)
    await view.form()
    await view.desk.ledger.transact(partial(_strike, actor=actor, number=found.number))
    await view.desk.watch.look_now()
    return view.go_to(f"/notes/{found.number}")


async def part(view: View) -> web.StreamResponse:
    """The notes that stand."""
    view.query()
    return view.part("parts/notes.html")


async def _found(view: View) -> ShiftNote:
    """The note of the path. Raises NotFound."""
    try:
        wanted = number(1, NUMBER_MAX)(view.parts["number"])
    except ValueError:
        wanted = 0
    found = await view.desk.ledger.read(partial(shift_notes.find, number=wanted))
    if found is None:
        raise NotFound("there is no such note")
    return found


def _leave(connection: Connection, actor: Actor, text: str) -> int | None:
    now_ms = clock_ms(connection)
    left = shift_notes.add(connection, now_ms, actor.name, text)
    if left is not None:
        audit.note(connection, now_ms, actor, Act("note", {"shift_note": left}, done=1, why=text.replace("\n", " / ")))
    return left


def _strike(connection: Connection, actor: Actor, number: int) -> None:
    now_ms = clock_ms(connection)
    if shift_notes.strike(connection, now_ms, number, actor.name):
        audit.note(connection, now_ms, actor, Act("note", {"shift_note": number, "struck": True}, done=1))


ROUTES = (
    Route("GET", "/notes/new", new, needs="operate"),
    Route("POST", "/notes", leave, needs="operate"),
    Route("GET", "/notes/{number}", note),
    Route("POST", "/notes/{number}/strike", strike, needs="operate"),
    Route("GET", "/parts/notes", part),
)
