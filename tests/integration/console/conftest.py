"""A console over a real ledger, and the browser of somebody who may act."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.console_site import Browser, OpenConsole, open_console


@pytest_asyncio.fixture
async def console(tmp_path: Path) -> AsyncIterator[OpenConsole]:
    """A console with a token, over an empty ledger, without a broker."""
    async with open_console(tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def alice(console: OpenConsole) -> Browser:
    """The browser of alice, who may act."""
    return await console.browser("alice")
