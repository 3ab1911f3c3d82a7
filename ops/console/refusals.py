"""Errors as answers: a page for a browser, one sentence for a program. The cause of a failure is in the log alone."""

import secrets
from collections.abc import Mapping
from http import HTTPStatus

import structlog
from aiohttp import web

from signalq.errors import SignalQError
from signalq.ops.console.desk import Desk
from signalq.ops.console.gate import sender
from signalq.ops.console.gate.access import Viewer
from signalq.ops.console.gate.errors import Refused
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.console.view import View
from signalq.ops.terminal.escaping import escaped
from signalq.producers.gateway.rates import Rates

TITLES: Mapping[int, str] = {
    400: "That can't be understood",
    401: "Sign in first",
    403: "That is not allowed",
    404: "Not found",
    405: "Not like this",
    413: "That is too much",
    429: "Too many tries",
    500: "The console failed",
    503: "Not now",
}
# The log has a line for each rule and address; and for all together so many, then so many a second.
ALIKE_EVERY_S = 60.0
LINES_MAX, LINES_PER_S = 60, 1.0
SENTENCE_CHARACTERS_MAX = 600

log = structlog.get_logger()


class Refusals:
    """Makes the refusals of errors, and their answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._alike = Rates(1 / ALIKE_EVERY_S, burst=1)
        self._lines = Rates(LINES_PER_S, burst=LINES_MAX)

    def of(self, request: web.Request, error: Exception) -> Refused:
        """The refusal that an error is to the person or program that asked. One that nobody foresaw is logged."""
        if isinstance(error, Refused):
            self._log(request, error)
            return error
        if isinstance(error, SignalQError):
            return Refused(str(error), 503)
        if isinstance(error, web.HTTPException):
            return Refused(error.reason, error.status)
        number = secrets.token_hex(4)
        # Without the path, which may hold the secret of the one-time link. The caller handles the error now.
        log.exception("console.failed", number=number)  # noqa: LOG004
        return Refused(f"the console failed at this; its log says why, under the number {number}", 500)

    def answer(self, request: web.Request, viewer: Viewer, refused: Refused) -> web.Response:
        """The answer. A person sees the page's usual head, unless it is a stranger."""
        response = self._page(request, viewer, refused) if wants_page(request) else _sentence(refused)
        response.headers.extend(refused.headers)
        return response

    def _page(self, request: web.Request, viewer: Viewer, refused: Refused) -> web.Response:
        snapshot = self._desk.watch.latest if viewer.role != "nobody" else Snapshot()
        view = View(request, self._desk, viewer, {}, snapshot)
        sentence = str(refused)
        title = TITLES.get(refused.status) or HTTPStatus(refused.status).phrase
        try:
            return view.page(
                "error.html",
                status=refused.status,
                title=title,
                sentence=f"{sentence[:1].upper()}{sentence[1:]}",
                characters_max=SENTENCE_CHARACTERS_MAX,
            )
        except Exception:
            log.exception("console.failed", number="the page of an error")
            return _sentence(refused)

    def _log(self, request: web.Request, refused: Refused) -> None:
        if refused.rule is None:
            return
        address = str(sender.address_of(request, self._desk.settings.console) or "unknown")
        if not self._alike.wait_s((refused.rule, address)) and not self._lines.wait_s("all"):
            log.warning("console.refused", rule=refused.rule, address=address, why=str(refused))


def wants_page(request: web.Request) -> bool:
    """Whether a page is wanted: by a browser that goes there, or by our script, which shows it in a dialog."""
    return "text/html" in request.headers.get("Accept", "")


def _sentence(refused: Refused) -> web.Response:
    return web.Response(text=f"{escaped(str(refused))}\n", status=refused.status, content_type="text/plain")
