"""A lane's own page: the figures of its row, its charts, its switch, and its letters, schedule and latest orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web
from sqlalchemy import Connection

from signalq.consumer.ledger.queries import recent, schedule, switches
from signalq.consumer.ledger.queries.orders import Filter, Recorded
from signalq.consumer.orders.pending import Pending
from signalq.consumer.orders.switch import ALL, Change
from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.moment.snapshot import LONG_BUCKET_MS, SHORT_BUCKET_MS, SHORT_BUCKETS, Buckets, Lane
from signalq.ops.console.pages.switch import connector
from signalq.ops.console.view import View
from signalq.ops.orders.records import row_of
from signalq.ops.terminal.order_columns import order_text

ORDERS_MAX, CHANGES_MAX, PENDING_MAX, POSTS_MAX = 50, 20, 5, 500


@dataclass(frozen=True, slots=True)
class Ledgered:
    """The part of the page that the ledger has; `pending` has the first of `scheduled`."""

    changes: Sequence[Change]
    letters: dict[str, int]
    pending: Sequence[Pending]
    scheduled: int
    orders: Sequence[Recorded]


async def lane_by_name(view: View) -> web.StreamResponse:
    """The page of a connector."""
    view.query()
    try:
        name = connector(view.parts["name"])
    except ValueError as error:
        raise Refused(f"the name of the connector {error}") from None
    return await _page(view, name)


async def lane_by_parameter(view: View) -> web.StreamResponse:
    """The same for a name that would be lost in a path: `..` is one."""
    name = view.query(connector=connector)["connector"]
    return view.go_to("/") if name is None else await _page(view, name)


async def shared_lane(view: View) -> web.StreamResponse:
    """The page of the shared lane: no connector can have its path."""
    view.query()
    return await _page(view, None)


async def lane_part(view: View) -> web.StreamResponse:
    """The region of the figures and the charts."""
    name = view.query(connector=connector)["connector"]
    return view.part("parts/lane.html", lane=lane_of(view, name), **_charts(view, name))


async def records_part(view: View) -> web.StreamResponse:
    """The region of the ledger's records."""
    name = view.query(connector=connector)["connector"]
    return view.part("parts/lane_records.html", lane=lane_of(view, name), **await _records(view, name))


async def series(view: View) -> web.StreamResponse:
    """The figures of the charts as JSON, for the plots over them; times in ms since the epoch."""
    name = view.query(connector=connector)["connector"]
    now_ms = view.snapshot.now_ms
    since_ms = now_ms - SHORT_BUCKETS * SHORT_BUCKET_MS
    posted = await view.desk.ledger.read(
        partial(recent.posts, lane=_looked_for(view, name), since_ms=since_ms, rows_max=POSTS_MAX)
    )
    short, long = _buckets(view, name)
    return web.json_response(
        {
            "now_ms": now_ms,
            "short": _of(short, SHORT_BUCKET_MS),
            "long": _of(long, LONG_BUCKET_MS),
            "posts": [[one.at_ms, one.duration_ms] for one in posted],
        }
    )


def lane_of(view: View, name: str | None) -> Lane:
    """The lane of a connector as the snapshot has it; one without a row has no lane of its own, and nothing to say."""
    known = view.snapshot.lane(name)
    if known is not None:
        return known
    state = view.snapshot.switch.state_of(name or ALL)
    change = view.snapshot.changes.get(name or ALL) or view.snapshot.changes.get(ALL)
    return Lane(name, view.desk.names.orders, is_own=False, state=state, change=change if state != "open" else None)


async def _page(view: View, name: str | None) -> web.StreamResponse:
    view.desk.watch.show([] if name is None else [name])
    context: dict[str, Any] = {"name": name, "lane": lane_of(view, name), "wall": False}
    return view.page("lane.html", **context, **_charts(view, name), **await _records(view, name))


async def _records(view: View, name: str | None) -> dict[str, Any]:
    found = await view.desk.ledger.read(partial(_read, lane=_looked_for(view, name)))
    return {
        "records": found,
        "orders": [(order_text(row_of(one)), one) for one in found.orders],
        "orders_max": ORDERS_MAX,
        "looked_at_max": recent.ORDERS_LOOKED_AT_MAX,
    }


def _read(connection: Connection, lane: recent.Lane) -> Ledgered:
    pending: list[Pending] = []
    scheduled = 0
    if lane.connector is not None:
        wanted = Filter(connector=lane.connector)
        pending, scheduled = schedule.pending(connection, wanted, PENDING_MAX), schedule.count(connection, wanted)
    return Ledgered(
        switches.history(connection, lane.connector or ALL, CHANGES_MAX),
        recent.letters_by_reason(connection, lane),
        pending,
        scheduled,
        recent.newest_orders(connection, lane, ORDERS_MAX),
    )


def _looked_for(view: View, name: str | None) -> recent.Lane:
    return recent.Lane(name, view.settings.own_lanes() if name is None else ())


def _charts(view: View, name: str | None) -> dict[str, Any]:
    short, long = _buckets(view, name)
    return {"short": short, "long": long, "short_ms": SHORT_BUCKET_MS, "long_ms": LONG_BUCKET_MS}


def _buckets(view: View, name: str | None) -> tuple[Buckets, Buckets]:
    """The endings of the last 15 minutes and of the last 24 hours."""
    kept, now_ms = view.desk.watch.history(name), view.snapshot.now_ms
    return kept.short.until(now_ms), kept.long.until(now_ms)


def _of(buckets: Buckets, bucket_ms: int) -> dict[str, object]:
    reasons = {reason: list(counts) for reason, counts in buckets.reasons.items()}
    return {
        "bucket_ms": bucket_ms,
        "delivered": list(buckets.delivered),
        "dead": list(buckets.dead),
        "reasons": reasons,
    }


ROUTES = (
    Route("GET", "/lanes", lane_by_parameter),
    Route("GET", "/lanes/{name}", lane_by_name),
    Route("GET", "/shared-lane", shared_lane),
    Route("GET", "/parts/lane", lane_part),
    Route("GET", "/parts/lane-records", records_part),
    Route("GET", "/parts/series", series),
)
