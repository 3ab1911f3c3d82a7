"""A webhook's URL, as the connections to it and the requests need it."""

import asyncio
from dataclasses import dataclass

import aiohttp
from yarl import URL

from signalq.message.trace_context import TraceParent
from signalq.version import __version__


@dataclass(frozen=True, slots=True)
class Target:
    """`address` is what aiohttp wants to know for a connection (it is never sent), `head` how each request begins."""

    address: aiohttp.ClientRequest
    head: bytes

    def request(self, body: bytes, traceparent: TraceParent | None = None) -> bytes:
        """The POST of a body, as it goes on the wire: with these headers and no other, whatever else this process has
        loaded. `traceparent` is one of them only where it is given.
        """
        trace = f"traceparent: {traceparent.header()}\r\n".encode("ascii") if traceparent is not None else b""
        return b"%b%d\r\nContent-Type: application/json\r\n%b\r\n%b" % (self.head, len(body), trace, body)


def target_of(text: str) -> Target:
    """The target for a URL. Raises ValueError where it is none."""
    url = URL(text)
    head = (
        f"POST {url.raw_path_qs} HTTP/1.1\r\n"
        f"Host: {url.host_port_subcomponent}\r\n"
        f"User-Agent: signalq/{__version__}\r\n"
        "Accept-Encoding: identity\r\n"
        "Accept: */*\r\n"
        "Content-Length: "
    )
    # Certificates have names without a dot at the end; aiohttp takes it off everywhere but in a tunnel.
    name = (url.raw_host or "").rstrip(".")
    address = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop(), server_hostname=name)
    return Target(address, head.encode("ascii"))
