"""Viewers of the console: each does over HTTP what the page's script does, and draws nothing.

A viewer opens a page, listens to the stream of changes, and fetches each region that has changed, with the tag of what
it has already.
"""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from benchmarks.contender import Failed

TOKEN = "a-token-for-the-benchmark"  # noqa: S105 - of a console that only this benchmark reaches
ANSWER_TIMEOUT_S = 30.0
_REGION = re.compile(r'data-region="([^"]+)"\s+data-on="([^"]+)"')


@dataclass
class Viewer:
    """One tab. `refreshes` counts the regions that it fetched, `changed` those of them that were new."""

    session: aiohttp.ClientSession
    url: str
    refreshes: int = 0
    changed: int = 0
    _regions: dict[str, frozenset[str]] = field(default_factory=dict)
    _tags: dict[str, str] = field(default_factory=dict)

    async def watch(self, path: str) -> None:
        """Open a page, and keep it up to date, until canceled."""
        async with self.session.get(self.url + path) as answer:
            if answer.status != 200:
                raise Failed(f"{path} answered {answer.status}: {(await answer.text())[-300:]}")
            text = await answer.text()
        self._regions = {html.unescape(at): frozenset(on.split()) for at, on in _REGION.findall(text)}
        if not self._regions:
            raise Failed(f"{path} has no region that lives")
        forever = aiohttp.ClientTimeout(total=None)
        async with self.session.get(f"{self.url}/events", timeout=forever) as stream:
            event = ""
            async for line in stream.content:
                name, _, value = line.decode().rstrip("\r\n").partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event == "changed":
                    await self._refresh(frozenset(value.split()))

    async def _refresh(self, changed: frozenset[str]) -> None:
        for at, on in self._regions.items():
            if on & changed:
                headers = {"If-None-Match": self._tags[at]} if at in self._tags else {}
                async with self.session.get(self.url + at, headers=headers) as answer:
                    await answer.read()
                    self.refreshes += 1
                    self.changed += answer.status == 200
                    self._tags[at] = answer.headers.get("ETag", "")


@asynccontextmanager
async def signed_in(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A session as a person has it."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    jar = aiohttp.CookieJar(unsafe=True)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=jar, connector=connector) as session:
        form = {"name": "viewer", "token": TOKEN}
        async with session.post(f"{url}/sign-in", data=form, headers={"Origin": url}, allow_redirects=False) as answer:
            if answer.status != 303:
                raise Failed(f"the sign-in answered {answer.status}: {(await answer.text())[-300:]}")
        yield session


@asynccontextmanager
async def viewers(url: str, count: int, path: str = "/") -> AsyncIterator[list[Viewer]]:
    """So many people who look at a page, each with a session and a stream of their own."""
    async with signed_in(url) as session:
        found = [Viewer(session, url) for _ in range(count)]
        watching = [asyncio.create_task(one.watch(path), name="viewer") for one in found]
        try:
            yield found
            for task in watching:
                if task.done():
                    task.result()
                    raise Failed("a stream of changes ended by itself")
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
