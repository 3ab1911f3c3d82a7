"""The desk: everything that the pages stand on, made once a process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from signalq.names import Names
from signalq.ops.console.checks import Checks
from signalq.ops.console.gate.access import Access
from signalq.ops.console.letters.jobs import Jobs
from signalq.ops.console.metrics import ConsoleMetrics
from signalq.ops.console.moment.sources import BrokerSource, LedgerSource
from signalq.ops.console.moment.watch import Watch
from signalq.ops.terminal.escaping import escaped
from signalq.settings.sections import Settings


@dataclass(frozen=True, slots=True)
class Host:
    """The process that serves the console: its own, or a consumer's; and the address that it listens on."""

    is_consumer: bool
    host: str
    port: int


class Desk:
    """Opens nothing until it is asked. `settings` gives those in force; they may change while it runs.

    `link` is the secret of the one-time link, where the start has printed it already; `config` is the settings file
    that was named, if one was. While `may_look` says no, nothing is looked at for those who only look on.
    """

    def __init__(
        self,
        settings: Callable[[], Settings],
        host: Host,
        *,
        link: str | None = None,
        config: Path | None = None,
        may_look: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self.host = host
        self.metrics = ConsoleMetrics()
        self.access = Access(settings, link=link)
        # The watch and the jobs have a ledger of their own each: no page waits for their reads.
        self.ledger = LedgerSource(settings, asking=self.metrics.asking("ledger"))
        self.broker = BrokerSource(settings, asking=self.metrics.asking("broker"))
        self.watch = Watch(settings, may_look=may_look)
        self.jobs = Jobs(settings)
        self.checks = Checks(settings, config=config, in_consumer=host.is_consumer)
        self.jobs.on_change = self.checks.on_change = self._tell_of_own
        # How often this process itself has changed what a page shows: no look at the ledger finds that.
        self.own_changes = 0

    def _tell_of_own(self) -> None:
        self.own_changes += 1
        self.watch.tell("jobs")

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings()

    @property
    def names(self) -> Names:
        """The names on the broker."""
        return Names(self.settings.broker.prefix)

    @property
    def name(self) -> str:
        """The name of this deployment: two of them must not be taken for each other."""
        settings = self.settings
        return escaped(settings.console.name or f"{URL(self.broker.url).host} {settings.broker.prefix}")

    @property
    def base(self) -> str:
        """The path under which others reach the console, without a slash at its end."""
        return self.settings.console.base

    async def close(self) -> None:
        """Close all that was opened; a job that runs is told to end, and waited for."""
        await self.jobs.close()
        await self.checks.close()
        await self.watch.close()
        await self.broker.close()
        await self.ledger.close()
