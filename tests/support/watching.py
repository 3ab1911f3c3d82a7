"""The console's watch in this process, over a broker and a ledger of a test's choice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from signalq.ops.console.moment.snapshot import Region, Snapshot
from signalq.ops.console.moment.watch import Listener, Watch
from signalq.settings.sections import Settings
from tests.support.waiting import PATIENCE_S, wait_until

# The times of the watch, a fraction of those that users have: what it waits for is the same.
BRISK = {
    "watch.EVERY_S": 0.15,
    "watch.TOLD_AFTER_S": 0.1,
    "watch.FIRST_AFTER_S": 1.0,
    "watch.WAIT_S": 2.0,
    "looking.REST_S": 0.3,
    "depths.URGENT_S": 0.1,
    "depths.AWAY_S": 0.2,
    "contact.SILENT_S": 0.5,
    "lane_board.STALE_MS": 600,
    "attention.LASTS_MS": 300,
    "lane_notices.LASTS_MS": 300,
}
# Nobody listens there.
NOBODY = "amqp://guest:guest@127.0.0.1:1/"


def be_brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the watch look, ask again and give up sooner."""
    for name, value in BRISK.items():
        monkeypatch.setattr(f"signalq.ops.console.moment.{name}", value)


def settings_for(
    ledger_url: str, broker_url: str = NOBODY, prefix: str = "signalq", connectors: Mapping[str, Any] | None = None
) -> Settings:
    """The settings of a console there."""
    return Settings.model_validate(
        {
            "ledger": {"url": ledger_url},
            "broker": {"url": broker_url, "prefix": prefix},
            "connectors": dict(connectors or {}),
        }
    )


@asynccontextmanager
async def watching(settings: Settings, *, may_look: Callable[[], bool] = lambda: True) -> AsyncIterator[Watch]:
    """A watch, closed in the end."""
    watch = Watch(lambda: settings, may_look=may_look)
    try:
        yield watch
    finally:
        await watch.close()


async def seen(watch: Watch, is_so: Callable[[Snapshot], Any], what: str) -> Snapshot:
    """Wait until one of its regular looks finds this so; return that snapshot."""

    async def found() -> Snapshot | None:
        now = await watch.snapshot()
        return now if is_so(now) else None

    snapshot: Snapshot = await wait_until(found, what=what)
    return snapshot


async def told(listener: Listener, region: Region) -> None:
    """Wait until a listener is told of a region."""
    async with asyncio.timeout(PATIENCE_S):
        while region not in (await listener.changes() or ()):
            pass
