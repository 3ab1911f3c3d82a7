"""The schedule: the delayed orders that wait for their due time, the soonest first."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.database import clock_ms
from signalq.consumer.ledger.queries import schedule as queries
from signalq.consumer.ledger.queries.orders import Filter
from signalq.consumer.ledger.row import storable
from signalq.consumer.orders.pending import Pending
from signalq.ops.console.gate import query
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.moment.snapshot import Lane
from signalq.ops.console.orders.order_facts import is_exit, order_words
from signalq.ops.console.orders.search import COMPLETED_CONNECTORS_MAX
from signalq.ops.console.view import View

ROWS = 50
# The page is about the orders that are due soon: it begins with these, or with a few, and the others are later.
SOON_MS, FEW_ROWS = 60_000, 8
# An order that was due before so long is late; until then its consumer is about to send it.
LATE_MS = 2_000

_KEY = re.compile(r"(-?[0-9]{1,18})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of the schedule, at `now_ms` of the ledger's clock.

    `count` orders that fit are pending, `soon` of them are due within SOON_MS, and `later` of them come after these
    rows: after the key `last`.
    """

    rows: Sequence[Pending]
    count: int
    soon: int
    later: int
    last: str | None
    now_ms: int


async def schedule(view: View) -> web.StreamResponse:
    """The page."""
    return view.page("schedule.html", **await _context(view))


async def part(view: View) -> web.StreamResponse:
    """The list alone."""
    return view.part("parts/schedule.html", **await _context(view))


async def _context(view: View) -> dict[str, Any]:
    asked = view.query(connector=query.name, strategy=query.name, after=_key)
    after = asked["after"]
    page = await view.desk.ledger.read(partial(page_of, wanted=fitting(asked), after=after))
    lanes = {one.connector: one for one in view.snapshot.lanes}
    return {
        "asked": asked,
        "after": None if after is None else _written(*after),
        "page": page,
        "connectors": sorted(filter(None, lanes))[:COMPLETED_CONNECTORS_MAX],
        "order_words": order_words,
        "warning": partial(warning, view, lanes, page.now_ms),
    }


def fitting(asked: Mapping[str, Any]) -> Filter:
    """The filter of a page's parameters."""
    return Filter(connector=storable(asked["connector"]), strategy=storable(asked["strategy"]))


def page_of(connection: Connection, wanted: Filter, after: tuple[int, int] | None) -> Page:
    """The next rows of the schedule."""
    now_ms = clock_ms(connection)
    soon = queries.count(connection, wanted, due_before_ms=now_ms + SOON_MS)
    rows_max = ROWS if after is not None else min(ROWS, max(FEW_ROWS, soon))
    rows = queries.pending(connection, wanted, rows_max, after)
    count = queries.count(connection, wanted)
    if not rows:
        return Page(rows, count, soon, 0, None, now_ms)
    last = rows[-1].due_ms or 0, rows[-1].number
    later = queries.count(connection, wanted, after=last)
    return Page(rows, count, soon, later, _written(*last) if later else None, now_ms)


def _key(text: str) -> tuple[int, int]:
    found = _KEY.fullmatch(text)
    if found is None:
        raise ValueError("is the key of a row, as the link to the later ones has it")
    return int(found[1]), int(found[2])


def _written(due_ms: int, number: int) -> str:
    return f"{due_ms}-{number}"


def warning(view: View, lanes: Mapping[str | None, Lane], now_ms: int, one: Pending) -> str | None:
    """The word for what stands in the way of an order: `paused`, `close-only`, `no consumer`, `late`."""
    state = view.snapshot.switch.state_of(one.connector)
    if state == "paused" or (state == "close-only" and not is_exit(one, view.settings)):
        return state
    lane = lanes.get(one.connector) or lanes.get(None)
    if lane is not None and not lane.is_consumed:
        return "no consumer"
    return "late" if (one.due_ms or now_ms) + LATE_MS < now_ms else None


ROUTES = (
    Route("GET", "/schedule", schedule),
    Route("GET", "/parts/schedule", part),
)
