"""The activity: who did what, on what, and why, the latest first; with the few events that a shift hands over."""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

from signalq.consumer.ledger.queries.activity import Place, Wanted, page
from signalq.consumer.ledger.row import storable
from signalq.ops.console.gate.query import name, one_of
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.rendering.render import url
from signalq.ops.console.view import View
from signalq.times import iso_ms

ROWS_MAX = 100
# The words for each kind of entry.
KINDS = {
    "switch": "changes of the switch",
    "replay": "replays",
    "discard": "discards",
    "cancel": "cancellations",
    "adopt-ledger": "adoptions of a ledger",
    "note": "shift notes",
    "letters": "dead letters that came",
    "consumer": "consumers that came or fell silent",
}
# A moment as an input of a form has it: to the minute, in UTC.
MINUTE_CHARACTERS = 16


def moment(value: str) -> int:
    """A time in ms since the epoch; in UTC, unless it says otherwise."""
    try:
        read = datetime.fromisoformat(value)
        return round((read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ValueError("is a time such as 2026-01-31T14:05, in UTC") from None


def place(value: str) -> Place:
    """A place among the entries."""
    parts = value.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
        raise ValueError("is the place of an entry, as a link of this page has it")
    return Place(*map(int, parts))


async def activity(view: View) -> web.StreamResponse:
    """The page."""
    return view.page("activity.html", kinds=KINDS, **await _shown(view))


async def part(view: View) -> web.StreamResponse:
    """The entries."""
    return view.part("parts/activity.html", **await _shown(view))


async def _shown(view: View) -> dict[str, Any]:
    """The entries that the address asks for, and the address again, as links and forms write it."""
    given = view.query(who=name, kind=one_of(KINDS), since=moment, until=moment, before=place)
    wanted = Wanted(storable(given["who"]), given["kind"], given["since"], given["until"])
    look = partial(page, wanted=wanted, rows_max=ROWS_MAX + 1, before=given["before"])
    found = await view.desk.ledger.read(look)
    filters = {
        "who": given["who"],
        "kind": given["kind"],
        "since": _minute(given["since"]),
        "until": _minute(given["until"]),
    }
    older = _written(found[ROWS_MAX - 1].place) if len(found) > ROWS_MAX else None
    asked = filters | {"before": _written(given["before"])}
    path = url("", "/parts/activity", **asked)
    return {"entries": found[:ROWS_MAX], "filters": filters, "before": given["before"], "older": older, "path": path}


def _minute(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso_ms(at_ms)[:MINUTE_CHARACTERS]


def _written(at: Place | None) -> str | None:
    return None if at is None else f"{at.at_ms}.{at.source}.{at.number}"


ROUTES = (Route("GET", "/activity", activity), Route("GET", "/parts/activity", part))
