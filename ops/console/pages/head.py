"""The head of every page as a region, and the page of the keys and of what a browser keeps."""

from aiohttp import web

from signalq.ops.console.gate.query import flag, one_of
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.rendering.frame import NOWHERE, PLACES
from signalq.ops.console.view import View

# In the order of the page: the keys, and their use.
KEYS = (
    ("g then o d s r c a", "Overview, Dead, Schedule, Orders, Check, Activity"),
    ("/", "search"),
    ("j k, arrows", "the next row, the one before"),
    ("Enter", "open the row"),
    ("x, Shift+x", "choose the row, or all rows from the last chosen one"),
    ("a", "choose the whole group"),
    ("r", "check a replay of the chosen ones"),
    ("d", "discard the chosen ones: asks first"),
    ("c", "cancel the chosen ones: asks first"),
    ("p", "pause the connector of the row: asks first"),
    ("Shift+P, then Enter", "pause all connectors"),
    ("l", "hold the page still, and let it live again"),
    ("u", "times in UTC, or in the zone of this browser"),
    ("t", "theme: that of the system, light, dark"),
    ("y", "copy the id of the row, or of the page"),
    ("?", "this list"),
    ("Esc", "close"),
)


async def head(view: View) -> web.StreamResponse:
    """The region."""
    asked = view.query(place=one_of([*(place.path for place in PLACES), NOWHERE]), wall=flag)
    return view.part("parts/head.html", place=asked["place"] or NOWHERE, wall=bool(asked["wall"]))


async def keys(view: View) -> web.StreamResponse:
    """The page."""
    view.query()
    return view.page("keys.html", keys=KEYS)


ROUTES = (
    Route("GET", "/parts/head", head),
    Route("GET", "/keys", keys),
)
