"""A view: one request of one person, and what a page needs to answer it."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from aiohttp import web

from signalq.consumer.ledger.actor import Actor
from signalq.ops.console.access import Viewer
from signalq.ops.console.desk import Desk
from signalq.ops.console.errors import NotAllowed
from signalq.ops.console.query import Reader, read_fields
from signalq.ops.console.render import render
from signalq.ops.console.snapshot import Snapshot
from signalq.settings.sections import Settings

FORM_BYTES_MAX = 256 * 1024
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

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self.desk.settings

    @cached_property
    def path(self) -> str:
        """The path of the request as our links write it, without the base."""
        return self.request.rel_url.raw_path.removeprefix(self.desk.base) or "/"

    def query(self, **readers: Reader) -> dict[str, Any]:
        """The parameters of the address. Raises Refused."""
        return read_fields(self.request.query, readers)

    async def form(self, **readers: Reader) -> dict[str, Any]:
        """The fields of the form that was sent. Raises Refused."""
        return read_fields(await self.request.post(), readers)  # type: ignore[arg-type]

    def actor(self) -> Actor:
        """Who acts. Raises NotAllowed where it may not."""
        if not self.viewer.may_act:
            raise NotAllowed(self.viewer.why_not or "you may not do that")
        return self.viewer.actor()

    def page(self, template: str, *, status: int = 200, **context: Any) -> web.Response:
        """The page of a template."""
        return self._answer(template, status, context)

    def part(self, template: str, **context: Any) -> web.Response:
        """A region of a page, as the page itself has it; 304 where the browser has it already."""
        return self._answer(template, 200, context)

    def go_to(self, path: str) -> web.Response:
        """Lead to another page, which is got by GET: a reload repeats no act."""
        return web.Response(status=303, headers={"Location": f"{self.desk.base}{path}"})

    def _answer(self, template: str, status: int, context: Mapping[str, Any]) -> web.Response:
        body = render(template, self, context).encode()
        etag = f'"{hashlib.blake2b(body, digest_size=ETAG_CHARACTERS // 2).hexdigest()}"'
        if status == 200 and self.request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, status=status, content_type="text/html", charset="utf-8", headers={"ETag": etag})
