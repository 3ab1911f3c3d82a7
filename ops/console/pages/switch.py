"""The switch: what a change would do, asked; the change, made; and what became of it, by those who act on it.

Towards safety one press is enough, and it never fails because somebody else was quicker. Away from safety the page
lists all that it undoes, a word is typed, and a change that the person has not seen refuses it.
"""

from functools import partial
from typing import Any

from aiohttp import web

from signalq.consumer.orders.switch import ALL, State
from signalq.errors import SignalQError
from signalq.message.field_rules import connector_name
from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.query import number, one_of, text
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.switching import Result, figures_of, question_of, read_result, read_switch, word_for
from signalq.ops.console.view import View
from signalq.ops.lanes import SWITCH_WAIT_S, WHY_CHARACTERS_MAX, Moved, commit_switch

STATES: tuple[State, ...] = ("paused", "close-only", "open")
WHYS = ("odd fills", "the platform is down", "a token leaked", "maintenance", "only exits until the fix")
NUMBER_MAX = 2**62
# No switch has this version: nothing that leads away from safety is done by one who has not typed the word.
NOT_SEEN = -1


def connector(value: str) -> str:
    """A connector, as a parameter of an address and as a field. Raises ValueError."""
    try:
        return connector_name(value)
    except UnicodeEncodeError:
        raise ValueError("is no UTF-8") from None


def why(value: str) -> str:
    """The reason of a change. Raises ValueError."""
    if len(value) > WHY_CHARACTERS_MAX:
        raise ValueError(f"has more than {WHY_CHARACTERS_MAX:,} characters")
    return text(value)


async def ask(view: View) -> web.StreamResponse:
    """The page that asks whether to change it."""
    asked = view.query(connector=connector, to=one_of(STATES))
    return await _question(view, asked["connector"] or ALL, _meant(asked["to"]))


async def change(view: View) -> web.StreamResponse:
    """Change it, and lead to what becomes of that."""
    actor = view.actor()
    given = await view.form(
        connector=connector, to=one_of(STATES), why=why, confirm=text, version=number(0, NUMBER_MAX)
    )
    name, to = given["connector"] or ALL, _meant(given["to"])
    is_confirmed = given["version"] is not None and (given["confirm"] or "").strip() == word_for(name)
    seen = given["version"] if is_confirmed else NOT_SEEN
    try:
        async with view.desk.ledger.used() as ledger:
            done = await commit_switch(ledger, name, to, why=given["why"] or "", actor=actor, seen=seen)
    except SignalQError as error:
        return view.page("switch_failed.html", status=503, sentence=str(error), connector=name, to=to)
    if not isinstance(done, Moved):
        return view.go_to(f"/switch/{done.change.number}")
    if is_confirmed:
        return await _question(view, name, to, status=409, news=done.changes, why=given["why"])
    return await _question(view, name, to, status=400, is_mistyped=True, why=given["why"])


async def result(view: View) -> web.StreamResponse:
    """The page of what became of a change; it lasts, and can be shared."""
    view.query()
    found = await _result(view)
    if view.snapshot.switch.version < found.change.number:
        # The head says it at once, also where there is no script.
        view.snapshot = await view.desk.watch.look_now()
    return view.page("switch_result.html", result=found, wait_s=SWITCH_WAIT_S)


async def result_part(view: View) -> web.StreamResponse:
    """The region of it."""
    view.query()
    return view.part("parts/switch_result.html", result=await _result(view), wait_s=SWITCH_WAIT_S)


async def _question(view: View, name: str, to: State, *, status: int = 200, **context: Any) -> web.StreamResponse:
    """The page that asks; the ledger's state where it can be read, else the last that was seen of it."""
    trouble = None
    try:
        switch, changes = await view.desk.ledger.read(read_switch)
    except SignalQError as error:
        switch, changes, trouble = view.snapshot.switch, dict(view.snapshot.changes), str(error)
    found: dict[str, Any] = {"news": (), "is_mistyped": False, "why": None, **context}
    return view.page(
        "switch.html",
        status=status,
        question=question_of(name, to, switch, changes),
        figures=figures_of(name, view.snapshot, view.settings),
        trouble=trouble,
        whys=WHYS,
        why_characters_max=WHY_CHARACTERS_MAX,
        **found,
    )


async def _result(view: View) -> Result:
    try:
        wanted = number(1, NUMBER_MAX)(view.parts["number"])
    except ValueError:
        raise NotFound("there is no such page") from None
    found = await view.desk.ledger.read(partial(read_result, number=wanted))
    if found is None:
        raise NotFound("the switch has no change of that number")
    return found


def _meant(to: State | None) -> State:
    if to is None:
        raise Refused(f"to is missing: it is one of {', '.join(STATES)}")
    return to


ROUTES = (
    Route("GET", "/switch", ask, is_urgent=True),
    Route("POST", "/switch", change, needs="operate", is_urgent=True),
    Route("GET", "/switch/{number}", result, is_urgent=True),
    Route("GET", "/parts/switch/{number}", result_part, is_urgent=True),
)
