"""A console in this process, on a port of its own, over a real ledger in a SQLite file; and browsers that look at it.

async with open_console(tmp_path) as console:
    alice = await console.browser("alice")                 # signed in; role="view" for one who may only look
    page = await alice.get("/dead?connector=main")         # status 200, or the test fails; page.text, page.headers
    page = await alice.post("/switch", connector="main", to="paused")       # as a form of a page; follows the 303
    stranger = await console.browser()
    await stranger.get("/dead", status=401, Accept="*/*")

`console.store` makes consumers' ledgers in that file and answers plain SQL, `console.desk` is what the pages stand on.
Nobody is at the broker's address, unless the settings name a real one: `open_console(tmp_path, broker={"url": …})`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from yarl import URL

from signalq.ops.console.gate.sessions import COOKIE, Role
from signalq.ops.console.server import ConsoleServer
from signalq.settings.sections import Settings
from tests.support.stores import Store, ledger_at

HOST = "127.0.0.1"
TOKEN, VIEW_TOKEN = "ops-token-kQ7vX2mN9pL4", "view-token-wR8sZt3hB6yD"
NOBODY = {"url": "amqp://user:topsecret-b7@127.0.0.1:1/"}
HTML = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
TIMEOUT = aiohttp.ClientTimeout(total=30)


@dataclass(frozen=True)
class Answer:
    """An answer, after the redirects that led to it; `path` is where it came from, with its query."""

    status: int
    text: str
    headers: Mapping[str, str]
    path: str


class Browser:
    """A person's browser: keeps its cookies, follows redirects, says that its requests come from a page of ours."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def get(self, path: str, *, status: int = 200, follow: bool = True, **headers: str) -> Answer:
        """Look at a page. A header's name has _ for -."""
        return await self.ask("GET", path, status=status, follow=follow, headers=headers)

    async def post(
        self, path: str, fields: Mapping[str, Any] | None = None, *, status: int = 200, follow: bool = True, **more: Any
    ) -> Answer:
        """Send a form. `more` are further fields of it."""
        return await self.ask("POST", path, status=status, follow=follow, data={**(fields or {}), **more})

    async def ask(
        self,
        method: str,
        path: str,
        *,
        status: int | None = 200,
        follow: bool = True,
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Answer:
        """Ask with any method; `status` None: whatever comes. An empty header is left out."""
        given = {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        usual = {"Sec-Fetch-Site": "same-origin", "Origin": self.url if method == "POST" else "", "Accept": HTML}
        sent = {name: value for name, value in (usual | given).items() if value}
        url = URL(f"{self.url}{path}", encoded=True)
        async with self.session.request(method, url, headers=sent, data=data, allow_redirects=follow) as got:
            answer = Answer(got.status, await got.text(), got.headers.copy(), str(got.url.relative()))
        assert status is None or answer.status == status, f"{method} {path}: {answer.status} {answer.text[:2000]}"
        return answer


class OpenConsole:
    """Made by open_console."""

    def __init__(self, server: ConsoleServer, store: Store, port: int, stack: AsyncExitStack) -> None:
        self.server = server
        self.desk = server.desk
        self.site = server.site
        self.store = store
        self.port = port
        self.url = f"http://{HOST}:{port}"
        # A browser keeps the cookies of all ports together.
        self.cookie = f"{COOKIE}_{port}"
        self._stack = stack

    async def browser(self, name: str | None = None, role: Role = "operate") -> Browser:
        """A browser, with the session of this person in it, if one is named."""
        jar = aiohttp.CookieJar(unsafe=True)  # of an address, too
        session = await self._stack.enter_async_context(aiohttp.ClientSession(cookie_jar=jar, timeout=TIMEOUT))
        if name is not None:
            jar.update_cookies({self.cookie: self.desk.access.session(name, role)}, URL(self.url))
        return Browser(self.url, session)


def settings_of(ledger_url: str, **sections: Mapping[str, Any]) -> Settings:
    """Settings with both tokens, nobody's broker, and these on top of them."""
    usual: dict[str, Mapping[str, Any]] = {
        "ops": {"token": TOKEN, "view_token": VIEW_TOKEN},
        "console": {"port": 0},
        "webhook": {"url": "http://127.0.0.1:9/"},
        "broker": NOBODY,
        "ledger": {"url": ledger_url},
    }
    return Settings.model_validate(sections | {name: {**usual[name], **sections.get(name, {})} for name in usual})


@asynccontextmanager
async def open_console(folder: Path, **sections: Mapping[str, Any]) -> AsyncIterator[OpenConsole]:
    """A console with settings_of(…, **sections); its ledger, in `folder`, is made and empty."""
    async with AsyncExitStack() as stack:
        store = Store(f"sqlite+aiosqlite:///{folder}/console.db", stack)
        async with ledger_at(store.url):
            pass  # its tables are made
        settings = settings_of(store.url, **sections)
        server = ConsoleServer(lambda: settings)
        port = await server.start()
        stack.push_async_callback(server.stop)
        yield OpenConsole(server, store, port, stack)
