"""The check of the console: everything that `signalq check` looks at, one run at a time, the last one kept.

A run opens the ledger and the broker anew, as whoever starts next would, and closes them. It changes nothing, and it
never reads the dead letters: their queue has one reader, and a page is no reason to be it.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from signalq.consumer.ledger.database import machine_ms
from signalq.errors import SettingsError, SignalQError
from signalq.ops.check.finding import Finding, FindingState, named
from signalq.ops.check.findings import findings_by
from signalq.ops.check.ways import ways_of
from signalq.ops.check.webhook import WEBHOOK
from signalq.settings.config_file import settings_file
from signalq.settings.noted_files import is_read_once
from signalq.settings.origins import InForce, listed
from signalq.settings.reload import change
from signalq.settings.sections import Settings
from signalq.settings.sources import load_settings

# Nobody has the broker and the webhook's host asked more often.
RUN_EVERY_S = 5.0
RUN_TIMEOUT_S = 60.0
# A result that is older says little of now: whoever opens the page has a new run.
FRESH_S = 60.0
# A page waits so long for a run that it has begun: most are over by then, and what is not there yet comes by itself.
PATIENCE_S = 2.0

log = structlog.get_logger()


@dataclass(slots=True)
class Run:
    """One run: its findings as they come, and the settings in force when it began, each with where it comes from.

    `ended_ms` is None while it goes on. `settings` is empty where their sources can't be read. `differs` is a sentence
    on a settings file that is refused as it is now, or has values that are not in force; None where there is none.
    """

    began_ms: int
    findings: list[Finding] = field(default_factory=list)
    ended_ms: int | None = None
    settings: Sequence[InForce] = ()
    differs: str | None = None

    def count(self, state: FindingState) -> int:
        """How many findings are so."""
        return sum(finding.state == state for finding in self.findings)


class Checks:
    """Runs the check on demand. `config` is the settings file that was named; `in_consumer`: this is its process.

    `version` rises, and `on_change` is called, when a run has something new.
    """

    def __init__(self, settings: Callable[[], Settings], *, config: Path | None, in_consumer: bool) -> None:
        self.latest: Run | None = None
        self.version = 0
        self.on_change: Callable[[], None] = lambda: None
        self._settings = settings
        self._config = config
        self._in_consumer = in_consumer
        self._task: asyncio.Task[None] | None = None
        self._began_s = 0.0

    async def fresh(self) -> Run:
        """The latest run, unless it is over and older than FRESH_S; else a new one."""
        is_fresh = self._goes_on or time.monotonic() - self._began_s < FRESH_S
        return self.latest if self.latest is not None and is_fresh else await self.begun()

    async def begun(self) -> Run:
        """The run that was asked for: a new one, unless one goes on or has begun within RUN_EVERY_S.

        It is waited for, PATIENCE_S at most.
        """
        is_young = time.monotonic() - self._began_s < RUN_EVERY_S
        if self.latest is None or not (is_young or self._goes_on):
            self._began_s = time.monotonic()
            self.latest = Run(machine_ms())
            self._task = asyncio.create_task(self._run(self.latest), name="console check")
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=PATIENCE_S)
        return self.latest

    async def close(self) -> None:
        """Break off the run that goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def _goes_on(self) -> bool:
        return self._task is not None and not self._task.done()

    async def _run(self, run: Run) -> None:
        """Look at everything; whatever goes wrong with it is a finding."""
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                await self._look(run)
        except TimeoutError:
            run.findings.append(_wrong(f"it was broken off after {RUN_TIMEOUT_S:g} s, and not all was looked at"))
        except SignalQError as error:
            run.findings.append(replace(_wrong(str(error)), kind=error.kind))
        except Exception:
            number = secrets.token_hex(4)
            log.exception("console.failed", number=number)
            run.findings.append(_wrong(f"the console failed at this; its log says why, under the number {number}"))
        finally:
            run.ended_ms = machine_ms()
            self._changed()

    async def _look(self, run: Run) -> None:
        settings = self._settings()
        run.settings, run.differs = await asyncio.to_thread(_sources_of, settings, self._config)
        own = settings.console.broker_url
        ways = ways_of(settings, broker_url=own.get_secret_value() if own else None, may_read_letters=False)
        async with aclosing(findings_by(ways, settings, self._config)) as findings:
            async for finding in findings:
                run.findings.append(self._seen_from_here(finding))
                self._changed()

    def _changed(self) -> None:
        self.version += 1
        self.on_change()

    def _seen_from_here(self, finding: Finding) -> Finding:
        """The finding; on a webhook it says little of the consumers, where those are other processes elsewhere."""
        if finding.check != WEBHOOK or finding.state != "wrong" or self._in_consumer:
            return finding
        found = f"{finding.found}: so it is from where this console runs, and a consumer may reach it all the same"
        return replace(finding, state="note", found=found)


def _wrong(found: str) -> Finding:
    return Finding("check", "wrong", found, "run it again")


def _sources_of(settings: Settings, config: Path | None) -> tuple[Sequence[InForce], str | None]:
    """The settings in force, each with its source; and how the settings file as it is now differs."""
    try:
        file = settings_file(config)
        if file is not None and is_read_once(file):
            return (), "the settings came through a pipe, which can't be read again"
        wanted = change(settings, load_settings(file, look=False))
        waiting = [*wanted.keys, *wanted.need_restart]
        differs = f"read from the file, and not in force before a restart: {named(waiting)}" if waiting else None
        return listed(settings, file), differs
    except SettingsError as error:
        return (), f"the settings as they are now are refused, and those from before are in force: {error}"
