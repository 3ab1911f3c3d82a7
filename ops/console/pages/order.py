"""The page of an order: what became of it, drawn and told, what comes next, and what a person can do about it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.queries import letters
from signalq.consumer.ledger.queries.events import DISCARDED
from signalq.consumer.ledger.queries.letters import Letters, Listed
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.consumer.ledger.queries.search import LOOKED_AT_MAX, Looked, look
from signalq.consumer.ledger.row import storable
from signalq.consumer.orders.state import ENDINGS
from signalq.ops.console.gate.errors import NotFound
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.orders import search
from signalq.ops.console.orders.order_facts import is_exit, is_pending, kept_fields, order_words
from signalq.ops.console.orders.timeline import PLOT_WIDTH, WIDTH, WORDS_WIDTH, Section, sections
from signalq.ops.console.rendering.render import url
from signalq.ops.console.view import View
from signalq.ops.ledger import ends_of
from signalq.ops.orders.records import Story, stories
from signalq.ops.orders.timeline_view import SAID_BY
from signalq.ops.terminal.layout import CUT
from signalq.settings.sections import Settings

# An id that is short for more orders is too short to choose among them.
CHOICES_MAX = 20
LETTERS_MAX = 5


@dataclass(frozen=True, slots=True)
class Told:
    """An order as its page tells it: `words` for what was ordered, `fields` of it that were kept, None where not."""

    one: Recorded
    story: Story
    sections: list[Section]
    words: str
    fields: dict[str, object] | None
    said_by: str
    is_exit: bool
    trace_id: str | None
    trace_url: str | None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.one.status in ENDINGS

    @property
    def is_pending(self) -> bool:
        """Whether it waits for its due time, and can be canceled."""
        return is_pending(self.one)

    @property
    def is_discarded(self) -> bool:
        """Whether the letter of its present generation was thrown away."""
        entries = self.story.timeline
        return any(one["what"] == DISCARDED and one["generation"] == self.one.generation for one in entries)

    @property
    def last_detail(self) -> object:
        """The detail of its present state, or of its ending."""
        return self.story.timeline[-1].get("detail")


@dataclass(frozen=True, slots=True)
class Absent:
    """An id that the ledger knows no order by: those that it may be short for, and the letters that have it."""

    looked: Looked
    letters: list[Listed]

    @property
    def only_id(self) -> str | None:
        """The id that it is short for, if that is one alone."""
        ids = {one.intent_id for one in self.looked.found}
        return ids.pop() if len(ids) == 1 and self.looked.older is None else None


async def order(view: View) -> web.StreamResponse:
    """The page of an id, or of the only one that it is short for."""
    view.query()
    intent_id = view.parts["id"]
    told = await _told(view, intent_id)
    if told:
        return view.page("order.html", **_context(intent_id, told))
    absent = await view.desk.ledger.read(partial(_absent, intent_id=storable(intent_id)))
    if absent.only_id is not None:
        return view.go_to(url("", "/orders", absent.only_id))
    is_short, as_word = search.is_short_id(intent_id), search.quoted(intent_id)
    limits: dict[str, Any] = {"is_short": is_short, "as_word": as_word, "looked_at_max": LOOKED_AT_MAX}
    return view.page("order_absent.html", status=404, intent_id=intent_id, absent=absent, **limits)


async def part(view: View) -> web.StreamResponse:
    """The order alone."""
    view.query()
    told = await _told(view, view.parts["id"])
    if not told:
        raise NotFound("the ledger knows this order no more")
    return view.part("parts/order.html", **_context(view.parts["id"], told))


async def _told(view: View, intent_id: str) -> list[Told]:
    """Every order of that id, the newest first: strategies may share one."""
    found = await view.desk.ledger.read(partial(stories, intent_id=storable(intent_id)))
    return [tell(story, view.settings) for story in reversed(found)]


def tell(story: Story, settings: Settings) -> Told:
    """The order as its page tells it."""
    one = story.one
    trace_id = None if one.trace_id is None else bytes(one.trace_id).hex()
    template = settings.console.trace_url
    return Told(
        one=one,
        story=story,
        sections=sections(story),
        words=order_words(one),
        fields=kept_fields(one),
        said_by=SAID_BY.get(one.created_from, one.created_from),
        is_exit=is_exit(one, settings),
        trace_id=trace_id,
        trace_url=None if template is None or trace_id is None else template.replace("{trace_id}", trace_id),
    )


def _context(intent_id: str, told: list[Told]) -> dict[str, Any]:
    plot = {"all": WIDTH, "x": WORDS_WIDTH, "width": PLOT_WIDTH}
    return {"intent_id": intent_id, "told": told, "plot": plot, "asking": search.asking}


def _absent(connection: Connection, intent_id: str) -> Absent:
    looked = Looked([])
    if search.is_short_id(intent_id):
        begins, ends = ends_of(intent_id) if CUT in intent_id else (intent_id, "")
        looked = look(connection, Filter(begins=begins, ends=ends), CHOICES_MAX)
    return Absent(looked, letters.page(connection, Letters([intent_id]), LETTERS_MAX))


ROUTES = (
    Route("GET", "/orders/{id}", order),
    Route("GET", "/parts/order/{id}", part),
)
