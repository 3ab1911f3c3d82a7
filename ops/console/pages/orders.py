"""The orders: the newest, those that fit a search, and both as a file. One exact hit leads to the order's page."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.queries.search import LOOKED_AT_MAX, Looked, look
from signalq.message.near_names import NearNames
from signalq.ops.console.download import FORMS, ROWS_MAX, download
from signalq.ops.console.gate import query
from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.orders.order_facts import order_words
from signalq.ops.console.orders.search import BadSearch, Search, completions, parse
from signalq.ops.console.rendering.render import url
from signalq.ops.console.view import View
from signalq.ops.ledger import since_ms

ROWS = 50
NUMBER_MAX = 2**62


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a search, at `now_ms` of the ledger's clock.

    Its `text` was `asked` for; `tried` are the meanings that its word could have, the last of them is the one that
    `wanted` looks for, and `looked` is what was found. `is_limited`: one of these looks ended at its limit.
    """

    text: str
    asked: Search
    before: int | None
    tried: Sequence[str]
    wanted: Filter
    looked: Looked
    is_limited: bool
    now_ms: int

    @property
    def only_id(self) -> str | None:
        """The id that was meant, if it is one alone, and nothing else can be meant."""
        ids = {one.intent_id for one in self.looked.found}
        is_sure = self.asked.is_word_alone and self.before is None and self.looked.older is None
        return ids.pop() if is_sure and len(ids) == 1 else None


async def orders(view: View) -> web.StreamResponse:
    """The page."""
    text, before = _asked(view)
    known = _connectors(view)
    offered = completions(text, known)
    try:
        answer = await _answer(view, text, before)
    except BadSearch as error:
        return view.page("orders.html", status=400, text=text, offered=offered, sentence=str(error), answer=None)
    if answer.only_id is not None:
        return view.go_to(url("", "/orders", answer.only_id))
    return view.page("orders.html", text=text, offered=offered, sentence=None, **_context(view, answer))


async def part(view: View) -> web.StreamResponse:
    """The list alone."""
    try:
        answer = await _answer(view, *_asked(view))
    except BadSearch as error:
        raise Refused(str(error)) from error
    return view.part("parts/orders.html", **_context(view, answer))


async def file(view: View, *, form: str) -> web.StreamResponse:
    """All that fits, as a file."""
    text = view.query(q=query.name)["q"] or ""
    try:
        answer = await _answer(view, text, None)
    except BadSearch as error:
        raise Refused(str(error)) from error
    return await download(view, answer.wanted, FORMS[form])


def _asked(view: View) -> tuple[str, int | None]:
    asked = view.query(q=query.name, before=query.number(1, NUMBER_MAX))
    return asked["q"] or "", asked["before"]


async def _answer(view: View, text: str, before: int | None) -> Answer:
    """Raises BadSearch."""
    return await view.desk.ledger.read(partial(answer_to, text=text, asked=parse(text), before=before))


def answer_to(connection: Connection, text: str, asked: Search, before: int | None) -> Answer:
    """Look for each meaning of a search, until one is met."""
    since = None if asked.since is None else since_ms(connection, asked.since)
    tried: list[str] = []
    looked, wanted, is_limited = Looked([]), Filter(), False
    for meaning, conditions in asked.meanings():
        wanted = replace(conditions, since_ms=since, before=before)
        looked = look(connection, wanted, ROWS)
        tried.append(meaning)
        is_limited = is_limited or looked.back_to_ms is not None
        if looked.found:
            break
    return Answer(text, asked, before, tried, wanted, looked, is_limited, clock_ms(connection))


def _context(view: View, answer: Answer) -> dict[str, Any]:
    connector = answer.asked.connector
    near = None if connector is None or answer.looked.found else NearNames(_connectors(view)).of(connector)
    limits = {"looked_at_max": LOOKED_AT_MAX, "file_rows_max": ROWS_MAX}
    return {"answer": answer, "near": near, "order_words": order_words, **limits}


def _connectors(view: View) -> set[str]:
    """The connectors that the settings name, or that have a lane."""
    return {*view.settings.connectors, *(one.connector for one in view.snapshot.lanes if one.connector is not None)}


ROUTES = (
    Route("GET", "/orders", orders),
    Route("GET", "/parts/orders", part),
    *(Route("GET", f"/orders.{form}", partial(file, form=form), streams=True) for form in FORMS),
)
