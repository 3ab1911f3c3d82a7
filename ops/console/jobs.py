"""Jobs: replays, discards and looks into letters, which go on when the tab is closed; one at a time."""

from collections.abc import Callable

from signalq.settings.sections import Settings


class Jobs:
    """The jobs of this console, the latest JOBS_MAX of them."""

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self._settings = settings

    async def close(self) -> None:
        """Tell the one that runs to end, and wait for it."""
