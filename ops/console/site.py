"""The site: answers every request of the console, in whichever process it is."""

import secrets

import structlog
from aiohttp import web

from signalq.errors import SignalQError
from signalq.ops.console.access import Role, Viewer
from signalq.ops.console.desk import Desk
from signalq.ops.console.errors import NotAllowed, Refused
from signalq.ops.console.guard import add_headers, check_request
from signalq.ops.console.pages.all import ROUTES
from signalq.ops.console.routes import find_route
from signalq.ops.console.view import View

RANK: dict[Role, int] = {"nobody": 0, "view": 1, "operate": 2}

log = structlog.get_logger()


class Site:
    """`answer` is the handler of every path that its host has no other one for."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The answer; an error becomes a page of ours."""
        try:
            response = await self._respond(request)
        except Refused as error:
            response = await self._refusal(request, error)
        except SignalQError as error:
            response = await self._refusal(request, Refused(str(error), 503))
        except (web.HTTPException, ConnectionError):
            raise
        except Exception:
            number = secrets.token_hex(4)
            log.exception("console.failed", number=number, path=request.path)
            response = await self._refusal(
                request, Refused(f"the console failed at this: see its log for {number}", 500)
            )
        if not response.prepared:
            add_headers(response)
        return response

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        settings = self._desk.settings
        is_program = "Authorization" in request.headers and "Cookie" not in request.headers
        check_request(request, settings, is_program=is_program)
        viewer = self._desk.access.viewer_of(request)
        raw_path = request.rel_url.raw_path.removeprefix(self._desk.base) or "/"
        route, parts = find_route(ROUTES, request.method, raw_path)
        if RANK[viewer.role] < RANK[route.needs]:
            return self._stranger(request, viewer)
        view = View(request, self._desk, viewer, parts, await self._desk.watch.snapshot())
        return await route.handler(view)

    def _stranger(self, request: web.Request, viewer: Viewer) -> web.StreamResponse:
        """Lead a person to the sign-in; tell a program. Raises NotAllowed for one who is known, and may not."""
        if viewer.role != "nobody":
            raise NotAllowed(viewer.why_not or "you may not do that")
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            return web.Response(status=303, headers={"Location": f"{self._desk.base}/sign-in"})
        raise Refused("sign in first, or send the token as `Authorization: Bearer …`", 401)

    async def _refusal(self, request: web.Request, error: Refused) -> web.StreamResponse:
        viewer = Viewer(None, "nobody", request.remote or "unknown", "")
        view = View(request, self._desk, viewer, {}, self._desk.watch.latest)
        return view.page("error.html", status=error.status, sentence=str(error))
