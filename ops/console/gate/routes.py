"""The routes of all pages, as one table; and the search for the one that a request is for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from aiohttp import web

from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.sessions import Role

if TYPE_CHECKING:
    from signalq.ops.console.view import View

Handler = Callable[["View"], Awaitable[web.StreamResponse]]
Method = Literal["GET", "POST"]

# Parts of pages; the head alone differs from person to person.
PARTS = "/parts/"
HEAD_PART = "/parts/head"


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path (`/orders/{id}`), who may ask (`needs`, or a higher role), and what answers.

    With `streams` the answer goes on for long. One that `is_urgent`, as the switch is, is given also while the process
    is busy with orders.
    """

    method: Method
    path: str
    handler: Handler
    needs: Role = "view"
    streams: bool = False
    is_urgent: bool = False


def path_below(base: str, raw_path: str) -> str:
    """The path without the base, which a proxy may have taken off already."""
    if raw_path == base:
        return "/"
    return raw_path.removeprefix(base) if raw_path.startswith(f"{base}/") else raw_path


def find_route(routes: Sequence[Route], method: str, raw_path: str) -> tuple[Route, Mapping[str, str]]:
    """The route of a request, and the parts of its path by name. HEAD is answered as GET. Raises NotFound, Refused.

    Of two patterns the one that leaves less open is meant.
    """
    here = [(route, parts) for route in routes if (parts := _match(route.path, raw_path)) is not None]
    if not here:
        raise NotFound("there is no such page")
    wanted = "GET" if method == "HEAD" else method
    found = [(route, parts) for route, parts in here if route.method == wanted]
    if not found or (method == "HEAD" and found[0][0].streams):
        takes = sorted({route.method for route, _ in here})
        raise Refused(f"this page takes {' and '.join(takes)} alone", 405, headers={"Allow": ", ".join(takes)})
    return min(found, key=lambda one: len(one[1]))


def _match(pattern: str, raw_path: str) -> Mapping[str, str] | None:
    wanted, given = pattern.split("/"), raw_path.split("/")
    if len(wanted) != len(given):
        return None
    parts = {}
    for one, other in zip(wanted, given, strict=True):
        if one.startswith("{") and other:
            parts[one.strip("{}")] = unquote(other)
        elif one != other:
            return None
    if any("\0" in part for part in parts.values()):
        raise NotFound("there is no such page: no name has a NUL in it")
    return parts
