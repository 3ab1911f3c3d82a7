"""The static files: style, script, and the libraries that lie in the folder `vendor` with their licences."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from aiohttp import web

from signalq.ops.console.gate.errors import NotFound
from signalq.ops.console.gate.routes import Route
from signalq.ops.console.rendering.render import STATIC, static_path
from signalq.ops.console.view import View

# Files of other kinds are served to nobody.
KINDS: Mapping[str, str] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
# Another file has another path.
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class File:
    """A file, and its kind."""

    body: bytes
    kind: str


@cache
def files() -> Mapping[str, File]:
    """Every file by its path, which has a digest of it. So no path of a request is ever looked for on the disk."""
    found = (file for file in STATIC.rglob("*") if file.is_file() and file.suffix in KINDS)
    return {
        static_path(file.relative_to(STATIC).as_posix()): File(file.read_bytes(), KINDS[file.suffix]) for file in found
    }


async def static(view: View) -> web.StreamResponse:
    """A file, for ever."""
    view.query()
    file = files().get(view.path)
    if file is None:
        raise NotFound("there is no such file: reload the page, it may be of another version")
    return web.Response(
        body=file.body, content_type=file.kind, charset=_charset(file.kind), headers={"Cache-Control": FOR_EVER}
    )


def _charset(kind: str) -> str | None:
    return "utf-8" if kind.startswith("text/") else None


ROUTES = (
    Route("GET", "/static/{digest}/{name}", static, needs="nobody"),
    Route("GET", "/static/{digest}/vendor/{name}", static, needs="nobody"),
)
