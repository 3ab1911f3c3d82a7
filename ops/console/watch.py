"""The watch: one task a process that looks at the ledger and the broker for all who look at the console."""

import asyncio
from collections.abc import AsyncIterator, Callable

from signalq.ops.console.snapshot import Region, Snapshot
from signalq.settings.sections import Settings


class Watch:
    """Looks each second while somebody looks here; sleeps once nobody has for IDLE_S. Reads only."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings
        self.latest = Snapshot()

    async def snapshot(self) -> Snapshot:
        """The present moment: the latest look, or the first one, which is waited for."""
        return self.latest

    async def look_now(self) -> Snapshot:
        """Look at once, beside the regular looks: a person has just changed something."""
        return self.latest

    async def changes(self) -> AsyncIterator[frozenset[Region]]:
        """The regions that have changed, as often as they do; of one who listens slowly they add up."""
        while True:
            await asyncio.sleep(1)
            yield frozenset()

    def tell(self, *regions: Region) -> None:
        """Tell all who listen of regions that this process itself has changed."""

    async def close(self) -> None:
        """Look no more."""
