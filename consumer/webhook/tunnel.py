"""The tunnel through `webhook.proxy`, asked for by CONNECT. Nothing of an order is sent before it stands.

So whatever the proxy answers, or does not, an order was not taken; from then on it passes bytes on, and what breaks
in it breaks as on any other connection.
"""

import asyncio
import base64
import re
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from signalq.consumer.webhook.answer_reader import INTERIM_MAX
from signalq.version import __version__

TUNNEL_ANSWER_BYTES_MAX = 16_384
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")


class NoTunnel(aiohttp.ClientConnectionError):
    """The proxy made no tunnel; the text says why, and holds nothing of the proxy's words or login."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy: `address` is what aiohttp wants to know for a connection, `login` a header line, empty without one."""

    address: aiohttp.ClientRequest
    login: bytes = field(repr=False)

    def connect_to(self, target: URL) -> bytes:
        """The request for a tunnel to the target's host and port."""
        where = f"{target.host_subcomponent}:{target.port}"
        head = f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\nUser-Agent: signalq/{__version__}\r\n"
        return b"%b%b\r\n" % (head.encode("ascii"), self.login)


def proxy_of(text: str) -> Proxy:
    """The proxy for a URL that check_proxy_url has passed."""
    url = URL(text)
    login = b""
    if url.user is not None or url.password is not None:
        user_and_password = f"{url.user or ''}:{url.password or ''}".encode()
        login = b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(user_and_password)
    address = aiohttp.ClientRequest("CONNECT", url.with_user(None), loop=asyncio.get_running_loop())
    return Proxy(address, login)


class TunnelReader:
    """Reads the proxy's answer to CONNECT. `answer` is done once the tunnel stands, or raises NoTunnel."""

    is_clean = False  # its connection is of use to nobody else

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.answer: asyncio.Future[None] = loop.create_future()
        self._head = b""
        self._bytes_left = TUNNEL_ANSWER_BYTES_MAX
        self._interim_left = INTERIM_MAX

    def feed(self, data: bytes) -> None:
        """Take in bytes that came; what comes behind a failure is of no use."""
        if self.answer.done():
            return
        self._head += data[: self._bytes_left + 1]
        self._bytes_left -= len(data)
        self._read_on()
        if self._bytes_left < 0:
            self._fail("the proxy's answer has no end")

    def _read_on(self) -> None:
        """Read as far as it has come. A refusal is known by its first line; interim answers are passed over."""
        line, end_of_line, _ = self._head.partition(b"\r\n")
        _, end_of_head, behind = self._head.partition(b"\r\n\r\n")
        found = _STATUS_LINE.fullmatch(line)
        status = int(found[1]) if found else 0
        is_interim = 100 <= status <= 199 and status != 101
        if end_of_line and not status:
            self._fail("the proxy answered something that is no HTTP")
        elif end_of_line and is_interim and not self._interim_left:
            self._fail("the proxy sent more interim answers than are read")
        elif end_of_line and not is_interim and not 200 <= status <= 299:
            self._fail(_refused(status))
        elif end_of_head and is_interim:
            self._interim_left -= 1
            self._head = behind
            self._read_on()
        elif end_of_head and behind:
            self._fail("the proxy sent more than its answer")
        elif end_of_head:
            self.answer.set_result(None)

    def end(self, _error: BaseException | None) -> None:
        """Take in the end of the connection."""
        self._fail("the proxy cut the connection off")

    def _fail(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(NoTunnel(why))


def _refused(status: int) -> str:
    if status in {401, 407}:
        return f"the proxy wants another user and password (HTTP {status})"
    return f"the proxy refused (HTTP {status})"
