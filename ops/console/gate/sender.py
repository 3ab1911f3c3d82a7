"""The sender of a request, as far as it is known: its address, its browser's scheme, the name that a proxy gives it.

Only proxies of `console.proxies` are believed. From any other sender the header of `console.user_header` is a forgery,
and so is one with an underscore in its name, which some servers take for the hyphen's (CVE-2025-64484).
"""

from collections.abc import Mapping

from aiohttp import web

from signalq.ops.console.gate.errors import Refused
from signalq.producers.gateway.callers import Callers, IpAddress
from signalq.settings.processes import LOOPBACK_HOSTS, Console
from signalq.settings.sections import Settings

# An address of mail has at most so many characters.
PROXY_NAME_CHARACTERS_MAX = 254
FORWARDED = frozenset({"forwarded", "via", "x-real-ip"})
FORWARDED_PREFIX = "x-forwarded-"


def address_of(request: web.BaseRequest, console: Console) -> IpAddress | None:
    """The address of the connection, or the last hop that our proxies vouch for; None if it is not known."""
    forwarded_for = request.headers.getall("X-Forwarded-For", ())
    return Callers(proxies=console.proxies).caller(request.remote, forwarded_for)


def is_by_proxy(request: web.BaseRequest, console: Console) -> bool:
    """Whether the connection itself comes from one of our proxies."""
    return bool(console.proxies) and Callers(sources=console.proxies).may_call(request.remote, ())


def is_forwarded(headers: Mapping[str, str]) -> bool:
    """Whether a proxy, ours or not, says that it asks on behalf of others."""
    spelled = {_spelled(name) for name in headers}
    return not spelled.isdisjoint(FORWARDED) or any(name.startswith(FORWARDED_PREFIX) for name in spelled)


def is_https(request: web.BaseRequest, settings: Settings) -> bool:
    """Whether the browser came by https: as our proxy says, else as `console.url` does for all but a direct call."""
    console = settings.console
    if is_by_proxy(request, console) and (scheme := request.headers.get("X-Forwarded-Proto")) is not None:
        return scheme.strip().lower() == "https"
    if request.secure:
        return True
    is_direct = name_of(request.headers.get("Host", "")) in LOOPBACK_HOSTS and not is_forwarded(request.headers)
    return console.url is not None and console.url.startswith("https://") and not is_direct


def name_by_proxy(request: web.BaseRequest, console: Console) -> str | None:
    """The name of the person for whom our proxy asks; None if it names none.

    Raises Refused for the header from anybody else, twice, in another spelling, or with a name that can't be one.
    """
    if console.user_header is None:
        return None
    wanted = console.user_header.lower()
    given = [(name.lower(), value) for name, value in request.headers.items() if _spelled(name) == wanted]
    if not given:
        return None
    if len(given) > 1 or given[0][0] != wanted:
        raise Refused("console.user_header is given twice, or with an underscore in its name", rule="identity")
    if not is_by_proxy(request, console):
        raise Refused("console.user_header comes from an address that is none of console.proxies", rule="identity")
    name = given[0][1].strip()
    if not (0 < len(name) <= PROXY_NAME_CHARACTERS_MAX and name.isprintable()):
        raise Refused(
            f"console.user_header must hold a name of 1 to {PROXY_NAME_CHARACTERS_MAX} printable characters",
            rule="identity",
        )
    return name


def name_of(host: str) -> str:
    """The name or address in a Host, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def port_of(host: str) -> str:
    """The port in a Host; empty if it names none."""
    return host.rpartition("]")[2].partition(":")[2]


def _spelled(name: str) -> str:
    return name.lower().replace("_", "-")
