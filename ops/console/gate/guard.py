"""The guard: what every request must be before a page sees it, and the headers that every answer has.

Loopback is no protection from a browser: a page from anywhere may post a form to 127.0.0.1, and a name that its owner
lets point there may read what is answered. So a change must come from a page of ours, and the Host must be ours.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from ipaddress import ip_address
from types import MappingProxyType

from aiohttp import web
from yarl import URL

from signalq.ops.console.gate.errors import NotAllowed, Refused
from signalq.ops.console.gate.sender import is_forwarded, is_https, name_of
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
    }
)
# A year, which the browser counts anew with each answer.
HTTPS_ONLY = "max-age=31536000"
# In the place of aiohttp's, which tells the versions of our libraries.
SERVER = "signalq"
READS = frozenset({"GET", "HEAD"})
METHODS = READS | {"POST"}
HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?", re.IGNORECASE)
# In which a request is no page of somebody else: one of ours, or typed by a person.
OWN_SITES = frozenset({None, "same-origin", "none"})


def add_headers(request: web.BaseRequest, response: web.StreamResponse, settings: Settings) -> None:
    """Add the headers that an answer has not given itself."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = SERVER
    if is_https(request, settings):
        response.headers.setdefault("Strict-Transport-Security", HTTPS_ONLY)


def adding_headers(settings: Callable[[], Settings]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """The receiver of an application's `on_response_prepare`: a stream sends its headers while its page still runs."""

    async def add(request: web.Request, response: web.StreamResponse) -> None:
        add_headers(request, response, settings())

    return add


def check_request(request: web.Request, settings: Settings) -> None:
    """Check that the request is for us, and of a method that we take. Raises Refused."""
    check_host(request, settings)
    if request.method not in METHODS:
        raise Refused(
            f"this console takes {', '.join(sorted(METHODS))} alone",
            405,
            rule="method",
            headers={"Allow": ", ".join(sorted(METHODS))},
        )


def check_host(request: web.Request, settings: Settings) -> None:
    """Check that the Host is ours. Raises Refused."""
    hosts = request.headers.getall("Host", [])
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]):
        raise Refused("a request has exactly one Host", rule="host")
    if settings.ops.token is None:
        if name_of(hosts[0]) not in LOOPBACK_HOSTS:
            raise NotAllowed(
                "this console answers to localhost and 127.0.0.1 alone: set ops.token for other names", rule="host"
            )
        if is_forwarded(request.headers):
            raise NotAllowed("a proxy asks on behalf of others, and there is no ops.token: set one", rule="proxy")
    elif not _is_own(hosts[0].lower(), settings):
        raise NotAllowed(
            "this console is not known by the name in this address: add it to console.hosts, or set console.url",
            rule="host",
        )


def check_site(request: web.Request, settings: Settings) -> None:
    """Check that a change comes from a page of ours, and that no page of somebody else reads. Raises NotAllowed."""
    headers = request.headers
    site = headers.get("Sec-Fetch-Site")
    if request.method in READS:
        # A link from anywhere may lead here; a script, a frame or an image from anywhere may not.
        if site not in OWN_SITES and headers.get("Sec-Fetch-Mode") != "navigate":
            raise NotAllowed("a page of somebody else asks for this", rule="origin")
    elif site is not None:
        if site != "same-origin":
            raise NotAllowed("the form is on a page of somebody else", rule="origin")
    elif headers.get("Origin", "").partition("://")[2].lower() not in _own_places(headers["Host"], settings):
        raise NotAllowed(
            "the request does not say that it comes from a page of ours (Sec-Fetch-Site, Origin)", rule="origin"
        )


def _is_own(host: str, settings: Settings) -> bool:
    """Whether a name with its port is ours. Any address is: names alone can be let point at us."""
    name = name_of(host)
    return (
        name in {*LOOPBACK_HOSTS, settings.ops.host, settings.console.host}
        or host in _named_places(settings)
        or _is_address(name)
    )


def _own_places(host: str, settings: Settings) -> set[str]:
    """The hosts and ports from which a page of ours may come."""
    return {host.lower(), *_named_places(settings)}


def _named_places(settings: Settings) -> Iterator[str]:
    """The hosts and ports that the settings name, as browsers send them."""
    console = settings.console
    yield from console.hosts
    if console.url is not None:
        yield str(URL(console.url).host_port_subcomponent)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
