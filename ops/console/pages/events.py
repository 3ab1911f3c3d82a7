"""The stream of events: the names of the regions that have changed, and no figure.

An event that is lost loses nothing: the next one says the same, and a page that comes back is told of everything. With
each look comes the time by the ledger's clock, and when the sources were last heard of: a page that hears nothing for
some seconds knows that it is not live.
"""

import asyncio
import json
from collections.abc import Collection
from contextlib import suppress

from aiohttp import web
from aiohttp_sse import EventSourceResponse

from signalq.ops.console.gate.guard import add_headers
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.moment.snapshot import REGIONS, Region, Snapshot
from signalq.ops.console.moment.watch import Listener
from signalq.ops.console.view import View

# A browser that lost its stream comes back after so long.
RETRY_MS = 3_000
PING_S = 15.0
# A browser that takes nothing for so long is gone.
SEND_TIMEOUT_S = 30.0
# A stream ends after so long, and the browser opens the next: whether its session still holds is asked anew by that.
STREAM_S_MAX = 900.0


async def events(view: View) -> web.StreamResponse:
    """The stream, until the browser goes, or the console ends; the site bounds how many there are. Raises Refused."""
    view.query()
    stream = EventSourceResponse(sep="\n", ping_interval=PING_S, send_timeout=SEND_TIMEOUT_S)
    del stream.headers["Cache-Control"]  # no-cache, which allows a copy
    add_headers(view.request, stream, view.settings)
    # A browser that goes is no error, nor is one that does not read any more.
    with view.desk.watch.listening() as listener, suppress(ConnectionResetError, TimeoutError):
        async with asyncio.timeout(STREAM_S_MAX):
            await stream.prepare(view.request)
            async with stream:
                await _tell(view, stream, listener)
    return stream


async def _tell(view: View, stream: EventSourceResponse, listener: Listener) -> None:
    """Tell of everything first, as the page may have been asleep; then of what changes."""
    regions: Collection[Region] | None = REGIONS
    now = await view.desk.watch.snapshot()
    while regions is not None:
        if regions:
            names = " ".join(sorted(regions))
            await stream.send(names, id=str(now.number), event="changed", retry=RETRY_MS)
        await stream.send(_clock(now), event="clock")
        regions = await listener.changes()
        now = view.desk.watch.latest


def _clock(now: Snapshot) -> str:
    """The ledger's clock now, and when the ledger and the broker were last heard of, in ms since the epoch."""
    return json.dumps({"now": now.now_ms, "ledger": now.ledger.seen_ms, "broker": now.broker.seen_ms})


ROUTES = (Route("GET", "/events", events, streams=True),)
