"""The routes of all pages, as one table; and the search for the one that a request is for."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

from aiohttp import web

from signalq.ops.console.access import Role
from signalq.ops.console.errors import NotFound, Refused

if TYPE_CHECKING:
    from signalq.ops.console.view import View

Handler = Callable[["View"], Awaitable[web.StreamResponse]]
Method = Literal["GET", "POST"]


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path (`/orders/{id}`), who may ask (`needs`, or a higher role), and what answers."""

    method: Method
    path: str
    handler: Handler
    needs: Role = "view"


def find_route(routes: Sequence[Route], method: str, raw_path: str) -> tuple[Route, Mapping[str, str]]:
    """The route of a request, and the parts of its path by name. HEAD is answered as GET. Raises NotFound, Refused."""
    wanted = "GET" if method == "HEAD" else method
    allowed = []
    for route in routes:
        parts = _match(route.path, raw_path)
        if parts is not None and route.method == wanted:
            return route, parts
        if parts is not None:
            allowed.append(route.method)
    if allowed:
        raise Refused(f"this page takes {' and '.join(sorted(allowed))} alone", 405)
    raise NotFound("there is no such page")


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
    return parts
