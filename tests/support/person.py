"""A person at a browser: a window of its own, the session in it, and everything of which the browser complains."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Response,
    WebError,
    expect,
)

from tests.support.axe import violations

WIDE, MIDDLE, NARROW = 1280, 390, 320
HEIGHT = 900
# How long a person looks for what must come, on a machine that is as busy as can be.
LOOK_S = 30.0
# The elements of a page that are wider than its window, innermost only.
_TOO_WIDE = """() => {
    const wide = document.documentElement.clientWidth
    if (document.documentElement.scrollWidth <= wide) return []
    return [...document.body.querySelectorAll('*')]
        .filter(one => one.getBoundingClientRect().right > wide + 1 && !one.firstElementChild)
        .map(one => one.outerHTML.slice(0, 160))
}"""


class Person:
    """Made by `met`. `page` is the window; `complaints` are what the browser said and what acted by itself."""

    def __init__(self, context: BrowserContext, page: Page, url: str) -> None:
        self.context = context
        self.page = page
        self.url = url
        self.complaints: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        context.on("console", self._said)
        context.on("weberror", self._failed)
        context.on("dialog", self._asked)

    # --- where it goes ------------------------------------------------------------------------------------------

    async def open(self, path: str) -> Response:
        """Go to a page of the console."""
        response = await self.page.goto(self.url + path)
        assert response is not None
        return response

    async def sign_in(self, name: str, token: str) -> None:
        """Sign in without looking at the form."""
        await self.post("/sign-in", name=name, token=token)

    async def post(self, path: str, **fields: str) -> str:
        """Send a form as a page of ours would, without a page; the path that the answer leads to."""
        headers = {"Origin": self.url, "Accept": "text/html"}
        answer = await self.context.request.post(self.url + path, form=fields, headers=headers, max_redirects=0)
        assert answer.status == 303, f"{path}: {answer.status} {await answer.text()}"
        return answer.headers["location"]

    async def read(self, path: str, *, status: int = 200) -> str:
        """The bytes of a page or a region, as text."""
        answer = await self.context.request.get(self.url + path, headers={"Accept": "text/html"})
        assert answer.status == status, f"{path}: {answer.status} {await answer.text()}"
        return await answer.text()

    async def is_over(self, job: str) -> bool:
        """Whether a job has ended: until then its page has the form that stops it."""
        return f"{job}/cancel" not in await self.read(job)

    async def tab(self) -> Page:
        """A further window of the same browser, with the same session."""
        return await self.context.new_page()

    async def is_live(self, page: Page | None = None) -> None:
        """Wait until the page follows what happens."""
        await expect((page or self.page).locator("#live")).to_have_text("● live")

    # --- what it sees -------------------------------------------------------------------------------------------

    def button(self, name: str | re.Pattern[str], inside: Page | Locator | None = None) -> Locator:
        """A button, or a link that looks like one."""
        place = inside or self.page
        return place.get_by_role("button", name=name).or_(place.get_by_role("link", name=name)).first

    @property
    def dialog(self) -> Locator:
        """The dialog that is open."""
        return self.page.get_by_role("dialog")

    async def focused(self) -> str:
        """The element that has the focus, by its beginning."""
        found: str = await self.page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        return found

    async def must_be_in_order(self, where: str, *, closely: bool = True) -> None:
        """Assert that the page fits into its window, that nothing was said so far, and that everybody can use it, if it
        is looked at `closely`: where a page may have scripts.
        """
        assert not closely or not (found := await violations(self.page)), f"{where}: {found}"
        assert not (found := await self.page.evaluate(_TOO_WIDE)), f"{where} is wider than its window: {found}"
        self.must_be_content(where)

    # --- what it hears ------------------------------------------------------------------------------------------

    def expects(self, pattern: str) -> None:
        """From now on the browser may say this."""
        self._expected.append(re.compile(pattern))

    def must_be_content(self, where: str = "") -> None:
        """Assert that the browser has said nothing that was not expected."""
        found = [one for one in self.complaints if not any(pattern.search(one) for pattern in self._expected)]
        assert not found, f"{where}: {found}"

    def _said(self, message: ConsoleMessage) -> None:
        self.complaints.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _failed(self, error: WebError) -> None:
        self.complaints.append(f"error: {error.error}")

    async def _asked(self, dialog: Dialog) -> None:
        self.complaints.append(f"asked: {dialog.message}")
        await dialog.dismiss()


# A person by its name, token and address; the rest are the options of `met`.
People = Callable[..., Awaitable[Person]]


@asynccontextmanager
async def met(
    browser: Browser,
    url: str,
    name: str | None,
    token: str = "",
    *,
    width: int = WIDE,
    height: int = HEIGHT,
    **options: Any,
) -> AsyncIterator[Person]:
    """A person at this console, with a fresh profile of the browser, signed in if it has a name; at the end it may have
    no complaint. `options` are those of a context.
    """
    context = await browser.new_context(viewport={"width": width, "height": height}, **options)
    context.set_default_timeout(LOOK_S * 1000)
    person = Person(context, await context.new_page(), url)
    try:
        if name is not None:
            await person.sign_in(name, token)
        yield person
    finally:
        await context.close()
    person.must_be_content()
