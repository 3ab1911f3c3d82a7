"""Signing in: by a token and a name, or by the one-time link; and signing out."""

import re

from aiohttp import web

from signalq.ops.console.gate.errors import NotFound, Refused
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.rendering.render import url
from signalq.ops.console.view import View

NO_TOKEN = "this console has no token: its start printed a link, which signs in once; or set ops.token"  # noqa: S105
SIGN_IN, OVERVIEW = "/sign-in", "/"
# One slash at its beginning, no backslash, no space: two of them would be another host.
PATH = re.compile(r"/(?!/)[!-\[\]-~]*")
TOKEN_WRONG = frozenset({401, 429})


def _path(value: str) -> str:
    """A path of ours to go on to. Another site's must not look like one."""
    if not PATH.fullmatch(value):
        raise ValueError("is no path of this console")
    return value


def _raw(value: str) -> str:
    """A name or a token, whatever is in it: it is judged where it is known what to say of it."""
    return value


async def sign_in(view: View) -> web.StreamResponse:
    """The form."""
    asked = view.query(next=_path)
    problem = None if view.desk.access.has_token else Refused(NO_TOKEN)
    return _form(view, 200, SIGN_IN, problem=problem, next=asked["next"])


async def signed_in(view: View) -> web.StreamResponse:
    """Begin a session, and go on; or the form again, with one sentence that says why not."""
    sent = await view.form(name=_raw, token=_raw, next=_path)
    if not view.desk.access.has_token:
        return _form(view, 400, SIGN_IN, problem=Refused(NO_TOKEN))
    name = (sent["name"] or "").strip()
    try:
        session = await view.desk.access.sign_in(view.request, name, sent["token"] or "")
    except Refused as refused:
        # A name that is refused may be the token, in the wrong field.
        shown = name if refused.status in TOKEN_WRONG else None
        return _form(view, refused.status, SIGN_IN, problem=refused, name=shown, next=sent["next"])
    response = view.go_to(sent["next"] or OVERVIEW)
    view.desk.access.sessions.put(view.request, response, session)
    return response


async def link(view: View) -> web.StreamResponse:
    """The form of the one-time link: it asks for a name, and does not spend the link."""
    view.query()
    _only_without_token(view)
    view.desk.access.check_link(view.parts["secret"])
    return _form(view, 200, _link_path(view))


async def opened(view: View) -> web.StreamResponse:
    """Begin the session that the link gives, and spend it."""
    sent = await view.form(name=_raw)
    _only_without_token(view)
    name, secret = (sent["name"] or "").strip(), view.parts["secret"]
    view.desk.access.check_link(secret)
    try:
        session = view.desk.access.open_link(view.request, secret, name)
    except Refused as refused:
        return _form(view, refused.status, _link_path(view), problem=refused)
    response = view.go_to(OVERVIEW)
    view.desk.access.sessions.put(view.request, response, session)
    return response


async def sign_out(view: View) -> web.StreamResponse:
    """The question."""
    view.query()
    return view.page("sign_out.html")


async def signed_out(view: View) -> web.StreamResponse:
    """End the session in this browser."""
    await view.form()
    response = view.go_to(SIGN_IN if view.desk.access.has_token else OVERVIEW)
    view.desk.access.sessions.remove(view.request, response)
    return response


def _form(
    view: View,
    status: int,
    path: str,
    *,
    problem: Refused | None = None,
    name: str | None = None,
    next: str | None = None,  # noqa: A002 - the name of the field
) -> web.StreamResponse:
    """The page of the form, with what was typed into it, but for the token."""
    is_by_proxy = view.viewer.name is not None and view.viewer.session is None
    page = view.page(
        "sign_in.html",
        status=status,
        path=path,
        is_link=path != SIGN_IN,
        has_form=path != SIGN_IN or (view.desk.access.has_token and not is_by_proxy),
        problem=str(problem) if problem is not None else None,
        name=name,
        next=next,
    )
    page.headers.extend(problem.headers if problem is not None else {})
    return page


def _link_path(view: View) -> str:
    return url("", "/link", view.parts["secret"])


def _only_without_token(view: View) -> None:
    if view.desk.access.has_token:
        raise NotFound("there is no such link: this console has a token, which signs in")


ROUTES = (
    Route("GET", SIGN_IN, sign_in, needs="nobody"),
    Route("POST", SIGN_IN, signed_in, needs="nobody"),
    Route("GET", "/link/{secret}", link, needs="nobody"),
    Route("POST", "/link/{secret}", opened, needs="nobody"),
    Route("GET", "/sign-out", sign_out, needs="nobody"),
    Route("POST", "/sign-out", signed_out, needs="nobody"),
)
