"""The guard: what every request must be before a page sees it, and the headers that every answer has.

Loopback is no protection from a browser: a page from anywhere may post a form to 127.0.0.1, and a name that its owner
lets point there may read what is answered. So a change must come from a page of ours, and where no token is asked for,
the Host must be this machine.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from aiohttp import web
from multidict import CIMultiDict

from signalq.ops.console.errors import NotAllowed, Refused
from signalq.settings.processes import LOOPBACK_HOSTS
from signalq.settings.sections import Settings

# https://developer.mozilla.org/docs/Web/HTTP/Headers/Content-Security-Policy
POLICY = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
])  # fmt: skip
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": POLICY,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # no-referrer would make a form send `Origin: null`, which can't be told from a stranger's.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Cache-Control": "no-store",
        "Server": "signalq",
    }
)
# Headers by which a proxy says for whom it asks.
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via")
READS = frozenset({"GET", "HEAD"})


def add_headers(response: web.StreamResponse) -> None:
    """Add the headers that an answer has not given itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


def check_request(request: web.Request, settings: Settings, *, is_program: bool) -> None:
    """Check Host, proxy headers, method and origin. `is_program`: it came with a token and no cookie.

    Raises Refused.
    """
    check_host(request.headers, settings)
    if request.method not in READS | {"POST"}:
        raise Refused(f"{request.method} is no method that this page takes", 405)
    if request.method not in READS and not is_program:
        check_origin(request.headers, settings)


def check_host(headers: CIMultiDict[str], settings: Settings) -> None:
    """Check that the request is for us. Raises NotAllowed."""
    hosts = headers.getall("Host", [])
    if len(hosts) != 1:
        raise Refused("a request has exactly one Host")
    name = _name_of(hosts[0])
    if settings.ops.token is None:
        if name not in LOOPBACK_HOSTS:
            raise NotAllowed("this console answers to localhost and 127.0.0.1 alone: set ops.token for other names")
        if any(header in headers for header in FORWARDED):
            raise NotAllowed("a proxy asks on behalf of others, and there is no ops.token: set one")
    elif settings.console.hosts and name not in LOOPBACK_HOSTS and hosts[0].lower() not in settings.console.hosts:
        raise NotAllowed("console.hosts does not name this Host")


def check_origin(headers: CIMultiDict[str], settings: Settings) -> None:
    """Check that a change comes from a page of ours. Raises NotAllowed."""
    site = headers.get("Sec-Fetch-Site")
    if site is not None:
        if site != "same-origin":
            raise NotAllowed("the request comes from a page of somebody else")
        return
    origin = headers.get("Origin", "")
    place = origin.partition("://")[2].lower()
    if not place or place not in {headers["Host"].lower(), *settings.console.hosts}:
        raise NotAllowed("the request does not say that it comes from a page of ours (Sec-Fetch-Site, Origin)")


def _name_of(host: str) -> str:
    """The name or address in a Host, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


Checks = Callable[[web.Request, Settings], None]
