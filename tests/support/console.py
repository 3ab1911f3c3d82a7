"""`signalq console` in a process of its own, and a program that asks it, as a person's script would."""

from __future__ import annotations

from collections.abc import Mapping

from tests.support.consumer import Consumer


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
    ) -> None:
        chosen = {"console.port": 0} | dict(settings or {})
        super().__init__(broker_url, prefix, webhook_url, chosen, config=config, command=("-m", "signalq", "console"))

    @property
    def url(self) -> str:
        """Where it listens, once it has started."""
        return f"http://127.0.0.1:{self.events(self.READY)[0]['port']}"
