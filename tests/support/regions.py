"""The pages of the console in parts: what is theirs alone, and the regions, which are fetched again by themselves."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.support.console_site import Answer, Browser, OpenConsole

_REGION = re.compile(r'data-region="([^"]+)"')
# Their text goes on by itself in the browser.
_TIME = re.compile(r"(<time [^>]*>)[^<]*(</time>)")
_PROGRESS = re.compile(r'(<progress [^>]*value=")[^"]*(")')


def still(text: str) -> str:
    """The HTML without what changes by time alone."""
    return _PROGRESS.sub(r"\1\2", _TIME.sub(r"\1\2", text)).strip()


async def check_region(browser: Browser, page: str, part: str) -> str:
    """Assert that a page holds the region whose path begins with `part`, as its part has it; return its path."""
    answer = await browser.get(page)
    (path,) = (html.unescape(path) for path in _REGION.findall(answer.text) if path.startswith(part))
    region = await browser.get(path)
    assert still(region.text) in still(answer.text)
    return path


def main_of(answer: Answer) -> str:
    """The page without its head and its foot."""
    return answer.text.partition("<main")[2].partition("</main>")[0]


def shows(console: OpenConsole, monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Let the present moment have these facts."""

    async def snapshot() -> Any:
        return replace(console.desk.watch.latest, **facts)

    monkeypatch.setattr(console.desk.watch, "snapshot", snapshot)
