"""A view: one request of one person, and what a page needs to answer it."""

import asyncio
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from aiohttp import web
from aiohttp.http import HttpProcessingError
from multidict import MultiDict, MultiMapping

from signalq.consumer.ledger.actor import Actor
from signalq.ops.console.desk import Desk
from signalq.ops.console.gate.access import Viewer
from signalq.ops.console.gate.errors import NotAllowed, Refused
from signalq.ops.console.gate.query import FIELDS_MAX, Reader, read_fields
from signalq.ops.console.gate.routes import path_below
from signalq.ops.console.moment.snapshot import Snapshot
from signalq.ops.console.rendering.render import render
from signalq.settings.sections import Settings

FORM_BYTES_MAX = 256 * 1024
FORM_S = 10.0
FORM_TYPES = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})
TOO_LARGE = f"a form has at most {FORM_BYTES_MAX // 1024} KiB and {FIELDS_MAX:,} fields"
UNREADABLE = (LookupError, ValueError, ConnectionError, HttpProcessingError, web.RequestPayloadError)
ETAG_CHARACTERS = 24


class View:
    """`parts` are the parts of the path by name; `snapshot` is the present moment."""

    def __init__(
        self, request: web.Request, desk: Desk, viewer: Viewer, parts: Mapping[str, str], snapshot: Snapshot
    ) -> None:
        self.request = request
        self.desk = desk
        self.viewer = viewer
        self.parts = parts
        self.snapshot = snapshot
        self._form: MultiMapping[str] | None = None

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.desk.settings

    @cached_property
    def path(self) -> str:
        """The path of the request as our links write it, without the base."""
        return path_below(self.desk.base, self.request.rel_url.raw_path)

    def query(self, **readers: Reader) -> dict[str, Any]:
        """The parameters of the address. Raises Refused."""
        return read_fields(self.request.query, readers)

    async def form(self, **readers: Reader) -> dict[str, Any]:
        """The fields of the form that was sent. Raises Refused."""
        return read_fields(await self.sent(), readers)

    async def sent(self) -> MultiMapping[str]:
        """The form as it was sent; it is read once. Raises Refused."""
        if self._form is None:
            self._form = await _sent(self.request)
        return self._form

    def actor(self) -> Actor:
        """The actor of what is done here. Raises NotAllowed where the viewer may not act."""
        if not self.viewer.may_act:
            raise NotAllowed(self.viewer.why_not or "you may not do that")
        return self.viewer.actor()

    def page(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """The page of a template."""
        return self._answer(template, status, context)

    def part(self, template: str, **context: Any) -> web.Response:
        """A region of a page, as the page itself has it."""
        return self._answer(template, 200, context)

    def go_to(self, path: str) -> web.Response:
        """Lead to another page, which is got by GET: a reload repeats no act."""
        return web.Response(status=303, headers={"Location": f"{self.desk.base}{path}"})

    def _answer(self, template: str, status: int, context: Mapping[str, Any]) -> web.Response:
        body = render(template, self, context).encode()
        etag = f'"{hashlib.blake2b(body, digest_size=ETAG_CHARACTERS // 2).hexdigest()}"'
        return web.Response(body=body, status=status, content_type="text/html", charset="utf-8", headers={"ETag": etag})


async def _sent(request: web.Request) -> MultiMapping[str]:
    """The fields of a form, as a browser sends them, within bounds. Raises Refused."""
    if not request.can_read_body:
        return MultiDict()
    _check_form(request)
    try:
        async with asyncio.timeout(FORM_S):
            fields = await request.clone(client_max_size=FORM_BYTES_MAX).post()
    except TimeoutError:
        raise Refused(f"the form did not come within {FORM_S:g} s", 408) from None
    except web.HTTPException:
        raise Refused(TOO_LARGE, 413) from None
    except UNREADABLE:
        raise Refused("the form can't be read") from None
    for value in fields.values():
        if isinstance(value, web.FileField):
            value.file.close()
    texts = MultiDict((name, value) for name, value in fields.items() if isinstance(value, str))
    if len(texts) < len(fields):
        raise Refused("the form has a file in it, and none is taken here")
    return texts


def _check_form(request: web.Request) -> None:
    """Refuse a form for what its headers say."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Refused("the form is compressed: send it as it is", 415)
    if request.content_type not in FORM_TYPES:
        raise Refused("a form comes as application/x-www-form-urlencoded or multipart/form-data", 415)
    if (request.content_length or 0) > FORM_BYTES_MAX:
        raise Refused(TOO_LARGE, 413)
