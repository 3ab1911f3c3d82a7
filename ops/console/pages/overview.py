"""The overview: what needs a person, the lanes, the throughput, the consumers."""

from aiohttp import web

from signalq.ops.console.routes import Route
from signalq.ops.console.view import View


async def overview(view: View) -> web.StreamResponse:
    """The page."""
    view.query()
    return view.page("overview.html")


ROUTES = (Route("GET", "/", overview),)
