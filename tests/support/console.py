"""`signalq console` in a process of its own, and one who calls it without a browser."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import aiohttp

from tests.support.consumer import Consumer
from tests.support.waiting import PATIENCE_S, wait_until

ANSWER_TIMEOUT_S = 60.0
REJECTED = "/dead?by=reason&reason=rejected"
_GROUP = re.compile(r'name="group" value="([0-9a-f]+)"')
_TAG = re.compile(r"<[^>]*>")


class Console(Consumer):
    """A console as a process; started, watched and ended as a consumer is."""

    READY = "console.started"

    def __init__(
        self,
        broker_url: str,
        prefix: str,
        webhook_url: str | None = None,
        settings: Mapping[str, object] | None = None,
        *,
        config: str = "",
        command: tuple[str, ...] = ("-m", "signalq", "console"),
    ) -> None:
        chosen = {"console.port": 0} | dict(settings or {})
        super().__init__(broker_url, prefix, webhook_url, chosen, config=config, command=command)

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""
        return f"http://127.0.0.1:{self.events(self.READY)[0]['port']}"


class Caller:
    """A person who is signed in at a console, without a browser: looks at pages, and sends their forms.

    async with signed_in(console.url) as caller:
        page = await caller.get("/dead")
        there = await caller.post("/switch", to="paused")      # the path that the answer leads to
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def get(self, path: str, *, status: int = 200) -> str:
        """The text of a page, as a person reads it: without its tags."""
        return plain(await self.html(path, status=status))

    async def html(self, path: str, *, status: int = 200) -> str:
        """The page as it is."""
        async with self._session.get(self._url + path) as answer:
            text = await answer.text()
        assert answer.status == status, f"{path}: {answer.status} {plain(text)[:2000]}"
        return text

    async def post(self, path: str, fields: Mapping[str, str] | None = None, **more: str) -> str:
        """Send a form; the path that the answer leads to."""
        headers = {"Origin": self._url}
        sent = {**(fields or {}), **more}
        async with self._session.post(self._url + path, data=sent, headers=headers, allow_redirects=False) as answer:
            text = await answer.text()
        assert answer.status == 303, f"{path}: {answer.status} {plain(text)[:2000]}"
        return answer.headers["Location"]


def plain(page: str) -> str:
    """The words of a page."""
    return " ".join(html.unescape(_TAG.sub(" ", page)).split())


@asynccontextmanager
async def signed_in(url: str, token: str, name: str = "alice") -> AsyncIterator[Caller]:
    """A caller of this console."""
    jar = aiohttp.CookieJar(unsafe=True)  # of an address, too
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    headers = {"Accept": "text/html"}
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=timeout, headers=headers) as session:
        caller = Caller(session, url)
        await caller.post("/sign-in", name=name, token=token)
        yield caller


async def groups(caller: Caller) -> list[str]:
    """The group of the rejected letters, if there are any."""
    return _GROUP.findall(await caller.html(REJECTED))


async def begin_replay(caller: Caller, timeout_s: float = PATIENCE_S) -> str:
    """Have all rejected letters judged, and replay those that may go; the path of the job."""
    (group,) = await groups(caller)
    verdict = await caller.post("/dead/verdict", by="reason", reason="rejected", action="replay", group=group)
    await wait_until(partial(is_over, caller, verdict), timeout_s, what="the verdict")
    return await caller.post(f"{verdict}/replay")


async def is_over(caller: Caller, job: str) -> bool:
    """Whether a job has ended: until then its page has the form that stops it."""
    try:
        return f"{job}/cancel" not in await caller.html(job)
    except AssertionError:
        return False  # the ledger or the broker is away just now
