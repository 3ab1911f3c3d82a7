"""The overview: what needs a person, the lanes, the throughput, the consumers."""

from typing import Any

from aiohttp import web

from signalq.ops.console.gate.query import Reader, flag, number, one_of, text
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.pages.switch import STATES
from signalq.ops.console.rendering.lane_list import SORTS, Choice, chosen
from signalq.ops.console.view import View

PAGES_MAX = 1_000
# The parameters of the lanes: the page has them, and so has its region.
CHOICE: dict[str, Reader] = {
    "state": one_of(STATES),
    "find": text,
    "sort": one_of(tuple(SORTS)),
    "quiet": flag,
    "page": number(1, PAGES_MAX),
}


async def overview(view: View) -> web.StreamResponse:
    """The page; with `wall` it is for a display that nobody touches: larger, and without anything to press."""
    asked = view.query(wall=flag, **CHOICE)
    wall = bool(asked.pop("wall"))
    return view.page("overview.html", wall=wall, sorts=SORTS, states=STATES, **_lanes(view, asked, wall=wall))


async def lanes_part(view: View) -> web.StreamResponse:
    """The region of the lanes."""
    asked = view.query(wall=flag, **CHOICE)
    wall = bool(asked.pop("wall"))
    return view.part("parts/lanes.html", wall=wall, **_lanes(view, asked, wall=wall))


async def attention_part(view: View) -> web.StreamResponse:
    """The region of what needs a person."""
    view.query()
    return view.part("parts/attention.html")


async def throughput_part(view: View) -> web.StreamResponse:
    """The region of the throughput."""
    view.query()
    return view.part("parts/throughput.html")


async def consumers_part(view: View) -> web.StreamResponse:
    """The region of the consumers."""
    view.query()
    return view.part("parts/consumers.html")


def _lanes(view: View, asked: dict[str, Any], *, wall: bool) -> dict[str, Any]:
    """The lanes that are asked for, and the parameters that ask for them again."""
    choice = Choice(asked["state"], asked["find"], asked["sort"] or "need", bool(asked["quiet"]), asked["page"] or 1)
    found = chosen(view.snapshot.lanes, choice)
    view.desk.watch.show(lane.connector for lane in found.lanes if lane.connector is not None)
    given = {name: value for name, value in asked.items() if value is not None}
    given |= {"quiet": 1} if choice.quiet else {}
    return {"choice": choice, "chosen": found, "asked": given | ({"wall": 1} if wall else {})}


ROUTES = (
    Route("GET", "/", overview),
    Route("GET", "/parts/lanes", lanes_part),
    Route("GET", "/parts/attention", attention_part),
    Route("GET", "/parts/throughput", throughput_part),
    Route("GET", "/parts/consumers", consumers_part),
)
